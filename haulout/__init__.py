"""Haulout: decentralised, erasure-coded, provable blob storage as a network anyone can own."""

__version__ = "0.1.0"
