"""A ledger followed and executed again: everyone's own verified view."""
