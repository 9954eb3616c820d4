"""What a refusal says stands in the results that a block's header commits to, so it is as fixed as its code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haulout.crypto import certificate
from haulout.errors import BlobTooLarge, Rejected
from haulout.ledger import apply
from haulout.ledger.epoch_refusals import CommitteeSelected

RECORDED = Path(__file__).parents[2] / "vectors" / "data" / "ledger_refusals.json"
ROOMS = ("haulout.ledger.", certificate.__name__)


def classes_below(parent: type[Any]) -> Iterator[type[Any]]:
    for child in parent.__subclasses__():
        yield child
        yield from classes_below(child)


def test_refusals_say_what_they_always_said() -> None:
    """A text that changes parts those who replay a block from those who made it. New refusals are added to the file."""
    assert apply.HANDLERS  # all rules, and so all refusals, are imported
    raised = [BlobTooLarge, *(one for one in classes_below(Rejected) if one.__module__.startswith(ROOMS))]
    words = {one.__name__: [one.code, one.template, one.hint] for one in raised}
    assert len(words) > 60
    assert words == json.loads(RECORDED.read_text())["refusals"]


def test_a_hint_is_filled_from_the_fields_as_well() -> None:
    text = str(CommitteeSelected(node_id="0x01", next_epoch=7))
    assert text == "the committee of epoch 7 is chosen without node 0x01; cancel again when epoch 7 has begun"
