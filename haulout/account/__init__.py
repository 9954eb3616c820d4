"""An account: its key, and transactions that are sent until it is known what became of them."""
