"""Erasure coding: blobs to sliver pairs and back."""
