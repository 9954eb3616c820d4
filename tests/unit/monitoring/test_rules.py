"""Every alert fires when it should and only then, by Prometheus's own word; its page and its copies are up to date."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.__main__ import CHART, PACKAGE, build_files
from monitoring.alert_cases import CASES, Case
from monitoring.rules import all_alerts

ROOT = Path(__file__).resolve().parents[3]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=300, check=False)


def unit_test(name: str, case: Case, lines: tuple[str, ...], *, fires: bool) -> dict[str, Any]:
    """One history as promtool takes it; the expectation is asked of the series in which alerts show themselves."""
    parts = [line.rpartition("} ") for line in lines]
    history = [{"series": series + "}", "values": values} for series, _, values in parts]
    expected = [{"labels": "{}", "value": 1}] if fires else []
    asked = f'count(count by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}}))'
    return {
        "name": f"{name} {'fires' if fires else 'stays silent'}",
        "interval": case.step,
        "input_series": history,
        "promql_expr_test": [{"expr": asked, "eval_time": case.at, "exp_samples": expected}],
    }


def rules_of(alert: str, rules: Path, folder: Path) -> Path:
    """The committed rules without those that have nothing to do with an alert: all together take a minute."""
    document = yaml.safe_load(rules.read_text())
    [found] = [rule for group in document["groups"] for rule in group["rules"] if rule.get("alert") == alert]
    recorded = [rule for group in document["groups"] for rule in group["rules"] if "record" in rule]
    needed = [rule for rule in recorded if rule["record"] in found["expr"]]
    file = folder / f"{alert}.rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [*needed, found]}]}))
    return file


@pytest.fixture(scope="module")
def rules() -> Path:
    return ROOT / PACKAGE / "rules.yaml"


def test_every_alert_has_its_two_cases() -> None:
    assert set(CASES) == {alert.name for alert in all_alerts()}


def test_every_alert_fires_and_stays_silent(rules: Path, tmp_path: Path) -> None:
    files = []
    for name, case in CASES.items():
        file = tmp_path / f"{name}.yaml"
        tests = [unit_test(name, case, lines, fires=True) for lines in (case.fires, case.fires_too) if lines]
        tests.append(unit_test(name, case, case.silent, fires=False))
        alone = rules_of(name, rules, tmp_path)
        document = {"rule_files": [str(alone)], "evaluation_interval": case.step, "tests": tests}
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        files.append(str(file))
    done = promtool("test", "rules", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(CASES)


def test_a_case_that_is_wrong_is_noticed(rules: Path, tmp_path: Path) -> None:
    case = CASES["HauloutBlobAtRisk"]
    query = [{"expr": "ALERTS", "eval_time": "5m"}]  # is not empty then
    wrong = {**unit_test("HauloutBlobAtRisk", case, case.fires, fires=True), "promql_expr_test": query}
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [wrong]}))
    assert promtool("test", "rules", str(file)).returncode != 0


def test_prometheus_takes_the_rules(rules: Path) -> None:
    done = promtool("check", "rules", str(rules))
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_made_from_code_is_what_is_committed() -> None:
    files = build_files()
    stale = [path for path, text in files.items() if not (ROOT / path).exists() or (ROOT / path).read_text() != text]
    assert not stale, "run `make gen`"
    pages = {f"docs/runbooks/{path.name}" for path in (ROOT / "docs/runbooks").iterdir()}
    assert pages == {path for path in files if path.startswith("docs/runbooks/")}
    assert {path.relative_to(ROOT / CHART) for path in (ROOT / CHART).rglob("*.*")} == {
        path.relative_to(ROOT / PACKAGE) for path in (ROOT / PACKAGE).rglob("*.*")
    }
