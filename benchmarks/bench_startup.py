"""What it takes to start: CPU seconds of every process until the network is ready, beside the interpreter's own start.

    python -m benchmarks startup [--rest 0] [--json]

A network of five nodes is founded, stopped, and started again as `haulout up --detach` does it; the first start also
makes keys and, on a new machine, compiles kernels, so the second one is measured. The peer is `python -c pass` in the
same run, the best of several. CPU seconds are user and system time: on a busy machine they grow by half or more, the
wall time by much more. With `--rest`, what the network then takes in so many seconds at rest is measured too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.live import LiveNetwork, live_network, print_table

RUNS = 3
SETTLE_S = 60.0  # after which kernels are loaded everywhere
LIMITS_CPU_S = {"supervisor": 0.6, "ledger": 0.7, "node": 0.7, "gateway": 0.9, "graphql": 1.5, "haulout --help": 0.2}
LIMIT_WALL_S = 5.0
LIMIT_REST = 0.05  # of one core, all processes together


def cpu_of_command(command: list[str]) -> float:
    """CPU seconds of a command, the best of some runs."""
    found = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(found)


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used so far."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def pids_of(network: LiveNetwork) -> dict[str, int]:
    """All processes by name, the supervisor first."""
    record = json.loads((network.folder / "supervisor.json").read_text())
    return {"supervisor": record["pid"], **record["children"]}


def measure(rest_s: float) -> dict[str, Any]:
    """Everything, as plain numbers."""
    python = [sys.executable, "-c", "pass"]
    cpu: dict[str, float] = {"haulout --help": cpu_of_command([sys.executable, "-m", "haulout.cli", "--help"])}
    with live_network() as network:
        network.stop()
        start = time.perf_counter()
        network.start()
        wall_s = time.perf_counter() - start
        pids = pids_of(network)
        cpu |= {name: cpu_s(pid) for name, pid in pids.items()}
        rest: dict[str, float] = {}
        if rest_s:
            time.sleep(SETTLE_S)
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            time.sleep(rest_s)
            rest = {name: (cpu_s(pid) - before[name]) / rest_s for name, pid in pids.items()}
    limits = {name: LIMITS_CPU_S[name.partition("-")[0] if name.startswith("node-") else name] for name in cpu}
    return {
        "peer_cpu_s": cpu_of_command(python),
        "cpu_s": cpu,
        "limit_cpu_s": limits,
        "wall_s": wall_s,
        "limit_wall_s": LIMIT_WALL_S,
        "rest_of_a_core": rest,
        "load_average": os.getloadavg()[0],
        "within_limits": all(cpu[name] <= limits[name] for name in cpu) and sum(rest.values()) <= LIMIT_REST,
    }


def print_report(report: dict[str, Any]) -> None:
    """One table for people."""
    peer, rest = report["peer_cpu_s"], report["rest_of_a_core"]
    print(f"`python -c pass` takes {peer * 1000:.0f} ms of CPU; load average {report['load_average']:.1f}")
    print_table(
        ("process", "CPU s", "of limit", "of the interpreter", "at rest"),
        [
            (
                name,
                f"{seconds:.2f}",
                f"{seconds / report['limit_cpu_s'][name]:.0%}",
                f"{seconds / peer:.0f} ×",
                f"{rest[name]:.2%}" if name in rest else "",
            )
            for name, seconds in report["cpu_s"].items()
        ],
    )
    print(f"ready after {report['wall_s']:.1f} s (limit {report['limit_wall_s']:.0f} s on two idle cores)")
    if rest:
        print(f"at rest {sum(rest.values()):.1%} of one core (limit {LIMIT_REST:.0%})")


def main() -> int:
    """Measure and print; 1 when a limit of CPU time is missed. Wall time depends on who else runs, so it only shows."""
    parser = argparse.ArgumentParser(description="CPU seconds until a network is ready.")
    parser.add_argument("--rest", type=float, default=0.0, help="also measure so many seconds at rest")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = measure(arguments.rest)
    if arguments.json:
        print(json.dumps(report))
    else:
        print_report(report)
    return 0 if report["within_limits"] else 1


if __name__ == "__main__":
    sys.exit(main())
