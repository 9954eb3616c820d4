"""The GraphQL API: blobs, stakes, committees and certificates of the whole network, read from a SQL read model.

A shell: it translates what the verified ledger says into a schema and decides nothing. Strawberry is known here and
nowhere else.
"""
