"""Hashes, Merkle trees, signatures and the messages they sign."""
