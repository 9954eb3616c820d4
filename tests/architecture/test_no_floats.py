"""The ledger computes with integers: floats would let replicas disagree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest


def float_uses(source: str) -> list[tuple[int, str]]:
    """Line and kind of everything that makes or may make a float."""
    uses = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=float() | complex()):
                uses.append((node.lineno, "literal"))
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                uses.append((node.lineno, "true division"))
            case ast.Name(id="float"):
                uses.append((node.lineno, "float"))
            case ast.BinOp(op=ast.Pow(), right=ast.UnaryOp(op=ast.USub())):
                uses.append((node.lineno, "negative power"))
    return uses


@pytest.mark.parametrize("package", ["ledger", "chain"])
def test_the_core_has_no_floats(root: Path, package: str) -> None:
    files = sorted((root / "haulout" / package).rglob("*.py"))
    assert files
    assert not {str(path): uses for path in files if (uses := float_uses(path.read_text()))}


@pytest.mark.parametrize("line", ["x = 1.5", "x = a / b", "x /= 2", "x = float(a)", "x: float", "x = 10 ** -2"])
def test_the_guard_sees_floats(line: str) -> None:
    assert float_uses(line)


def test_the_guard_lets_integers_be() -> None:
    assert not float_uses("x = a // b + 2 ** 8 % 3")
