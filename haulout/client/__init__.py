"""Storing and reading blobs."""
