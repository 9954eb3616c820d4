"""What every shared blob has to hold and that nobody takes it back, told from the ledger's events alone."""

from __future__ import annotations

from collections.abc import Iterator

from haulout.ledger import queries
from haulout.ledger.events import (
    BlobBurned,
    BlobDeleted,
    BlobShared,
    BlobTransferred,
    EventBody,
    SharedBlobExtended,
    SharedBlobFunded,
)
from haulout.ledger.state import NOBODY, View


class SharedFunds:
    """A ledger of its own over the funds of shared blobs."""

    def __init__(self) -> None:
        self._funds: dict[bytes, int] = {}

    def note(self, body: EventBody) -> str:
        """Count an event; says what is wrong with it, or nothing."""
        if isinstance(body, BlobShared):
            if body.object_id in self._funds:
                return f"{body.object_id.hex()} was shared twice"
            self._funds[body.object_id] = body.funds_frost
        elif isinstance(body, SharedBlobFunded | SharedBlobExtended):
            change = body.amount_frost if isinstance(body, SharedBlobFunded) else -body.cost_frost
            held = self._funds.get(body.object_id)
            if held is None:
                return f"{body.object_id.hex()} was never shared"
            if held + change != body.funds_frost or body.funds_frost < 0:
                return f"{body.object_id.hex()} held {held} FROST, {change} came, and {body.funds_frost} are told"
            self._funds[body.object_id] = body.funds_frost
        elif isinstance(body, BlobDeleted | BlobBurned | BlobTransferred) and body.object_id in self._funds:
            return f"{type(body).__name__} of {body.object_id.hex()}, which is everybody's"
        return ""

    def compare(self, view: View) -> Iterator[str]:
        """What the state has otherwise."""
        for object_id, funds_frost in self._funds.items():
            blob, shared = queries.blob(view, object_id), queries.shared_blob(view, object_id)
            if blob is None or blob.owner != NOBODY or shared is None or shared.funds_frost != funds_frost:
                yield f"{object_id.hex()} is shared and has {funds_frost} FROST by its events, the state has {shared}"
