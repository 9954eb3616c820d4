"""Options that several commands share."""

from __future__ import annotations

import re

import typer

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_duration_ms(text: str, *, field: str) -> int:
    """A duration as people write it, in ms: `10s`, `2m`, `1h`, `14d`, `500ms`.

    Raises:
        InvalidField: it is none.
    """
    from haulout.errors import InvalidField

    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text.strip())
    if match is None:
        raise InvalidField(field=field, problem=f"{text[:40]!r} is not a duration; write 10s, 2m, 1h or 14d")
    return int(match.group(1)) * _UNITS_MS[match.group(2)]


DIR_OPTION = typer.Option(None, "--dir", help="The network's folder; else $HAULOUT_DIR, else ./.haulout.")
JSON_OPTION = typer.Option(False, "--json", help="Answer in JSON.")
