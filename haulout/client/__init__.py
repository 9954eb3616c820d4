"""Storing and reading blobs: the two stories, and what they need of a network."""
