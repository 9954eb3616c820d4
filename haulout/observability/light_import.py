"""Importing a library without what it would pull in and does without."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def import_without(name: str, absent: str) -> ModuleType:
    """The module `name`, imported as if the package `absent` were not installed; one that is loaded already stays.

    For libraries that try an optional import when they are imported themselves. `absent` can be imported as usual
    afterwards.
    """
    if name in sys.modules or absent in sys.modules:
        return importlib.import_module(name)
    sys.modules[absent] = None  # type: ignore[assignment] # what makes `import absent` fail, by its documentation
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[absent]
