"""Publisher and aggregator: blobs in and out over HTTP, as Walrus's clients expect them."""
