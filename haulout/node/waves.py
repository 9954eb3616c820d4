"""Who is asked for what, when some of what all could give is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from haulout.node.peers import Peer
from haulout.primitives import SliverPairIndex

Asked = tuple[Peer, Sequence[SliverPairIndex]]


async def ask_in_waves(
    sources: Sequence[Asked],
    n_lacking: Callable[[], int],
    ask: Callable[[Peer, Sequence[SliverPairIndex]], Awaitable[int]],
) -> None:
    """Ask as many as could give what is lacking, all at once, and others when they did not, until nothing is lacking or
    nobody has more.

    Not everybody has what their shards say: a shard may still be on its way. So who gave something is asked for the
    rest of theirs when the others have been; who gave nothing is not asked again.

    Args:
        sources: peers and what each should have; the last is asked first.
        ask: takes in what a peer gives of what it is asked for; returns how many that were.
    """
    waiting = [(peer, pairs) for peer, pairs in sources if pairs]
    while waiting and (lacking := n_lacking()) > 0:
        wave: list[Asked] = []
        unasked: list[Asked] = []
        while waiting and lacking > 0:
            peer, pairs = waiting.pop()
            wave.append((peer, pairs[:lacking]))
            unasked.append((peer, pairs[lacking:]))
            lacking -= len(wave[-1][1])
        given = await asyncio.gather(*(ask(peer, pairs) for peer, pairs in wave))
        waiting[:0] = [rest for rest, n_given in zip(unasked, given, strict=True) if n_given and rest[1]]
