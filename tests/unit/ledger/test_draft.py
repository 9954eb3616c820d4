"""A draft over a view reads like the view with the writes in it, and the view stays as it was."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from haulout.ledger.draft import CachedView, Draft, EmptyView

some_keys = st.sampled_from([bytes([a, b]) for a in range(3) for b in range(4)])
values = st.none() | st.sampled_from([b"", b"1", b"2"])
writes = st.lists(st.tuples(some_keys, values), max_size=12)


def drafted(base: Draft | EmptyView | CachedView, changes: list[tuple[bytes, bytes | None]]) -> Draft:
    draft = Draft(base)
    for key, value in changes:
        draft.put(key, value)
    return draft


@settings(max_examples=6 * settings.default.max_examples)
@given(
    layers=st.lists(writes, min_size=1, max_size=4),
    start=some_keys,
    end=some_keys,
    reverse=st.booleans(),
    limit=st.none() | st.integers(0, 5),
)
def test_nested_drafts_read_like_a_dictionary(
    layers: list[list[tuple[bytes, bytes | None]]], start: bytes, end: bytes, reverse: bool, limit: int | None
) -> None:
    expected: dict[bytes, bytes] = {}
    top: Draft | EmptyView | CachedView = EmptyView()
    for changes in layers:
        top = drafted(CachedView(top), changes)
        for key, value in changes:
            expected.pop(key, None)
            if value is not None:
                expected[key] = value
    rows = sorted((k, v) for k, v in expected.items() if start <= k < end)
    if reverse:
        rows.reverse()
    assert list(top.scan(start, end, reverse=reverse, limit=limit)) == rows[:limit]
    for key in [bytes([a, b]) for a in range(3) for b in range(4)]:
        assert top.get(key) == expected.get(key)


@given(writes, writes)
def test_absorbing_a_draft_is_writing_through_it(
    below: list[tuple[bytes, bytes | None]], above: list[tuple[bytes, bytes | None]]
) -> None:
    base = drafted(EmptyView(), below)
    top = drafted(base, above)
    seen = list(top.scan(b"", b"\xff"))
    untouched = list(base.scan(b"", b"\xff"))
    assert untouched == list(drafted(EmptyView(), below).scan(b"", b"\xff"))
    base.absorb(top.writes)
    assert list(base.scan(b"", b"\xff")) == seen


def test_a_scan_is_as_of_its_call() -> None:
    base = drafted(EmptyView(), [(b"a", b"1"), (b"b", b"2")])
    draft = drafted(base, [(b"c", b"3")])
    scan = draft.scan(b"", b"\xff")
    draft.put(b"c", b"changed")
    draft.put(b"d", b"4")
    assert list(scan) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]


def test_a_cached_view_asks_once() -> None:
    asked: list[bytes] = []

    class Counting(EmptyView):
        def get(self, key: bytes) -> bytes | None:
            asked.append(key)
            return None

    view = CachedView(Counting())
    assert view.get(b"a") is None and view.get(b"a") is None
    assert asked == [b"a"]
