"""One supervised process, a real one: started, restarted, stopped, and never two of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import pytest

from haulout.embedded import child as child_module
from haulout.embedded.child import Child, ChildState

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
DIES = "import sys; print('dying', flush=True); sys.exit(3)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
DRAINS = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('drained', flush=True), sys.exit(0)))\n"
    "print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
async def make_child(tmp_path):
    made = []

    def make(program: str, *, restart: bool = True) -> Child:
        made.append(
            Child(
                name="node-0",
                command=[sys.executable, "-S", "-c", program],
                environment={"WHO": "node-0"},
                log=tmp_path / "logs" / "node-0.log",
                restart=restart,
            )
        )
        return made[-1]

    yield make
    for child in made:
        await child.stop()


async def until(condition) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within 10 s")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_runs_with_its_environment_and_a_log_and_is_stopped(make_child) -> None:
    child = make_child("import os, time; print(os.environ['WHO'], flush=True); time.sleep(60)")
    assert child.state is ChildState.STOPPED
    await child.start()
    await until(lambda: child.last_lines() == ["node-0"])
    pid = child.pid
    assert child.state is ChildState.STARTING
    child.is_ready = True
    assert child.state is ChildState.READY
    await child.stop()
    assert child.state is ChildState.STOPPED
    assert child.pid is None
    assert not is_alive(pid)


async def test_it_is_given_time_to_drain(make_child) -> None:
    child = make_child(DRAINS)
    await child.start()
    await until(lambda: child.last_lines() == ["up"])
    await child.stop()
    assert child.last_lines() == ["up", "drained"]
    assert child.exit_code == 0


async def test_one_that_does_not_listen_is_killed(make_child, monkeypatch) -> None:
    monkeypatch.setattr(child_module, "STOP_PATIENCE_S", 0.2)
    child = make_child(DEAF)
    await child.start()
    await until(lambda: child.last_lines() == ["up"])
    await child.stop()
    assert child.exit_code == -signal.SIGKILL


async def test_a_killed_one_is_started_again(make_child) -> None:
    child = make_child(SLEEPS)
    await child.start()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.n_restarts == 1 and child.pid not in (None, first))
    assert child.state is ChildState.STARTING


async def test_one_that_keeps_dying_is_started_with_growing_pauses(make_child) -> None:
    child = make_child(DIES)
    began = time.monotonic()
    await child.start()
    await until(lambda: child.n_restarts == 2)
    assert time.monotonic() - began >= 0.25 + 0.5
    assert child.last_lines(1) == ["dying"]


@pytest.fixture
def program(tmp_path):
    """A program that can be taken away and brought back."""
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\necho up\nexec sleep 60\n")
    path.chmod(0o755)
    return path


async def test_one_whose_program_vanished_is_tried_again_until_it_is_back(make_child, program) -> None:
    child = make_child("")
    child.command = [str(program)]
    await child.start()
    await until(lambda: child.last_lines() == ["up"])
    hidden = program.rename(program.with_name("hidden"))
    os.kill(child.pid, signal.SIGKILL)
    await until(lambda: child.n_restarts >= 2)
    assert child.state is ChildState.RESTARTING
    assert child.reasons == (f"CANNOT_START: {program}: No such file or directory",)
    hidden.rename(program)
    await until(lambda: child.pid is not None)
    assert child.state is ChildState.STARTING
    assert child.reasons == ()


async def test_one_that_cannot_be_started_at_first_is_tried_again_too(make_child, program) -> None:
    child = make_child("")
    child.command = [str(program)]
    program.chmod(0o644)
    await child.start()
    assert child.state is ChildState.RESTARTING
    assert "Permission denied" in child.reasons[0]
    program.chmod(0o755)
    await until(lambda: child.last_lines() == ["up"])
    assert child.n_restarts == 1


async def test_without_restart_one_that_cannot_be_started_has_ended(make_child, program) -> None:
    child = make_child("", restart=False)
    child.command = [str(program)]
    program.unlink()
    await child.start()
    await until(lambda: child.state is ChildState.EXITED)
    await child.stop()
    assert child.state is ChildState.STOPPED


async def test_a_log_that_cannot_be_opened_keeps_it_from_starting_for_now(make_child, tmp_path) -> None:
    (tmp_path / "logs").write_text("in the way")
    child = make_child(SLEEPS)
    await child.start()
    assert child.state is ChildState.RESTARTING
    assert child.reasons[0].startswith("CANNOT_START")
    (tmp_path / "logs").unlink()
    await until(lambda: child.pid is not None)


async def test_stopping_does_not_wait_for_the_pause(make_child) -> None:
    child = make_child(DIES)
    await child.start()
    await until(lambda: child.state is ChildState.RESTARTING)
    await asyncio.wait_for(child.stop(), 0.2)
    assert child.state is ChildState.STOPPED
    assert child.n_restarts == 0


async def test_without_restart_its_end_is_final_until_it_is_started(make_child) -> None:
    child = make_child(DIES, restart=False)
    await child.start()
    await until(lambda: child.state is ChildState.EXITED)
    assert child.exit_code == 3
    child.command = [sys.executable, "-S", "-c", SLEEPS]
    await child.start()
    assert child.state is ChildState.STARTING
    assert child.n_restarts == 0


async def test_started_twice_at_once_it_runs_once(make_child) -> None:
    child = make_child(SLEEPS)
    await asyncio.gather(child.start(), child.start(), child.start())
    await until(lambda: child.last_lines() != [])
    await asyncio.sleep(0.1)
    assert child.last_lines() == ["up"]


async def test_stopped_while_it_is_being_restarted_it_stays_stopped(make_child, monkeypatch) -> None:
    child = make_child(SLEEPS)
    await child.start()
    spawning, go_on = asyncio.Event(), asyncio.Event()
    really_spawn = asyncio.create_subprocess_exec

    async def spawn(*arguments, **options):
        spawning.set()
        await go_on.wait()
        return await really_spawn(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    os.kill(child.pid, signal.SIGKILL)
    await asyncio.wait_for(spawning.wait(), 5)
    stopping = asyncio.create_task(child.stop())
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.wait_for(stopping, 5)
    assert child.pid is None
    assert child.state is ChildState.STOPPED


async def test_started_while_it_is_being_stopped_it_runs(make_child) -> None:
    child = make_child(DRAINS)
    await child.start()
    await until(lambda: child.last_lines() == ["up"])
    first = child.pid
    await asyncio.wait_for(asyncio.gather(child.stop(), child.start()), 5)
    assert child.pid not in (None, first)
