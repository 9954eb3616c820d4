"""Small parts of the transport."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from graphql_api.ids import global_id, read_global_id
from graphql_api.limits import Bounds
from graphql_api.read_model.database import READERS_MAX
from graphql_api.view import MEDIA_GRAPHQL, MEDIA_JSON, negotiate
from haulout.errors import InvalidField


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", MEDIA_JSON),
        ("*/*", MEDIA_JSON),
        ("application/json", MEDIA_JSON),
        ("application/graphql-response+json", MEDIA_GRAPHQL),
        ("application/graphql-response+json, application/json;q=0.9", MEDIA_GRAPHQL),
        ("application/graphql-response+json;q=0.5, application/json", MEDIA_JSON),
        ("application/graphql-response+json;q=0", MEDIA_JSON),
        ("application/graphql-response+json;q=nonsense", MEDIA_JSON),
    ],
)
def test_the_media_type_is_negotiated(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected


def test_ids_are_read_back_and_nothing_else_is() -> None:
    assert read_global_id(global_id("Epoch", 7)) == ("Epoch", "7")
    assert read_global_id(global_id("Blob", b"\x01\xff")) == ("Blob", "01ff")
    for wrong in ("", "%%%", "abc", "ÿ", "QmxvYg"):
        with pytest.raises(InvalidField):
            read_global_id(wrong)


class TestTimeout:
    """Queries that find no place to run in."""

    @pytest.fixture
    def bounds(self) -> Bounds:
        return Bounds(timeout_ms=100)

    async def test_a_query_that_takes_too_long_is_told_so(self, net: Any) -> None:
        async with AsyncExitStack() as others:
            for _ in range(READERS_MAX):
                await (await others.enter_async_context(net.read_model.reading())).snapshot()
            answer = (await net.post("{ system { accounts } }")).json()
        assert answer["errors"][0]["extensions"]["code"] == "TIMEOUT"
        assert answer["extensions"]["watermark"]["epoch"] == 1  # what the process knows without asking
        assert await net.ask("{ system { accounts } }") == {"system": {"accounts": "2"}}


async def test_status_says_how_far_the_read_model_is(net: Any) -> None:
    status = (await net.http.get("/status")).json()
    assert (status["height"], status["epoch"], status["lagMs"]) == (5, 1, 0)
    assert (status["problem"], status["stopped"]) == (None, None)
