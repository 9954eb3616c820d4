"""What this service knows that the ledger does not: tokens, operations, links to upload by, who did what.

It lives in a database of its own. The read model is dropped and made again from genesis whenever that helps; nothing
here can be made again, so it is migrated from version to version, never dropped, and every commit is durable.
"""
