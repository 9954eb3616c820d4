"""The GraphQL control plane: a read model that follows the ledger, and the schema over it."""
