"""What an alert is: its condition, and what whoever is woken by it has to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert and its runbook page.

    Attributes:
        name: for ever; people route and silence by it.
        expr: PromQL. `network` tells networks of one Prometheus apart, `process` its processes.
        wait: how long `expr` has to hold, as Prometheus writes it.
        severity: a page means that somebody acts now, a ticket that somebody acts this week.
        summary: one line; may use labels and the value as Prometheus templates do.
        means: what is lost or will be.
        look: where to look first.
        do: what helps, in order.
    """

    name: str
    expr: str
    wait: str
    severity: Literal["page", "ticket"]
    summary: str
    means: str
    look: str
    do: tuple[str, ...]
