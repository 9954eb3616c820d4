"""The storage node: what it keeps, promises, serves, repairs and lets go of."""
