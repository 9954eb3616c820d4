"""Property tests draw as many examples as the profile says, or a multiple of it: never a number of their own."""

from __future__ import annotations

import ast
from pathlib import Path


def own_numbers(source: str) -> list[int]:
    """Lines where `max_examples` is a plain number."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    keywords = (keyword for call in calls for keyword in call.keywords if keyword.arg == "max_examples")
    return [keyword.value.lineno for keyword in keywords if isinstance(keyword.value, ast.Constant)]


def test_the_check_sees_a_number() -> None:
    assert own_numbers("@settings(max_examples=20)\ndef f(): ...") == [1]
    assert own_numbers("@settings(max_examples=2 * settings.default.max_examples)\ndef f(): ...") == []


def test_every_test_follows_the_profile(root: Path) -> None:
    profiles = root / "tests" / "conftest.py"
    found = {
        str(path.relative_to(root)): lines
        for path in sorted((root / "tests").rglob("*.py"))
        if path != profiles and (lines := own_numbers(path.read_text()))
    }
    assert found == {}, "write max_examples as a multiple of settings.default.max_examples"
