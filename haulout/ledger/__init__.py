"""The rules: what transactions do to the state."""
