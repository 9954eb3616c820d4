"""Documents that clients name by their SHA-256 instead of sending them, so that a GET can carry them and be cached.

Two ways to name one: `extensions.persistedQuery.sha256Hash` (automatic persisted queries) and `documentId=sha256:…`.
A document is kept once it was sent by POST together with its hash and had passed all limits; the least recently used
one is forgotten, and its client sends it again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haulout.errors import InvalidInput

DOCUMENTS_MAX = 1_000
HASH_LENGTH = 64
PREFIX = "sha256:"


@dataclass(eq=False)
class BadDocumentHash(InvalidInput):
    """A hash that is none, or that is of another document than the one sent with it."""

    code = "INVALID_ARGUMENT"
    template = "the document's hash {problem}"
    hint = "send the SHA-256 of the query's UTF-8 bytes, in lower case hex"
    problem: str


def named_hash(extensions: Any, document_id: Any) -> str | None:
    """The hash a request names its document by, or None.

    Raises:
        BadDocumentHash: neither 64 hex digits nor `sha256:` and these.
    """
    name: Any = None
    if isinstance(document_id, str) and document_id:
        name = document_id.removeprefix(PREFIX) if document_id.startswith(PREFIX) else ""
    elif isinstance(extensions, Mapping) and isinstance(extensions.get("persistedQuery"), Mapping):
        name = extensions["persistedQuery"].get("sha256Hash")
        if not isinstance(name, str):
            raise BadDocumentHash(problem="is missing")
    if name is None:
        return None
    if len(name) != HASH_LENGTH or any(c not in "0123456789abcdef" for c in name):
        raise BadDocumentHash(problem="is not a SHA-256 in lower case hex")
    return str(name)


class Documents:
    """The documents that were sent, by hash; a bounded number of bounded size."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, str] = OrderedDict()

    def find(self, digest: str) -> str | None:
        """The document with this hash."""
        text = self._kept.get(digest)
        if text is not None:
            self._kept.move_to_end(digest)
        return text

    def keep(self, digest: str, text: str) -> None:
        """Remember a document under its hash, which `check` has compared."""
        self._kept[digest] = text
        self._kept.move_to_end(digest)
        while len(self._kept) > DOCUMENTS_MAX:
            self._kept.popitem(last=False)


def check(digest: str, text: str) -> None:
    """Compare a document with the hash it came with.

    Raises:
        BadDocumentHash: it is of another document.
    """
    if hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() != digest:
        raise BadDocumentHash(problem="is of another document than the one that came with it")
