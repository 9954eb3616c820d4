"""Sizes and durations as Kubernetes writes them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from fractions import Fraction

from haulout.errors import InvalidField

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
# Those that Kubernetes has and specs of ours do not.
OTHERS_UNITS: dict[str, Fraction | int] = {
    **UNITS,
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "P": 10**15,
    "E": 10**18,
    "Pi": 1 << 50,
    "Ei": 1 << 60,
}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_bytes(text: str) -> int:
    """Bytes of a quantity as 10Gi.

    Raises:
        InvalidField: not one.
    """
    match = re.fullmatch(r"(\d+)([A-Za-z]*)", text)
    if match is None or match.group(2) not in UNITS:
        raise InvalidField(field="size", problem=f"{text!r} is not a size; write 10Gi")
    return int(match.group(1)) * UNITS[match.group(2)]


def bytes_text(size_bytes: int) -> str:
    """Bytes for people, in the largest binary unit they fill, with one digit behind the point: 1.5Gi."""
    unit = next((one for one in ("Ti", "Gi", "Mi", "Ki") if size_bytes >= UNITS[one]), "")
    tenths = size_bytes * 10 // UNITS[unit]
    return f"{tenths // 10}.{tenths % 10}{unit}" if tenths % 10 else f"{tenths // 10}{unit}"


def find_bytes(text: str) -> int | None:
    """Bytes of a quantity that others wrote, rounded up, in whatever way Kubernetes writes it; None when it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?", text)
    if match is None:
        return None
    number, unit, exponent = match.groups()
    factor = Fraction(10) ** int(exponent or 0) * (OTHERS_UNITS[unit] if unit else 1)
    return math.ceil(Fraction(number) * factor)


def find_amount(value: object) -> Fraction | str:
    """An amount of a resource as a number, whatever its unit; one that we do not know as it stands."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", str(value))
    if match is None or match.group(2) not in {**UNITS, "m": 0}:
        return str(value)
    unit = Fraction(1, 1000) if match.group(2) == "m" else Fraction(UNITS[match.group(2)])
    return Fraction(match.group(1)) * unit


def parse_duration_ms(text: str) -> int:
    """Milliseconds of a duration as 24h.

    Raises:
        InvalidField: not one.
    """
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise InvalidField(field="duration", problem=f"{text!r} is not a duration; write 90s, 10m, 24h or 14d")
    return int(match.group(1)) * SECONDS[match.group(2)] * 1000


def parse_time_ms(text: str) -> int:
    """Milliseconds since 1970 of a time as Kubernetes writes it.

    Raises:
        InvalidField: not one.
    """
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 1000
    except ValueError as e:
        raise InvalidField(field="time", problem=f"{text!r} is not a time; write 2026-01-31T12:00:00Z") from e
