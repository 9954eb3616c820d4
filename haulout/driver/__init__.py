"""The epoch driver: has the ledger take each step of an epoch change when it is due."""
