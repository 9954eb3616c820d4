"""The operator's rounds and watches before an API server that misbehaves: over HTTP, with kmock's scripts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import kmock
import kopf
import kubernetes
import pytest
import yaml

from haulout_operator import handlers
from haulout_operator.ledger import read_facts
from haulout_operator.names import NETWORK_LABEL
from haulout_operator.reconcile import BACKOFF_MS_MAX, RESYNC_JITTER_MS, RESYNC_MS, SETTLE_MS
from tests.unit.haulout_operator.api_server import KINDS, Objects, hang_up, new_api, refusal, script, served
from tests.unit.haulout_operator.fake_kube import NAMESPACE

MINUTE_MS = 60_000
N_REFUSED = 8
N_WATCHES = 1 + len(handlers.OWN) + len(handlers.CHILDREN)
PATIENCE_S = 100
STALE = [(*KINDS.values(),), ("StorageNode",), ("StorageNodePool",), ("Pod",), ("Secret", "PersistentVolumeClaim")]


@pytest.fixture
async def api() -> kmock.KubernetesScaffold:
    return new_api()


@pytest.fixture
async def objects(town, api, tmp_path: Path) -> AsyncIterator[Objects]:
    """A network of four nodes at rest, whose operator has the API server between itself and the objects."""
    town.found()
    await town.play()
    made = Objects(town.kube, api)
    async with served(api, tmp_path) as town.client:
        await town.restart()
        yield made
        await town.operator.close()


def is_write(request: kmock.Request) -> bool:
    return request.method in (kmock.method.POST, kmock.method.PATCH, kmock.method.DELETE)


async def check_grown(town, size: int) -> None:
    """As many nodes as were asked for, each with what belongs to it, and nothing left to do."""
    await town.play()
    assert len(town.nodes()) == size
    assert {node.stake_frost for node in (await read_facts(town, None)).nodes.values()} == {2_000 * 10**9}
    assert len(town.kube.names("PersistentVolumeClaim")) == len(town.node_pods()) + 2 == size + 2
    assert town.condition("StorageNodePool", "main", "Ready")["status"] == "True"


REFUSALS = {str(status): refusal(status, "come back later") for status in (409, 410, 429, 500)} | {"drop": hang_up}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
async def test_writes_that_are_refused_for_a_while_are_done_once(town, api, objects, answer: Any) -> None:
    town.scale(5)
    refused = script(api, lambda request: is_write(request) and len(refused) < N_REFUSED, answer)
    rounds = 0
    while len(refused) < N_REFUSED:
        await town.round()
        rounds += 1
    assert rounds > 1  # a round asks for each thing once: what was refused waits for the next one
    await check_grown(town, 5)


async def test_writes_whose_answers_are_lost_are_not_done_again(town, api, objects) -> None:
    async def take_effect_and_hang_up(request: kmock.Request) -> bytes:
        await objects.answer(request)
        return hang_up(request)

    town.scale(5)
    lost = script(api, lambda request: is_write(request) and len(lost) < N_REFUSED, take_effect_and_hang_up)
    while len(lost) < N_REFUSED:
        await town.round()
    await check_grown(town, 5)


async def test_ten_minutes_without_an_api_server_are_borne_and_made_up_for(town, api, objects) -> None:
    back_ms = town.clock.time_ms + 10 * MINUTE_MS
    answered_ms: list[int] = []

    def is_away(_: kmock.Request) -> bool:
        if town.clock.time_ms >= back_ms:
            answered_ms.append(town.clock.time_ms)
        return not answered_ms

    refused = script(api, is_away, refusal(503, "etcdserver: no leader"))
    town.kube.writes.clear()
    town.scale(5)
    del town.kube.objects["Service", town.nodes()[0]]
    town.operator.wake("main")
    async with asyncio.timeout(PATIENCE_S):
        while not is_at_rest(town, 5):  # time passes as the operator waits
            assert answered_ms or not town.kube.writes
            town.kube.settle()
            await asyncio.sleep(0.01)
    await town.operator.close()
    assert answered_ms[0] <= back_ms + BACKOFF_MS_MAX + SETTLE_MS
    assert 10 <= len(refused) <= 20  # less and less often, and once a minute in the end
    await check_grown(town, 5)
    assert set(town.nodes()) <= set(town.kube.names("Service"))


def is_at_rest(town, size: int) -> bool:
    """Whether the pool says that all is as it should be."""
    told = town.kube.objects["StorageNodePool", "main"]["status"]
    holds = {one["type"] for one in told["conditions"] if one["status"] == "True"}
    return (told["readyReplicas"], told["updatedReplicas"], holds) == (size, size, {"Ready"})


@pytest.mark.parametrize("kinds", STALE, ids=lambda kinds: kinds[0] if len(kinds) < 3 else "everything")
async def test_a_cache_that_lags_behind_makes_no_node_twice(town, objects, kinds: tuple[str, ...]) -> None:
    objects.fall_behind(*kinds)
    town.scale(6)
    for _ in range(4):
        await town.round()
        assert len(town.nodes()) <= 6
    objects.catch_up()
    await check_grown(town, 6)


async def test_a_size_of_before_lets_nobody_go(town, objects) -> None:
    town.scale(5)
    await town.play()
    await town.advance()
    await town.sync()
    await town.play()
    nodes, claims = town.nodes(), town.kube.names("PersistentVolumeClaim")
    town.scale(4)
    objects.fall_behind("StorageNodePool")
    town.scale(5)
    for _ in range(4):
        await town.round()
    assert len(town.leaving()) == 1  # asked to go, and it serves until the epoch changes
    objects.catch_up()
    await town.play()
    assert town.leaving() == []
    await town.advance()
    await town.sync()
    await town.play()
    assert (town.nodes(), town.kube.names("PersistentVolumeClaim")) == (nodes, claims)
    assert all(node.shards for node in (await read_facts(town, None)).nodes.values())


# --- watches --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def woken(api, objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Names of networks that kopf and the operator's handlers ask a round for; every watch is open."""
    log_in(monkeypatch, tmp_path / "kubeconfig", str(api.url))
    names: list[str] = []
    stop = threading.Event()

    def watch() -> None:  # in a loop of its own: when kopf ends, it cancels whatever runs beside it
        operator = kopf.operator(
            registry=handlers.build_registry(names.append),
            settings=handlers.build_settings(),
            namespaces=[NAMESPACE],
            standalone=True,
            identity="test",  # type: ignore[arg-type]
            stop_flag=stop,
        )
        asyncio.run(operator)

    watching = asyncio.create_task(asyncio.to_thread(watch))
    try:
        await wait(lambda: len(objects.watched) == N_WATCHES)
        yield names
    finally:
        stop.set()
        await watching


def log_in(monkeypatch: pytest.MonkeyPatch, path: Path, url: str) -> None:
    """A kubeconfig of this API server, for this test alone."""
    config = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": url}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.setattr(kubernetes.client.Configuration, "_default", None)


async def wait(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def add(town, kind: str, network: str) -> None:
    """An object that only a watch of its kind can tell of: nothing else has to do with its network."""
    if kind == "Pod":
        metadata = {"name": f"{network}-0", "namespace": NAMESPACE, "labels": {NETWORK_LABEL: network}}
        town.kube._add({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {}})
    else:
        town.kube.add(kind, network, {"networkRef": {"name": network}})


@pytest.mark.parametrize("forgets", [False, True], ids=["dropped", "too-old"])
async def test_what_comes_while_watches_are_gone_is_told(town, objects, woken: list[str], forgets: bool) -> None:
    kinds = ("StorageNetwork", "StorageNodePool", "StorageNode", "Pod")
    objects.hang_up()
    for kind in kinds:
        add(town, kind, f"missed-{kind.lower()}")
    if forgets:
        objects.forget()
    await wait(lambda: {f"missed-{kind.lower()}" for kind in kinds} <= set(woken))
    for kind in kinds:
        add(town, kind, f"later-{kind.lower()}")
    await wait(lambda: {f"later-{kind.lower()}" for kind in kinds} <= set(woken))
    await wait(lambda: objects.n_watches == 2 * N_WATCHES)
    assert objects.n_too_old == (N_WATCHES if forgets else 0)


async def test_what_no_watch_ever_tells_is_found_by_the_next_look(town, objects) -> None:
    town.operator.wake("main")
    await wait(lambda: "main" in town.operator.seen)
    gone = ("Service", town.nodes()[0])
    uid = town.kube.objects.pop(gone)["metadata"]["uid"]
    missed_ms = town.clock.time_ms
    await wait(lambda: gone in town.kube.objects)
    await town.operator.close()
    assert town.kube.objects[gone]["metadata"]["uid"] != uid
    assert town.operator.seen["main"].now_ms - missed_ms <= 2 * (RESYNC_MS + RESYNC_JITTER_MS)
