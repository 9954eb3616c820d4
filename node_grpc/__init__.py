"""The gRPC servers: storage nodes and the ledger; they translate and decide nothing."""
