"""The command line starts without what only some commands need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("grpc", "google", "httpx", "kopf", "kubernetes", "numba", "numpy", "rich", "sqlalchemy", "starlette")
HEAVY += ("strawberry", "uvicorn", "cryptography", "py_arkworks_bls12381", "structlog", "prometheus_client")

PROGRAM = """
import sys
from haulout.cli.main import main
try:
    main({arguments})
except SystemExit as e:
    assert not e.code, e.code
print("loaded:", *sorted(set(name.partition(".")[0] for name in sys.modules) & set({heavy})))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["store", "--help"], ["ledger", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = PROGRAM.format(arguments=arguments, heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]
