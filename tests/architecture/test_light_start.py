"""The command line and every process start without what only some of their work needs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HEAVY = ("grpc", "google", "httpx", "kopf", "kubernetes", "numba", "numpy", "rich", "sqlalchemy", "starlette")
HEAVY += (
    "strawberry",
    "opentelemetry",
    "uvicorn",
    "cryptography",
    "py_arkworks_bls12381",
    "structlog",
    "prometheus_client",
)

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


@pytest.mark.parametrize("module", ["node_grpc.ledger_main", "graphql_api.__main__", "haulout_operator.handlers"])
def test_who_codes_no_blobs_never_loads_the_compiler(module: str) -> None:
    """Ledger, GraphQL and operator: numba would cost them a second and 150 MiB."""
    program = f"import sys, {module}; print('loaded:', *sorted({{'numba', 'llvmlite'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    file = Path(spec.origin)
    sources = [file] if file.name == "ledger_main.py" else file.parent.rglob("*.py")  # node_grpc has nodes as well
    assert not [path for path in sources if "warm_up_kernels" in path.read_text()], "it would load them later"


# What each process must not have imported when it starts. What it needs for its work later comes with that work.
LATER = ("rich", "numpy", "numba", "llvmlite", "httpx", "reedsolo", "yaml", "pydantic", "grpc_reflection.v1alpha")
ELSEWHERE = ("opentelemetry", "kopf", "kubernetes", "graphql", "strawberry", "sqlalchemy")
WEB = ("starlette", "uvicorn", "click")
ROLES = {
    "haulout.embedded.assembly": (*LATER, *ELSEWHERE, *WEB),
    "node_grpc.ledger_main": (*LATER, *ELSEWHERE, *WEB),
    "node_grpc.__main__": (*LATER, *ELSEWHERE, *WEB, "typer"),
    "haulout.gateway.service": (*LATER, *ELSEWHERE),
    "graphql_api.__main__": (*LATER, "opentelemetry", "kopf", "kubernetes", "typer"),
}


@pytest.mark.parametrize("module", ROLES)
def test_a_process_starts_without_what_it_does_not_need_yet(module: str) -> None:
    program = f"import sys, {module}\nprint('loaded:', *sorted(set(sys.modules) & set({ROLES[module]})))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]
