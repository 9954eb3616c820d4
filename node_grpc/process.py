"""What the two processes of this package share: options, files, and how long they run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from haulout.errors import DiskFull, HauloutError, InvalidField
from haulout.observability.health_server import Reasons
from haulout.observability.logs import get_logger
from haulout.ports import Clock
from haulout.replica.replica import Replica

DISK_FULL_PAUSE_MS = 1_000
LOOK_INTERVAL_MS = 1_000

log = get_logger("process")


def add_option(
    parser: argparse.ArgumentParser, flag: str, text: str, *, default: str | None = None, choices: Sequence[str] = ()
) -> None:
    """A flag with an environment variable of the same name: `--log-level` is `HAULOUT_LOG_LEVEL`.

    Only `--dir` is `HAULOUT_DATA`, since `HAULOUT_DIR` is the folder of a whole network on a person's command line.
    """
    name = "DATA" if flag == "--dir" else flag.removeprefix("--").replace("-", "_").upper()
    known = os.environ.get(f"HAULOUT_{name}", default)
    parser.add_argument(flag, help=text, default=known, required=known is None, choices=choices or None)


def add_switch(parser: argparse.ArgumentParser, flag: str, text: str) -> None:
    """A flag without a value; its environment variable is 1 or true."""
    name = flag.removeprefix("--").replace("-", "_").upper()
    known = os.environ.get(f"HAULOUT_{name}", "").lower() in ("1", "true", "yes")
    parser.add_argument(flag, help=text, action="store_true", default=known)


def parse_count(field: str, text: str) -> int:
    """A number that is not negative.

    Raises:
        InvalidField: it is none.
    """
    if not text.isascii() or not text.isdigit():
        raise InvalidField(field=field, problem=f"{text!r} is not a number from 0 on")
    return int(text)


def read_json_file(field: str, path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InvalidField: no such file, or not a JSON object.
    """
    try:
        document = json.loads(_read_text(field, path))
    except ValueError as e:
        raise InvalidField(field=field, problem=f"{path} is not JSON: {e}") from e
    if not isinstance(document, dict):
        raise InvalidField(field=field, problem=f"{path} is not a JSON object")
    return document


def _read_text(field: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidField(field=field, problem=f"{path} cannot be read: {e}") from e


async def follow_ledger(replica: Replica, clock: Clock) -> None:
    """Keep a replica going; a full disk is waited for. Returns when the replica may not go on.

    Raises:
        FellBehind: the next start begins with a snapshot.
        StorageFailed: the process has to stop.
    """
    while True:
        try:
            await replica.run()
        except DiskFull as e:
            replica.problem = e
            await clock.sleep_ms(DISK_FULL_PAUSE_MS)
        else:
            return


async def log_troubles(troubles: Reasons, clock: Clock) -> None:
    """A line in the log when something begins to be wrong, and one when it is over; forever."""
    known: dict[str, str] = {}
    while True:
        now = {reason.partition(":")[0]: reason for reason in troubles()}
        for code in now.keys() - known.keys():
            log.warning("trouble", code=code, problem=now[code])
        for code in known.keys() - now.keys():
            log.info("trouble is over", code=code)
        known = now
        await clock.sleep_ms(LOOK_INTERVAL_MS)


async def run_until(stop: asyncio.Event, tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait for the signal, or for a task to fail, whose error is raised; one that returned says why by `/readyz`."""
    stopping = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Task[Any]] = {stopping, *tasks}
    try:
        while not stopping.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        stopping.cancel()


async def cancel_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended; their errors have been seen by `run_until`."""
    pending = list(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def reasons_of(*problems: HauloutError | None) -> list[str]:
    """Problems as `/readyz` lists them: the stable code, then the text."""
    return [f"{problem.code}: {problem}" for problem in problems if problem is not None]
