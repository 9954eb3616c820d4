"""One supervised process: started, watched, started again when it dies, stopped with patience.

A child that dies is started again at once, then after growing pauses while it keeps dying young; one that cannot even
be started (its program is gone, no room for its log) counts as one that died young. Its output goes to its log file;
the supervisor reads only the last lines of it, to say why something does not come up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

STOP_PATIENCE_S = 15.0
YOUNG_S = 20.0
PAUSE_S_MAX = 10.0


class ChildState(Enum):
    """What a child is doing, as people see it."""

    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    EXITED = "exited"


@dataclass(slots=True)
class Child:
    """A process and the wish whether it should run."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    restart: bool
    process: asyncio.subprocess.Process | None = None
    wanted: bool = False
    is_ready: bool = False
    reasons: tuple[str, ...] = ()
    was_ready: bool = False
    n_restarts: int = 0
    exit_code: int | None = None
    _cannot_start: bool = False
    _watcher: asyncio.Task[None] | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    @property
    def state(self) -> ChildState:
        if self.pid is not None:
            if self.is_ready:
                return ChildState.READY
            return ChildState.NOT_READY if self.was_ready else ChildState.STARTING
        if not self.wanted:
            return ChildState.STOPPED
        if self.process is None and not self._cannot_start:
            return ChildState.STARTING
        return ChildState.RESTARTING if self.restart else ChildState.EXITED

    async def start(self) -> None:
        """Start the process and keep it running from now on; nothing happens when it runs."""
        async with self._changing:
            self.wanted = True
            if self._watcher is None or self._watcher.done():
                await self._spawn()
                self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def stop(self) -> None:
        """Ask the process to drain and end; kill it when its patience is over."""
        async with self._changing:
            self.wanted = False
            self._wake.set()
            await self._end(self.process)
            if self._watcher is not None:
                await self._watcher
                self._watcher = None
            self.reasons = ()

    @staticmethod
    async def _end(process: asyncio.subprocess.Process | None) -> None:
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_PATIENCE_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of the process's log."""
        try:
            with self.log.open(errors="replace") as file:
                return [line.rstrip() for line in deque(file, count)]
        except FileNotFoundError:
            return []

    async def _spawn(self) -> None:
        """Start the process; when that fails there is none, and `reasons` say why."""
        self.is_ready = self.was_ready = False
        self.reasons = ()
        self._wake.clear()
        try:
            self.process = await self._execute()
        except OSError as e:
            self.process, self._cannot_start = None, True
            what = e.filename or self.command[0]
            self.reasons = (f"CANNOT_START: {what}: {e.strerror or e}",)
        else:
            self._cannot_start = False

    async def _execute(self) -> asyncio.subprocess.Process:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            return await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C reaches the supervisor only: it ends the children in order
            )
        finally:
            os.close(descriptor)

    async def _watch(self) -> None:
        pause_s = 0.0
        while True:
            born = time.monotonic()
            if self.process is not None:
                self.exit_code = await self.process.wait()
            self.is_ready = False
            if not self.wanted or not self.restart:
                return
            young = time.monotonic() - born < YOUNG_S
            pause_s = min(max(2 * pause_s, 0.25), PAUSE_S_MAX) if young else 0.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_s)
            if not self.wanted:
                return
            self.n_restarts += 1
            await self._spawn()
            if not self.wanted:  # told to stop while it was being started
                await self._end(self.process)
