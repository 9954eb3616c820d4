"""Blocks, the state tree and proofs about them."""
