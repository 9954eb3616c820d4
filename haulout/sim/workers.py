"""Work done inline, and a block only once: everybody who stands on the same state gets the same result.

Executing blocks is most of what a simulated network does, and every machine executes each of them again. The result
is a function of the state before, which the digest of the parent's header commits to, and of the block; the oracle
executes the whole chain once more, without this, at the end of a world.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from haulout.chain.block import BlockHeader
from haulout.ledger.apply import apply_block
from haulout.world.workers import InlineWorkers

P = ParamSpec("P")
T = TypeVar("T")

KEPT_BLOCKS = 512


class SimWorkers:
    """Implements `ports.Workers`; one for all machines of a world."""

    def __init__(self) -> None:
        self._inline = InlineWorkers()
        self._applied: OrderedDict[tuple[bytes, int, tuple[bytes, ...]], Any] = OrderedDict()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` and return its result; its exception is raised here."""
        if cast(object, function) is not apply_block:
            return await self._inline.run(function, *args, **kwargs)
        _, parent, time_ms, transactions = cast("tuple[Any, ...]", args)[:4]
        key = (cast(BlockHeader, parent).digest(), time_ms, tuple(transactions))
        if key not in self._applied:
            self._applied[key] = function(*args, **kwargs)
            while len(self._applied) > KEPT_BLOCKS:
                self._applied.popitem(last=False)
        return cast(T, self._applied[key])
