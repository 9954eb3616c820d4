"""Tables of the records, and how a database of an earlier version becomes one of this.

A new database gets the tables below at once; one that is there gets the steps of `MIGRATIONS` behind its version. A
step is never changed once it was released.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

# Facts about the database: `version` and `chain_id`.
records_meta = Table(
    "records_meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

# Bearer tokens. The secret itself is nowhere: `digest` is the SHA-256 of its 32 random bytes' text.
tokens = Table(
    "tokens",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("name", String(128), nullable=False),
    Column("scopes", Text, nullable=False),  # names, separated by commas
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
)

# One row per mutation, begun before it does anything; `code` is null while it runs, or if the process ended then.
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("token_number", Integer),  # null for a caller without a token
    Column("mutation", String(64), nullable=False),
    Column("input_digest", LargeBinary(32), nullable=False),  # SHA-256 of the input as JSON: what it was, not shown
    Column("trace_id", String(32), nullable=False),
    Column("code", String(64)),  # "OK", or why not
    Column("ended_ms", BigInteger),
)
Index("audit_by_time", audit.c.time_ms)

# One row per operation: long work that a mutation began. `standing` is as it was looked at last; once `ended_ms` is
# set, nothing of the row changes any more.
operations = Table(
    "operations",
    metadata,
    Column("operation_id", String(32), primary_key=True),  # 16 random bytes in hex
    Column("kind", String(32), nullable=False),
    Column("target", Text, nullable=False),  # JSON: what it is about
    Column("started_ms", BigInteger, nullable=False),
    Column("standing", Text, nullable=False),  # JSON: `operations.Standing`
    Column("steps", Text, nullable=False),  # JSON: the phases seen, with their times
    Column("ended_ms", BigInteger),
    Column("key_digest", String(64)),  # SHA-256 in hex of what the caller named it with; null when it has no such name
    Column("input_digest", String(64)),  # of what was asked under that name
    Column("outcome", String(16)),  # the phase it has ended in
)
Index("operations_by_key", operations.c.key_digest, unique=True)
Index("operations_by_time", operations.c.started_ms, operations.c.operation_id)

# One row per blob object that is to be kept: what its owner wants, and when it is looked at next. `claimed_until_ms`:
# a process is having it extended.
retentions = Table(
    "retentions",
    metadata,
    Column("object_id", String(64), primary_key=True),  # hex
    Column("keep_epochs", Integer, nullable=False),
    Column("extend_when_below", Integer, nullable=False),
    Column("next_epoch", BigInteger),  # null: there is nothing more to do
    Column("tried_epoch", BigInteger),
    Column("error_code", String(64)),
    Column("error_text", Text),
    Column("renewed_height", BigInteger, nullable=False),  # of the last extension; 0 before it
    Column("claimed_until_ms", BigInteger),
)
Index("retentions_by_epoch", retentions.c.next_epoch, retentions.c.object_id)

# Statements that lead from version 1 + position to the next; each runs on both databases.
MIGRATIONS: Sequence[Sequence[str]] = (
    (
        "CREATE TABLE operations (operation_id VARCHAR(32) NOT NULL PRIMARY KEY, kind VARCHAR(32) NOT NULL, "
        "target TEXT NOT NULL, started_ms BIGINT NOT NULL, standing TEXT NOT NULL, steps TEXT NOT NULL, "
        "ended_ms BIGINT)",
        "CREATE INDEX operations_by_time ON operations (started_ms, operation_id)",
    ),
    (
        "CREATE TABLE retentions (object_id VARCHAR(64) NOT NULL PRIMARY KEY, keep_epochs INTEGER NOT NULL, "
        "extend_when_below INTEGER NOT NULL, next_epoch BIGINT, tried_epoch BIGINT, error_code VARCHAR(64), "
        "error_text TEXT, renewed_height BIGINT NOT NULL, claimed_until_ms BIGINT)",
        "CREATE INDEX retentions_by_epoch ON retentions (next_epoch, object_id)",
    ),
    (
        "ALTER TABLE operations ADD COLUMN key_digest VARCHAR(64)",
        "ALTER TABLE operations ADD COLUMN input_digest VARCHAR(64)",
        "CREATE UNIQUE INDEX operations_by_key ON operations (key_digest)",
    ),
    (
        "ALTER TABLE operations ADD COLUMN outcome VARCHAR(16)",
        "UPDATE operations SET outcome = CASE WHEN standing LIKE '{\"phase\": \"FAILED\",%' THEN 'FAILED' "
        "ELSE 'DONE' END WHERE ended_ms IS NOT NULL",
    ),
)
VERSION = 1 + len(MIGRATIONS)
