"""How much of the shards on their way here has come, in bytes of slivers: for people who wait."""

from __future__ import annotations

from collections.abc import Iterable


class SyncProgress:
    """Counts what arrives on some shards against what was lacking on them at first."""

    def __init__(self) -> None:
        self.moving_bytes = 0
        self._arrived_bytes = 0
        self._shards: frozenset[int] = frozenset()

    @property
    def moved_bytes(self) -> int:
        """What has come, at most what was lacking: a sliver that was damaged and came twice counts once more."""
        return min(self._arrived_bytes, self.moving_bytes)

    def begin(self, shards: Iterable[int], lacking_bytes: int) -> None:
        """So much is lacking on these shards now."""
        self._shards, self.moving_bytes, self._arrived_bytes = frozenset(shards), lacking_bytes, 0

    def note(self, shard_index: int, n_bytes: int) -> None:
        """Bytes of a sliver came, on whatever shard."""
        if shard_index in self._shards:
            self._arrived_bytes += n_bytes
