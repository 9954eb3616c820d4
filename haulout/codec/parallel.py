"""Parts of one computation at the same time.

The codec cuts what it computes into parts that do not depend on each other and hands them to `run`. Who owns threads
puts them to work with `use`; without that the parts are done one after the other, which gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Part = Callable[[], object]
Runner = Callable[[Sequence[Part]], None]

_runner: Runner | None = None


def use(runner: Runner | None) -> None:
    """From now on run parts by this, or one after the other if None. It returns when all have ended or one failed."""
    global _runner
    _runner = runner


def run(parts: Sequence[Part]) -> None:
    """Do all parts, in any order; what one of them raises is raised here."""
    if _runner is not None and len(parts) > 1:
        _runner(parts)
        return
    for part in parts:
        part()
