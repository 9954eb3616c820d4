"""Logs, as a process of its own writes them."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, sys
from haulout.observability.logs import configure_logs, get_logger
configure_logs(log_format=sys.argv[1], level=sys.argv[2], process="node-3")
log = get_logger("node")
log.debug("too small to matter")
log.info("stored a blob", size_bytes=5)
logging.getLogger("foreign").info("chatter")
logging.getLogger("foreign").warning("from a library")
try:
    secret = "a" + "bcdef"
    raise ValueError("deep inside")
except ValueError as e:
    log.error("it failed", exc_info=e)
"""


def run(log_format: str, level: str = "info") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format, level], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_for_machines_every_line_is_one_object() -> None:
    small, stored, foreign, failed = [json.loads(line) for line in run("json", "debug")]
    assert small["event"] == "too small to matter"
    assert (stored["event"], stored["size_bytes"], stored["room"], stored["level"]) == (
        "stored a blob", 5, "node", "info"
    )  # fmt: skip
    assert foreign["event"] == "from a library"
    assert "ValueError: deep inside" in failed["exception"]
    assert {line["process"] for line in (stored, foreign, failed)} == {"node-3"}
    assert stored["timestamp"].endswith("Z")


def test_what_is_no_terminal_gets_json_by_itself() -> None:
    assert [json.loads(line)["event"] for line in run("auto")] == ["stored a blob", "from a library", "it failed"]


def test_for_people_it_is_text() -> None:
    text = "\n".join(run("human"))
    assert "stored a blob" in text
    assert "size_bytes=5" in text
    assert "\x1b[" not in text
    assert "ValueError: deep inside" in text


def test_no_variable_of_a_failed_function_is_shown() -> None:
    for log_format in ("human", "json"):
        assert "abcdef" not in "\n".join(run(log_format))


def test_levels() -> None:
    assert [json.loads(line)["event"] for line in run("json", "error")] == ["it failed"]
