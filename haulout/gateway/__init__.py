"""Publisher and aggregator over HTTP."""
