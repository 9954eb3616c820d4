"""The committed protobuf modules are what the committed `.proto` files give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_generated_code_is_fresh(root: Path, tmp_path: Path) -> None:
    protos = sorted((root / "protos").rglob("*.proto"))
    assert protos
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    outputs = ["--python_out=.", "--grpc_python_out=.", "--mypy_out=quiet:.", "--mypy_grpc_out=quiet:."]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(root / "protos"), *outputs, *map(str, protos)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    fresh = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*")}
    generated = list((root / "haulout" / "wire" / "v1").glob("*_pb2*.py*"))
    committed = {path.relative_to(root): path.read_text() for path in generated}
    assert sorted(fresh) == sorted(committed)
    stale = sorted(str(path) for path in fresh if fresh[path] != committed[path])
    assert not stale, f"run `make gen`: {', '.join(stale)}"
