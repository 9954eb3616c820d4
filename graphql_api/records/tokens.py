"""Bearer tokens: made, found by what a client sends, revoked. Only a digest of each is kept."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Connection, RowMapping, insert, select, update

from graphql_api.engine import take_turn
from graphql_api.records.schema import tokens
from haulout.errors import InvalidField

PREFIX = "haulout_"
SECRET_BYTES = 32
NAME_MAX = 128
TOKENS_MAX = 10_000
ACCOUNTS_LOCK = 0x6163636F756E7473  # "accounts", as the number of an advisory lock
LIFE_MAX_S = 10 * 366 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept."""

    number: int
    name: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None

    def is_valid(self, now_ms: int) -> bool:
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


def secret_text(random: bytes) -> str:
    """What the owner of a token sends, from `SECRET_BYTES` random bytes: `haulout_` and 43 characters."""
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def digest_of(secret: str) -> bytes:
    """What is kept of it. The secret is random, so that a plain hash cannot be guessed back."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def check_token(name: str, expires_in_s: int | None) -> None:
    """Refuse a token that nobody could tell apart, or that never was valid.

    Raises:
        InvalidField: with what is possible.
    """
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise InvalidField(field="name", problem=f"has 1 to {NAME_MAX} printable characters")
    if expires_in_s is not None and not 1 <= expires_in_s <= LIFE_MAX_S:
        raise InvalidField(field="expiresInSeconds", problem=f"is not between 1 and {LIFE_MAX_S}")


def make_token(
    connection: Connection, digest: bytes, name: str, scopes: Iterable[str], now_ms: int, expires_ms: int | None
) -> Token:
    """Keep a new token."""
    row = {
        "digest": digest,
        "name": name,
        "scopes": ",".join(sorted(scopes)),
        "created_ms": now_ms,
        "expires_ms": expires_ms,
    }
    number = connection.execute(insert(tokens).returning(tokens.c.number), row).scalar_one()
    return _token(connection.execute(select(tokens).where(tokens.c.number == number)).mappings().one())


def keep_account(connection: Connection, digest: bytes, name: str, scopes: Iterable[str], now_ms: int) -> Token:
    """Keep an account of somebody else's, or what it may do by now; one that was revoked stays so."""
    take_turn(connection, ACCOUNTS_LOCK)
    known = find_token(connection, digest)
    if known is None:
        return make_token(connection, digest, name[:NAME_MAX], scopes, now_ms, None)
    wanted = tuple(sorted(scopes))
    if known.scopes != wanted:
        connection.execute(update(tokens).where(tokens.c.number == known.number).values(scopes=",".join(wanted)))
    return replace(known, scopes=wanted)


def find_token(connection: Connection, digest: bytes) -> Token | None:
    """The token with this digest, valid or not."""
    rows = connection.execute(select(tokens).where(tokens.c.digest == digest)).mappings().all()
    return _token(rows[0]) if rows else None


def list_tokens(connection: Connection) -> list[Token]:
    """All tokens, oldest first, revoked ones included; at most `TOKENS_MAX`."""
    rows = connection.execute(select(tokens).order_by(tokens.c.number).limit(TOKENS_MAX)).mappings()
    return [_token(row) for row in rows]


def revoke_token(connection: Connection, number: int, now_ms: int) -> Token | None:
    """End a token for good; None when there is no such token. One that is revoked keeps its time."""
    live = update(tokens).where(tokens.c.number == number, tokens.c.revoked_ms.is_(None))
    connection.execute(live.values(revoked_ms=now_ms))
    rows = connection.execute(select(tokens).where(tokens.c.number == number)).mappings().all()
    return _token(rows[0]) if rows else None


def _token(row: RowMapping) -> Token:
    return Token(
        number=row["number"],
        name=row["name"],
        scopes=tuple(name for name in row["scopes"].split(",") if name),
        created_ms=row["created_ms"],
        expires_ms=row["expires_ms"],
        revoked_ms=row["revoked_ms"],
    )
