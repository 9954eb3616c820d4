"""The rules as Prometheus reads them, and the runbook pages beside them."""

from __future__ import annotations

from typing import Any

import yaml

from monitoring.alert import Alert
from monitoring.alerts import GROUPS
from monitoring.objectives import burn_alerts, recordings

HEAD = "# Made by `make gen` from monitoring/; change it there.\n"


def all_alerts() -> tuple[Alert, ...]:
    """Every alert there is."""
    return (*(alert for group in GROUPS.values() for alert in group), *burn_alerts())


def build_rules() -> dict[str, Any]:
    """The document of a rule file, which is also the spec of a PrometheusRule."""
    recorded = [{"record": name, "expr": expr} for name, expr in recordings()]
    objectives = [*recorded, *(_rule(alert) for alert in burn_alerts())]
    groups = [{"name": f"haulout.{name}", "rules": [_rule(a) for a in alerts]} for name, alerts in GROUPS.items()]
    return {"groups": [*groups, {"name": "haulout.objectives", "rules": objectives}]}


def render_rules() -> str:
    """The rule file as text."""
    return HEAD + yaml.safe_dump(build_rules(), sort_keys=False, width=118, allow_unicode=True)


def render_runbook(alert: Alert) -> str:
    """The page of an alert."""
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(alert.do, 1))
    held = "" if alert.wait == "0m" else f", for {alert.wait}"
    kind = {"page": "Somebody acts now.", "ticket": "Somebody acts this week."}[alert.severity]
    return (
        f"# {alert.name}\n\n**{alert.severity.capitalize()}**: {kind}\n\n{alert.means}\n\n"
        f"## Condition\n\n```promql\n{alert.expr}\n```\n\nEvaluated at every round{held}.\n\n"
        f"## Look\n\n{alert.look}\n\n## Do\n\n{steps}\n"
    )


def render_index() -> str:
    """The list of all pages."""
    rows = "\n".join(f"| [{a.name}]({a.name}.md) | {a.severity} | {a.means} |" for a in all_alerts())
    return (
        "# Runbooks\n\nOne page for each alert; made by `make gen` from `monitoring/`, like the rules themselves.\n\n"
        f"| Alert | Kind | Means |\n|---|---|---|\n{rows}\n"
    )


def _rule(alert: Alert) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": alert.expr}
    if alert.wait != "0m":
        rule["for"] = alert.wait
    annotations = {
        "summary": alert.summary,
        "description": alert.means,
        "runbook": f"docs/runbooks/{alert.name}.md",
    }
    return {**rule, "labels": {"severity": alert.severity}, "annotations": annotations}
