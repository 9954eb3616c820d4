"""What is said about each object: pure functions from one moment of a network to statuses."""
