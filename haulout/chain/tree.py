"""The state tree: one root over all committed rows, cheap to update and to prove from.

A row's place is the hash of its key, read bit by bit from the root. The tree is compact: a subtree with a single
leaf *is* that leaf, wherever it stands, so a million rows are about twenty levels deep and the root depends on the
rows alone, never on the order in which they came. With keys whose hashes start 00…, 010… and 011…::

                inner
               /     \\                      empty    32 zero bytes
           inner      empty                 leaf     H(leaf tag, key hash, value hash)
          /     \\                           inner    H(inner tag, left, right)
     leaf 00…    inner
                /     \\
         leaf 010…    leaf 011…

Four levels share one stored row, a *page*: sixteen slots, each empty, a leaf (its two hashes), or the hash of the
page below it. A page exists where its subtree has two leaves or more; the root's exists where there is any. Pages
live in the same rows as the state, under `F0 depth path`, path being the hash bits down to the page, four a level.

All changes of a block are applied in one pass, so a page is read, hashed and written once however many of its rows
changed: O(changed rows x depth / 4) pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from haulout.chain.rows import Rows, TreeCorrupt
from haulout.crypto.hashing import TAG_STATE_INNER, TAG_STATE_KEY, TAG_STATE_LEAF
from haulout.primitives import Digest

PREFIX: Final = b"\xf0"
PAGE_VERSION: Final = 1
PAGE_HEAD: Final = bytes((PAGE_VERSION,))
EMPTY_ROOT: Final = Digest(bytes(32))
ROOT_PAGE: Final = PREFIX + b"\x00"
_SLOTS = 16
_HASH_BYTES = 32
_LEAF_BYTES = 64
# Bytes of the four slots that one byte of a page's head describes; the kind 3 makes no page add up.
_SIZES = [tuple((0, 32, 64, 1 << 20)[byte >> shift & 3] for shift in (0, 2, 4, 6)) for byte in range(256)]

# A subtree as it stands in a slot: nothing, a single leaf (key hash, value hash), or the hash of two leaves or more.
Subtree = bytes | None
Change = tuple[bytes, bytes | None]  # key hash, value hash or None for a row that is gone


def hash_key(key: bytes) -> bytes:
    """Where a row stands in the tree."""
    return blake2b(TAG_STATE_KEY + key, digest_size=32).digest()


def hash_value(value: bytes) -> bytes:
    """What a leaf says of a row's value. Needs no tag: it only ever stands inside a leaf."""
    return blake2b(value, digest_size=32).digest()


def hash_leaf(leaf: bytes) -> bytes:
    """Hash of a leaf given as key hash and value hash in a row."""
    return blake2b(TAG_STATE_LEAF + leaf, digest_size=32).digest()


def hash_inner(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees given by their hashes."""
    return blake2b(TAG_STATE_INNER + left + right, digest_size=32).digest()


def hash_subtree(subtree: Subtree) -> bytes:
    """Hash of a subtree in any of its three forms."""
    if subtree is None:
        return EMPTY_ROOT
    return subtree if len(subtree) == _HASH_BYTES else hash_leaf(subtree)


def join_pairs(level: Sequence[Subtree]) -> list[Subtree]:
    """The level above: a lone leaf moves up, two leaves or more under one place are hashed. Even length."""
    above: list[Subtree] = []
    pairs = iter(level)
    for left, right in zip(pairs, pairs, strict=True):
        if left is None:
            if right is None or len(right) == _LEAF_BYTES:
                above.append(right)
                continue
            left = EMPTY_ROOT
        elif right is None:
            if len(left) == _LEAF_BYTES:
                above.append(left)
                continue
            right = EMPTY_ROOT
        # Spelled out: this loop hashes most of what a block hashes.
        if len(left) == _LEAF_BYTES:
            left = blake2b(TAG_STATE_LEAF + left, digest_size=32).digest()
        if len(right) == _LEAF_BYTES:
            right = blake2b(TAG_STATE_LEAF + right, digest_size=32).digest()
        above.append(blake2b(TAG_STATE_INNER + left + right, digest_size=32).digest())
    return above


def read_root(rows: Rows) -> Digest:
    """The root over all rows, from the stored root page."""
    return Digest(hash_subtree(_reduce(read_page(ROOT_PAGE, rows.get(ROOT_PAGE)))))


def update(rows: Rows, changes: Mapping[bytes, bytes | None]) -> tuple[Digest, dict[bytes, bytes | None]]:
    """Apply changed rows (None: gone) to the tree.

    Returns:
        The new root, and the tree's own rows to write (None: delete).
    """
    if not changes:
        return read_root(rows), {}
    items = sorted((hash_key(key), None if value is None else hash_value(value)) for key, value in changes.items())
    writes: dict[bytes, bytes | None] = {}
    return Digest(hash_subtree(_update_page(rows, 0, items, writes))), writes


def page_key(depth: int, key_hash: bytes) -> bytes:
    """The row of the page that a key passes through at a depth, counted in pages from the root."""
    path = key_hash[: (depth + 1) >> 1]
    if depth & 1:
        path = path[:-1] + bytes((path[-1] & 0xF0,))
    return PREFIX + bytes((depth,)) + path


def slot_of(depth: int, key_hash: bytes) -> int:
    """The slot that a key takes in its page at a depth."""
    byte = key_hash[depth >> 1]
    return byte & 0x0F if depth & 1 else byte >> 4


def read_page(key: bytes, raw: bytes | None) -> list[Subtree]:
    """The sixteen slots of a stored page; of a page that is not there yet only for the root.

    Raises:
        TreeCorrupt: a page that should be there is not, or is damaged.
    """
    if raw is None and key == ROOT_PAGE:
        return [None] * _SLOTS
    if raw is None or len(raw) < 5 or raw[0] != PAGE_VERSION:
        raise TreeCorrupt(tree="state", key=key.hex())
    slots: list[Subtree] = []
    at = 5
    for size in _SIZES[raw[1]] + _SIZES[raw[2]] + _SIZES[raw[3]] + _SIZES[raw[4]]:
        if size:
            slots.append(raw[at : at + size])
            at += size
        else:
            slots.append(None)
    if at != len(raw):
        raise TreeCorrupt(tree="state", key=key.hex())
    return slots


def write_page(slots: Sequence[Subtree]) -> bytes:
    """The stored form: version, two bits per slot (empty, hash, leaf) from the lowest on, then the slots in use."""
    kinds = 0
    for subtree in reversed(slots):
        kinds <<= 2
        if subtree is not None:
            kinds |= len(subtree) >> 5
    return PAGE_HEAD + kinds.to_bytes(4, "little") + b"".join([subtree for subtree in slots if subtree is not None])


def _reduce(slots: Sequence[Subtree]) -> Subtree:
    """The subtree that a page stands for: its slots joined level by level."""
    level = slots
    while len(level) > 1:
        level = join_pairs(level)
    return level[0]


def _update_page(rows: Rows, depth: int, items: Sequence[Change], writes: dict[bytes, bytes | None]) -> Subtree:
    """Apply changes, sorted by key hash, to the page they all pass through; returns its subtree afterwards."""
    key = page_key(depth, items[0][0])
    raw = rows.get(key)
    slots = read_page(key, raw)
    for slot, group in _by_slot(depth, items):
        before = slots[slot]
        if before is not None and len(before) == _HASH_BYTES:
            slots[slot] = _update_page(rows, depth + 1, group, writes)
        else:
            slots[slot] = _build(depth + 1, _merge_leaf(before, group), writes)
    subtree = _reduce(slots)
    if subtree is not None and (depth == 0 or len(subtree) == _HASH_BYTES):
        writes[key] = write_page(slots)
    elif raw is not None:
        writes[key] = None
    return subtree


def _build(depth: int, leaves: Sequence[bytes], writes: dict[bytes, bytes | None]) -> Subtree:
    """A subtree made of these leaves alone, sorted by key hash, where no page stands yet."""
    if len(leaves) < 2:
        return leaves[0] if leaves else None
    slots: list[Subtree] = [None] * _SLOTS
    start = 0
    while start < len(leaves):
        slot, end = slot_of(depth, leaves[start]), start + 1
        while end < len(leaves) and slot_of(depth, leaves[end]) == slot:
            end += 1
        slots[slot] = _build(depth + 1, leaves[start:end], writes)
        start = end
    writes[page_key(depth, leaves[0])] = write_page(slots)
    return _reduce(slots)


def _merge_leaf(leaf: bytes | None, changes: Sequence[Change]) -> list[bytes]:
    """The leaves of a slot that held at most one, after the changes; sorted."""
    after = [key_hash + value_hash for key_hash, value_hash in changes if value_hash is not None]
    if leaf is not None and all(key_hash != leaf[:_HASH_BYTES] for key_hash, _ in changes):
        after.append(leaf)
        after.sort()
    return after


def _by_slot(depth: int, items: Sequence[Change]) -> list[tuple[int, Sequence[Change]]]:
    if len(items) == 1:
        return [(slot_of(depth, items[0][0]), items)]
    groups: list[tuple[int, Sequence[Change]]] = []
    start = 0
    while start < len(items):
        slot, end = slot_of(depth, items[start][0]), start + 1
        while end < len(items) and slot_of(depth, items[end][0]) == slot:
            end += 1
        groups.append((slot, items[start:end]))
        start = end
    return groups
