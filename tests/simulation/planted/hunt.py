"""Is the oracle awake? Plants mistakes in copies of the sources, and plays seeds until each of them shows.

    make sim-planted                                    all patches in this folder
    make sim-planted PATCH=confirmation-before-sync     one of them

Each patch is applied to a copy in a temporary folder. There the scenario of its name (`haulout.sim.scenarios`) is
played from the first seed on; the seed that shows a violation must show none in the sources as they are. Fails when a
mistake is not found within a hundred seeds, or when a patch no longer applies.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
PACKAGE = "haulout"
MOST_SEEDS = 100

HUNT = """
import json, sys
from haulout.sim.scenarios import find_violation
name, first, stop = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print(json.dumps(find_violation(name, range(first, stop))))
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one patch: `seed` and `violation` when the mistake was found, else `problem`."""

    name: str
    seed: int | None
    violation: str
    problem: str
    elapsed_s: float

    @property
    def is_found(self) -> bool:
        return not self.problem


def patches() -> list[str]:
    """Names of all planted mistakes."""
    return sorted(path.stem for path in FOLDER.glob("*.patch"))


def why_not_applicable(name: str) -> str:
    """Why a patch does not fit the sources as they are; empty when it does."""
    return _apply(name, ROOT, "--check")


def hunt(name: str, *, most_seeds: int = MOST_SEEDS) -> Outcome:
    """Plant one mistake and play seeds until it is found."""
    started_s = time.monotonic()

    def outcome(problem: str, seed: int | None = None, violation: str = "") -> Outcome:
        return Outcome(name, seed, violation, problem, time.monotonic() - started_s)

    with _copied() as folder:
        problem = _apply(name, folder)
        if problem:
            return outcome(f"the patch does not apply: {problem}")
        found = _play(folder, name, range(most_seeds))
    if found is None:
        return outcome(f"not found in {most_seeds} seeds")
    seed, violation = found
    if _play(ROOT, name, range(seed, seed + 1)) is not None:
        return outcome("its seed fails without the patch as well", seed, violation)
    return outcome("", seed, violation)


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt and print a table; 0 when all were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="patches without .patch; all by default")
    names = parser.parse_args(argv).names or patches()
    print(f"{'planted':<34}{'seeds':>6}{'s':>7}  found")
    outcomes = []
    for name in names:
        outcome = hunt(name)
        outcomes.append(outcome)
        n_seeds = "" if outcome.seed is None else str(outcome.seed + 1)
        said = f"NO: {outcome.problem}" if outcome.problem else outcome.violation.splitlines()[0][:100]
        print(f"{name:<34}{n_seeds:>6}{outcome.elapsed_s:>7.0f}  {said}", flush=True)
    n_found = sum(outcome.is_found for outcome in outcomes)
    print(f"{n_found} of {len(outcomes)} found")
    return 0 if n_found == len(outcomes) else 1


@contextmanager
def _copied() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="haulout-planted-") as folder:
        shutil.copytree(ROOT / PACKAGE, Path(folder) / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(folder)


def _apply(name: str, folder: Path, *options: str) -> str:
    command = ["git", "apply", *options, str(FOLDER / f"{name}.patch")]
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def _play(folder: Path, name: str, seeds: range) -> tuple[int, str] | None:
    command = [sys.executable, "-c", HUNT, name, str(seeds.start), str(seeds.stop)]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, stdout=subprocess.PIPE)
    done.check_returncode()
    found = json.loads(done.stdout)
    return None if found is None else (found[0], found[1])


if __name__ == "__main__":
    sys.exit(main())
