"""`python -m benchmarks [name …] [--json]`: all benchmarks, or some; each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

NAMES = (
    "codec",
    "ledger",
    "epoch_change",
    "rebuild",
    "shard_sync",
    "start",
    "startup",
    "network_tx",
    "lag",
    "gateway",
    "small_blobs",
    "large",
    "graphql",
)


def main() -> int:
    """Run what was asked for; the exit code of the first that failed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="The committed benchmarks, as ratios to peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"only these: {', '.join(NAMES)}")
    parser.add_argument("--json", action="store_true", help="one JSON object, a key per benchmark")
    arguments, options = parser.parse_known_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(NAMES)}")
    if options and len(arguments.names) != 1:
        parser.error(f"{options[0]} is an option of one benchmark: name it")
    folder = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": str(folder.parent)}
    reports: dict[str, object] = {}
    for name in arguments.names or NAMES:
        command = [sys.executable, str(folder / f"bench_{name}.py"), *options]
        if not arguments.json:
            print(f"\n{name}", flush=True)
            done = subprocess.run(command, env=environment, check=False)
        else:
            done = subprocess.run([*command, "--json"], env=environment, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            return done.returncode
        if arguments.json:
            reports[name] = json.loads(done.stdout)
    if arguments.json:
        print(json.dumps(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
