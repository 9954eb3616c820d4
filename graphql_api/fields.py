"""A typed name for Strawberry's resolver decorator, whose own type forgets the function it decorates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import strawberry

F = TypeVar("F", bound=Callable[..., Any])


def resolved(description: str) -> Callable[[F], F]:
    """Make a method the resolver of the field of its name; every field has a description."""
    return cast(Callable[[F], F], strawberry.field(description=description))
