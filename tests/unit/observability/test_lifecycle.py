"""How a process ends: by signal, in order, and at once when it is told twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from haulout.observability.lifecycle import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_sets_the_event_and_the_handler_goes_with_the_block(number) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 2)
    assert signal.getsignal(number) in (before, signal.SIG_DFL, signal.default_int_handler)


def test_the_second_signal_ends_a_process_that_drains() -> None:
    program = (
        "import asyncio\n"
        "from haulout.observability.lifecycle import stop_on_signals\n"
        "async def main():\n"
        "    with stop_on_signals() as stop:\n"
        "        print('up', flush=True); await stop.wait()\n"
        "        print('draining', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"draining\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 128 + signal.SIGTERM
