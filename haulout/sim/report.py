"""What many seeds came to, as one page: how much was played, what went wrong in it, and whether it means anything.

A run of seeds in which a kind of fault hardly ever happened, or hardly anything was stored, proves nothing; then the
report fails although no seed did.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from haulout.sim.plan import COUNTED
from haulout.sim.story import Run

RAREST_KIND = 0.05
FEWEST_BLOBS = 20
FEWEST_EPOCHS = 3
MEANINGFUL_SEEDS = 100


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed in short, as it travels between processes."""

    seed: int
    violation: str | None
    faults: dict[str, int]
    operations: dict[str, int]
    n_blobs: int
    n_epochs: int
    trace: str
    cpu_s: float

    @classmethod
    def of(cls, run: Run, cpu_s: float) -> SeedResult:
        return cls(
            seed=run.plan.seed,
            violation=run.violation,
            faults=dict(run.faults),
            operations=dict(run.operations),
            n_blobs=run.n_blobs,
            n_epochs=run.n_epochs,
            trace=run.trace,
            cpu_s=cpu_s,
        )

    def complaint(self) -> str:
        """What happened that may never happen, and how to see it again."""
        return f"  seed {self.seed}: {self.violation}\n    replay it: make sim SEED={self.seed}"


@dataclass(frozen=True, slots=True)
class Report:
    """All seeds of a run and how long it took."""

    results: Sequence[SeedResult]
    elapsed_s: float

    @property
    def violations(self) -> list[SeedResult]:
        """Seeds in which something happened that may never happen."""
        return [result for result in self.results if result.violation is not None]

    def shortcomings(self) -> list[str]:
        """Why these seeds prove less than they should; only of many seeds."""
        if len(self.results) < MEANINGFUL_SEEDS:
            return []
        found = []
        with_kind = self._seeds_by_kind()
        for kind in COUNTED:
            share = with_kind[kind] / len(self.results)
            if share < RAREST_KIND:
                found.append(f"{kind} happened in {share:.1%} of the seeds, at least {RAREST_KIND:.0%} are needed")
        blobs = statistics.median(result.n_blobs for result in self.results)
        if blobs < FEWEST_BLOBS:
            found.append(f"the median seed certified {blobs:g} blobs, at least {FEWEST_BLOBS} are needed")
        epochs = statistics.median(result.n_epochs for result in self.results)
        if epochs < FEWEST_EPOCHS:
            found.append(f"the median seed saw {epochs:g} epochs, at least {FEWEST_EPOCHS} are needed")
        return found

    @property
    def is_good(self) -> bool:
        return not self.violations and not self.shortcomings()

    def _seeds_by_kind(self) -> Counter[str]:
        return Counter(kind for result in self.results for kind, count in result.faults.items() if count)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        times = [result.cpu_s for result in self.results] or [0.0]
        return {
            "seeds": len(self.results),
            "seedsPerMinute": round(60 * len(self.results) / max(self.elapsed_s, 1e-9), 1),
            "medianCpuSeconds": round(statistics.median(times), 2),
            "blobs": sum(result.n_blobs for result in self.results),
            "epochs": sum(result.n_epochs for result in self.results),
            "faults": dict(sum((Counter(result.faults) for result in self.results), Counter())),
            "seedsWithFault": dict(self._seeds_by_kind()),
            "operations": dict(sum((Counter(result.operations) for result in self.results), Counter())),
            "violations": {result.seed: result.violation for result in self.violations},
            "shortcomings": self.shortcomings(),
        }

    def as_text(self) -> str:
        """For people."""
        facts = self.as_json()
        lines = [
            f"{facts['seeds']} seeds, {facts['seedsPerMinute']:g} per minute, {facts['medianCpuSeconds']} CPU s each; "
            f"{facts['blobs']} blobs, {facts['epochs']} epochs",
            "",
            "fault                     times   in seeds",
        ]
        with_kind = self._seeds_by_kind()
        for kind in COUNTED:
            share = with_kind[kind] / max(1, len(self.results))
            lines.append(f"{kind:<24}{facts['faults'].get(kind, 0):>7}{share:>10.0%}")
        lines += ["", "operation                                        times"]
        for operation, count in sorted(facts["operations"].items()):
            lines.append(f"{operation:<46}{count:>8}")
        lines.append("")
        lines += [f"{len(self.violations)} violations"]
        lines += [result.complaint() for result in self.violations]
        lines += [f"not good enough: {shortcoming}" for shortcoming in self.shortcomings()]
        return "\n".join(lines)
