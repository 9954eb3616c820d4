"""Ctrl-C on a run of seeds: what was played until then is reported, and the exit code says that it was not all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

from haulout.sim.__main__ import INTERRUPTED

N_SEEDS = 20  # one line of progress for each


def hear_interrupts() -> None:
    """What a shell starts in the background does not, and neither does what that starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_prints_the_report_so_far() -> None:
    command = [sys.executable, "-m", "haulout.sim", "--light", "--seeds", str(N_SEEDS), "--first", "3"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    ) as child:
        try:
            assert child.stderr is not None
            progress = next(line for line in child.stderr if re.match(rf"\d+/{N_SEEDS} seeds", line))
            os.killpg(child.pid, signal.SIGINT)  # a terminal sends it to the players as well
            report, said = child.communicate()
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    assert progress.startswith("1/")
    assert child.returncode == INTERRUPTED
    stopped = re.fullmatch(rf"(?:.*\n)*stopped after (\d+) of {N_SEEDS} seeds\n", said)
    assert stopped is not None, said
    assert "Traceback" not in said
    assert 1 <= int(stopped[1]) < N_SEEDS
    assert report.startswith(f"{stopped[1]} seeds, ")
    assert "0 violations" in report
