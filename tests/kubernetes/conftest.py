"""Tests on a real Kubernetes: `make e2e` and `make e2e-full` run them, `make test` does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.kubernetes.installation import EPOCHS_BY_HAND, Installation
from tests.kubernetes.load import Load
from tests.kubernetes.testbed import Cluster, Earlier, build_earlier, find_cluster

collect_ignore_glob = [] if os.environ.get("HAULOUT_E2E") else ["test_*.py"]
if not os.environ.get("HAULOUT_E2E_FULL"):
    collect_ignore_glob.append("test_full.py")

# One installation lives through all of them, in this order: what is lost and rebuilt comes before it holds much.
ORDER = (
    "test_life",
    "test_policies",
    "test_rules",
    "test_trouble",
    "test_operator",
    "test_timed",
    "test_uninstall",
    "test_full",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.parent.name == "kubernetes"]
    ours.sort(key=lambda item: ORDER.index(item.path.stem))  # stable within a file
    items[:] = [item for item in items if item not in ours] + ours


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What could not run here, and why: a skipped scenario is no passed one."""
    if not os.environ.get("HAULOUT_E2E"):
        return
    for report in terminalreporter.stats.get("skipped", []):
        _, _, reason = report.longrepr
        terminalreporter.write_line(
            f"[e2e] not run here: {report.nodeid.rpartition('::')[2]}: {reason.removeprefix('Skipped: ')}"
        )
    if not shutil.which("kind"):
        terminalreporter.write_line(
            "[e2e] not run here: all of it on kind (.github/workflows/kubernetes.yaml runs it there)"
        )


@pytest.fixture(scope="session", autouse=True)
def _nothing_leaves_this_machine() -> None:
    """Here things do: to the API server of a cluster, and to the addresses of its Services."""


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Where everything runs; each machine of a testbed is a zone."""
    found = find_cluster(nodes=3)
    if found.testbed:
        for machine in found.run("kubectl", "get", "nodes", "-o", "name").split():
            zone = f"topology.kubernetes.io/zone=zone-{machine.rpartition('/')[2]}"
            found.run("kubectl", "label", "--overwrite", machine, zone)
    return found


@pytest.fixture(scope="session")
def earlier_release() -> Iterator[Future[Earlier]]:
    """The release that `upgrade-from` names, made beside the first test that asks for it."""
    with ThreadPoolExecutor(max_workers=1) as maker:
        yield maker.submit(build_earlier)


@pytest.fixture(scope="session")
def installation(cluster: Cluster) -> Iterator[Installation]:
    """The chart in a namespace of its own, with epochs that change when a test says so; gone afterwards.

    `HAULOUT_E2E_KEEP=1` leaves it there, and takes up one that is there: for scenarios one by one.
    """
    made = Installation(cluster, "haulout-e2e", EPOCHS_BY_HAND)
    keeps = bool(os.environ.get("HAULOUT_E2E_KEEP"))
    if not (keeps and made.has_namespace()):
        made.make_namespace()
    yield made
    if not keeps:
        made.remove()


@pytest.fixture(scope="module")
def network(installation: Installation) -> Installation:
    """The installation, settled, with four nodes."""
    if not installation.is_installed():
        installation.install()
    installation.settle()
    return installation


@pytest.fixture
def breakable(network: Installation) -> Installation:
    """The same on machines that may be broken."""
    if not network.cluster.testbed:
        pytest.skip("needs HAULOUT_TESTBED: this cluster's machines are not ours to break")
    return network


@pytest.fixture
def under_load(network: Installation) -> Iterator[Load]:
    """Writes and reads while the test does its worst; none may fail."""
    with network.reached("main-gateway") as gateway, Load(gateway) as load:
        yield load
