"""Ending a network from outside: its supervisor asked, then killed; and what a dead supervisor has left.

Nothing is lost by a kill: what was acknowledged is on disk, and every process comes back from its own. Each wait has
a limit, so `haulout down` answers even when a process hangs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from haulout.embedded.child import STOP_PATIENCE_S
from haulout.embedded.folder import NetworkFolder, read_json
from haulout.errors import Forbidden, Unavailable

# The supervisor ends four groups of processes one after the other, each with `STOP_PATIENCE_S`.
ASKED_PATIENCE_S = 5 * STOP_PATIENCE_S
KILLED_PATIENCE_S = 10.0
QUIET_S = 3.0


@dataclass(eq=False)
class ProcessStuck(Unavailable):
    """A process that was killed and is still there: the kernel waits for something on its behalf."""

    code = "PROCESS_STUCK"
    template = "process {pid} of the network in {path} was killed and has not ended within {patience_s} s"
    hint = "its disk may hang; once it answers, run `haulout down` again"
    path: str
    pid: int
    patience_s: int


@dataclass(eq=False)
class NotOurNetwork(Forbidden):
    """The network was started by another user."""

    code = "NOT_OUR_NETWORK"
    template = "process {pid} belongs to another user"
    hint = "run `haulout down` as whoever started the network"
    pid: int


class Ended(Enum):
    """How a network came to its end."""

    STOPPED = "stopped"
    KILLED = "killed"  # it did not listen
    ORPHANS = "orphans"  # a dead supervisor had left processes
    NOT_RUNNING = "not running"


def end_network(folder: NetworkFolder, *, on_wait: Callable[[Sequence[str]], None]) -> Ended:
    """Stop the network of a folder; what does not stop is killed.

    Args:
        folder: of the network; its data stays.
        on_wait: called once when it takes longer, with the names of the processes that are still there.

    Raises:
        ProcessStuck: not even a kill ended one of them.
        NotOurNetwork: they are another user's.
    """
    pid = folder.holder_pid()
    if pid == 0:
        if read_json(folder.supervisor_file) is None:
            return Ended.NOT_RUNNING
        end_orphans(folder)
        return Ended.ORPHANS
    _send(pid, signal.SIGTERM)
    if _wait(lambda: not folder.is_locked(), QUIET_S):
        return _after_it_ended(folder)
    on_wait([name for name, child in children_of(folder).items() if is_ours(child, folder)])
    if _wait(lambda: not folder.is_locked(), ASKED_PATIENCE_S):
        return _after_it_ended(folder)
    _send(pid, signal.SIGKILL)
    if not _wait(lambda: not folder.is_locked(), KILLED_PATIENCE_S):
        raise ProcessStuck(path=str(folder.root), pid=pid, patience_s=int(KILLED_PATIENCE_S))
    end_orphans(folder)
    return Ended.KILLED


def _after_it_ended(folder: NetworkFolder) -> Ended:
    """A supervisor that ends in order takes its record away; one that is told twice to stop leaves its children."""
    if read_json(folder.supervisor_file) is None:
        return Ended.STOPPED
    end_orphans(folder)
    return Ended.ORPHANS


def end_orphans(folder: NetworkFolder) -> None:
    """Kill processes that a supervisor left behind when it died: they hold the ports and the data.

    Raises:
        ProcessStuck, NotOurNetwork: one of them does not end.
    """
    for pid in children_of(folder).values():
        if is_ours(pid, folder):
            _send(pid, signal.SIGKILL)
            if not _wait(lambda pid=pid: not is_ours(pid, folder), KILLED_PATIENCE_S):  # type: ignore[misc]
                raise ProcessStuck(path=str(folder.root), pid=pid, patience_s=int(KILLED_PATIENCE_S))
    folder.supervisor_file.unlink(missing_ok=True)


def children_of(folder: NetworkFolder) -> dict[str, int]:
    """Process ids by name, as the supervisor wrote them down last."""
    record = read_json(folder.supervisor_file) or {}
    return {str(name): int(pid) for name, pid in record.get("children", {}).items()}


def is_ours(pid: int, folder: NetworkFolder) -> bool:
    """Whether a process id still belongs to a process of this folder, not to one that got its number later."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        command = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False).stdout
    return str(folder.root).encode() in command


def _send(pid: int, what: signal.Signals) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return  # it was ending by itself
    except PermissionError as e:
        raise NotOurNetwork(pid=pid) from e


def _wait(has_ended: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not has_ended():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
