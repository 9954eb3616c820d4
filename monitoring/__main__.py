"""`python -m monitoring`: write rules, runbooks and dashboards to where the package, the chart and people have them."""

from __future__ import annotations

from pathlib import Path

from monitoring.boards import BOARDS
from monitoring.panel import render_board
from monitoring.rules import all_alerts, render_index, render_rules, render_runbook

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "haulout/observability/monitoring"
CHART = "helm/haulout/monitoring"


def build_files() -> dict[str, str]:
    """Every file that is made here, by its path in the repository."""
    files = {f"docs/runbooks/{alert.name}.md": render_runbook(alert) for alert in all_alerts()}
    files["docs/runbooks/README.md"] = render_index()
    for folder in (PACKAGE, CHART):
        files[f"{folder}/rules.yaml"] = render_rules()
        files.update({f"{folder}/dashboards/{board.uid}.json": render_board(board) for board in BOARDS})
    return files


def write_files() -> None:
    """Write them all, and remove runbooks of alerts that are no more."""
    files = build_files()
    for stale in set((ROOT / "docs/runbooks").glob("*.md")) - {ROOT / path for path in files}:
        stale.unlink()
    for path, text in files.items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    write_files()
