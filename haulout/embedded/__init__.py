"""A whole network on one machine: the real processes on loopback under one supervisor."""
