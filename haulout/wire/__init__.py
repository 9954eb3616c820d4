"""Domain values over gRPC."""
