"""How commands answer: text for people, JSON for programs, errors with a way out, and the exit codes.

::

    0  done            3  a rule said no (also: not found, forbidden)
    1  our bug         4  unavailable: try again later
    2  wrong usage     5  corrupt data was met
                     130  cancelled
"""

from __future__ import annotations

import json
import sys
from typing import Any

from haulout.errors import DOMAIN, Corrupt, Forbidden, HauloutError, InvalidInput, NotFound, Rejected, Unavailable

EXIT_BUG = 1
EXIT_CANCELLED = 130
EXIT_CODES: tuple[tuple[type[HauloutError], int], ...] = (
    (InvalidInput, 2),
    (Rejected, 3),
    (NotFound, 3),
    (Forbidden, 3),
    (Unavailable, 4),
    (Corrupt, 5),
)


def exit_code_of(error: HauloutError) -> int:
    """The exit code of an error's class."""
    return next((code for cls, code in EXIT_CODES if isinstance(error, cls)), EXIT_BUG)


def bytes_text(size_bytes: int) -> str:
    """A size for people, in binary units with one digit behind the point."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value, unit = size_bytes * 10, -1
    while value >= 10 * 1024 and unit < 3:
        value, unit = (value + 512) // 1024, unit + 1
    whole, tenth = divmod(value, 10)
    return f"{whole}.{tenth} {('KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def print_json(document: Any) -> None:
    """A JSON document on standard output, pretty-printed."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_error(error: HauloutError, *, as_json: bool) -> None:
    """An error on standard error; with `--json` the document of the HTTP API on standard output."""
    if not as_json:
        sys.stderr.write(f"haulout: {error} [{error.code}]\n")
        return
    metadata = {name: str(value) for name, value in error.details().items()}
    detail = {"@type": "ErrorInfo", "reason": error.code, "domain": DOMAIN, "metadata": metadata}
    print_json(
        {"error": {"status": error.kind, "code": exit_code_of(error), "message": str(error), "details": [detail]}}
    )
