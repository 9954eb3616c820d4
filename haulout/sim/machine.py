"""Something with a plug: the tasks that run on one simulated machine."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

from haulout.errors import Unreachable
from haulout.sim.loop import HOME, Callback, SimTask

T = TypeVar("T")


class Machine:
    """Tasks started with `start`, and all that those start in turn, are at home here and end together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_on = True
        self.held: list[Callback] | None = None  # what would run if the machine were not paused

    def start(self, coro: Coroutine[Any, Any, T], *, name: str = "") -> asyncio.Task[T]:
        """Run something on this machine."""
        context = contextvars.copy_context()
        context.run(HOME.set, self)
        title = f"{self.name}: {name}" if name else None
        return asyncio.get_running_loop().create_task(coro, name=title, context=context)

    async def run(self, coro: Coroutine[Any, Any, T], *, name: str = "") -> T:
        """Run something on this machine and wait for it.

        Raises:
            Unreachable: the machine was switched off.
        """
        task = self.start(coro, name=name)
        try:
            return await task
        except asyncio.CancelledError:
            waiting = asyncio.current_task()
            if self.is_on or waiting is None or waiting.cancelling():
                raise
            raise Unreachable(peer=self.name, problem="it was switched off") from None

    def pause(self) -> None:
        """Stand still, as a process does that is stopped or swapped out: time goes on, nothing runs."""
        if self.held is None:
            self.held = []

    def resume(self) -> None:
        """Go on; everything that became due meanwhile is due now."""
        held, self.held = self.held, None
        for handle in held or ():
            asyncio.get_running_loop()._ready.append(handle)  # type: ignore[attr-defined]

    async def pull_plug(self) -> None:
        """End everything that runs here. The caller has cut its disks before, so that last words reach nothing."""
        self.is_on = False
        self.resume()
        while tasks := self._tasks():
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _tasks(self) -> list[SimTask[Any]]:
        current = asyncio.current_task()
        mine = [t for t in asyncio.all_tasks() if isinstance(t, SimTask) and t.home is self and t is not current]
        return sorted(mine, key=lambda task: task.number)
