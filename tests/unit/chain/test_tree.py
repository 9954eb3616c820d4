"""The state tree against a naive one, and what depends on order, depth and damage."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulout.chain import tree
from haulout.chain.rows import TreeCorrupt

TAG_KEY, TAG_LEAF, TAG_INNER = b"haulout/state/key/1", b"haulout/state/leaf/1", b"haulout/state/inner/1"


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def naive_root(rows: dict[bytes, bytes]) -> bytes:
    """The definition, bit by bit and without pages."""

    def subtree(leaves: list[tuple[int, bytes]], depth: int) -> bytes:
        if not leaves:
            return bytes(32)
        if len(leaves) == 1:
            return leaves[0][1]
        left = [leaf for leaf in leaves if not leaf[0] >> (255 - depth) & 1]
        right = [leaf for leaf in leaves if leaf[0] >> (255 - depth) & 1]
        return digest(TAG_INNER + subtree(left, depth + 1) + subtree(right, depth + 1))

    leaves = []
    for key, value in rows.items():
        place = digest(TAG_KEY + key)
        leaves.append((int.from_bytes(place, "big"), digest(TAG_LEAF + place + digest(value))))
    return subtree(leaves, 0)


class Pages(dict[bytes, bytes]):
    """Rows in a dict."""

    def apply(self, changes: dict[bytes, bytes | None]) -> bytes:
        root, writes = tree.update(self, changes)
        for key, value in writes.items():
            if value is None:
                del self[key]
            else:
                self[key] = value
        return root


def colliding_keys(bits: int, count: int) -> list[bytes]:
    """Keys whose hashes share their first bits with that of the first."""
    found = [b"0"]
    wanted = int.from_bytes(digest(TAG_KEY + b"0"), "big") >> (256 - bits)
    number = 1
    while len(found) < count:
        key = str(number).encode()
        if int.from_bytes(digest(TAG_KEY + key), "big") >> (256 - bits) == wanted:
            found.append(key)
        number += 1
    return found


DEEP = colliding_keys(13, 4)
changes = st.lists(
    st.dictionaries(
        st.sampled_from([*DEEP, *(bytes([i]) for i in range(40))]),
        st.none() | st.sampled_from([b"", b"a", b"b"]),
        max_size=20,
    ),
    max_size=6,
)


@settings(max_examples=3 * settings.default.max_examples)
@given(changes)
def test_root_is_that_of_the_naive_tree_after_every_batch(batches: list[dict[bytes, bytes | None]]) -> None:
    pages, rows = Pages(), dict[bytes, bytes]()
    for batch in batches:
        root = pages.apply(batch)
        rows = {k: v for k, v in {**rows, **batch}.items() if v is not None}
        assert root == naive_root(rows) == tree.read_root(pages)
    rebuilt = Pages()
    rebuilt.apply(dict(rows))
    assert rebuilt == pages


def test_a_tree_of_nothing_has_the_empty_root_and_no_page() -> None:
    pages = Pages()
    assert pages.apply({}) == bytes(32)
    assert pages.apply({b"gone": None}) == bytes(32)
    pages.apply({b"a": b"1"})
    assert pages.apply({b"a": None}) == bytes(32)
    assert pages == {}


def test_keys_that_share_many_bits_make_a_chain_of_pages_that_goes_when_they_go() -> None:
    pages = Pages()
    pages.apply({DEEP[0]: b"1", DEEP[1]: b"2"})
    assert len(pages) >= 4
    pages.apply({DEEP[1]: None})
    assert list(pages) == [tree.ROOT_PAGE]


def test_a_thousand_rows_make_pages_of_several_levels() -> None:
    pages = Pages()
    rows = {str(i).encode(): b"x" for i in range(1000)}
    assert pages.apply(dict(rows)) == naive_root(rows)
    assert len(pages) < 500


def test_a_missing_page_is_noticed() -> None:
    pages = Pages()
    pages.apply({DEEP[0]: b"1", DEEP[1]: b"2"})
    del pages[max(pages, key=len)]
    with pytest.raises(TreeCorrupt):
        tree.update(pages, {DEEP[0]: b"3"})


@pytest.mark.parametrize(
    "damage", [b"", b"\x01", b"\x02\x00\x00\x00\x00", b"\x01\x01\x00\x00\x00", b"\x01\x03\x00\x00\x00"]
)
def test_a_damaged_page_is_noticed(damage: bytes) -> None:
    with pytest.raises(TreeCorrupt):
        tree.read_root({tree.ROOT_PAGE: damage})
