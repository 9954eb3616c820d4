"""The SQL read model: tables, the projection that fills them from ledger events, and the queries over them.

::

    Replica (verified blocks) -> follow.Follower -> project.apply_blocks -> tables <- queries <- resolvers

Everything in the tables follows from the ledger's events and can be built again from genesis. The cursor (height,
sequence) is written in the same SQL transaction as the rows, so after a crash the projection goes on exactly where
it stood.
"""
