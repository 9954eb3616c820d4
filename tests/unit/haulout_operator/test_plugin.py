"""What the plug-in says, from objects as kubectl gives them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from haulout.primitives import hex_id_text
from haulout_operator.next_plan import describe_plan
from haulout_operator.plugin import EXPECTED, GOOD_WHEN_FALSE, app, describe_network, describe_troubles
from tests.unit.client.conftest import world as world


def condition(type_: str, status: str, reason: str = "Why", message: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message}


async def test_a_healthy_network_has_no_troubles(town) -> None:
    town.found()
    await town.play()
    for kind in ("StorageNetwork", "StorageNodePool", "StorageNode"):
        for name in town.kube.names(kind):
            assert describe_troubles(town.kube.objects[kind, name]) == []


async def test_a_change_of_epoch_that_goes_well_is_no_trouble(town) -> None:
    town.found()
    await town.play()
    await town.advance()
    await town.sync()
    await town.play()
    told = town.kube.objects["EpochTransition", "main-2"]
    assert {one["type"] for one in told["status"]["conditions"]} == {"Ready", "Complete", "HandedOver", "Stalled"}
    assert describe_troubles(told) == []


def test_only_what_is_not_as_it_should_be_is_a_trouble() -> None:
    conditions = [
        condition("Ready", "True"),
        condition("Degraded", "False"),
        condition("TransportSecure", "False"),
        condition("ScalingBlocked", "True", "BelowMinNodes", "Smallest safe size is 4."),
        condition("Registered", "Unknown", "LedgerUnreachable"),
    ]
    assert describe_troubles({"status": {"conditions": conditions}}) == [
        "ScalingBlocked=True BelowMinNodes: Smallest safe size is 4.",
        "Registered=Unknown LedgerUnreachable",
    ]


def test_a_network_is_told_in_a_few_lines() -> None:
    body = {
        "metadata": {"name": "main"},
        "status": {
            "chainId": "0xab",
            "epoch": {"number": 3, "phase": "Done", "endsAt": "2026-01-01T00:00:00Z"},
            "shards": {"total": 100, "available": 75, "moving": 0},
            "faultBudget": {"limit": 33, "used": 25, "remaining": 8},
        },
    }
    node = {
        "metadata": {"name": "main-abcd"},
        "status": {"phase": "Provisioning", "stake": "2,000 WAL", "conditions": [condition("Ready", "False", "Down")]},
    }
    assert describe_network(body, [node]) == [
        "network  main, chain 0xab",
        "epoch    3, phase Done, ends 2026-01-01T00:00:00Z",
        "shards   75 of 100 available, 0 moving",
        "budget   8 of 33 shards may be unavailable",
        "node     main-abcd: Provisioning, 0 shards, 2,000 WAL",
        "         Ready=False Down",
    ]


def test_a_network_that_is_not_founded_is_told_too() -> None:
    assert describe_network({"metadata": {"name": "main"}}, [])[0] == "network  main, chain not founded"


async def test_the_plan_is_the_ledgers_own(world) -> None:
    chain_id = hex_id_text(world.town.genesis.chain_id)
    lines = await world.run(describe_plan(world.sequencer, chain_id, []))
    assert lines[0] == "epoch    2"
    assert [line for line in lines if line.startswith("node")] == [
        f"node     {node.name}: 2 shards" for node in world.nodes
    ]
    lines = await world.run(describe_plan(world.sequencer, chain_id, ["node-0", "nobody"]))
    assert "node     node-0: 0 shards (-2)" in lines
    assert lines[-1] == "unknown  the ledger knows no node called nobody"


# --- the program, as a person starts it -----------------------------------------------------------------------


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A kubectl that answers what the test says: by its arguments, an object, or a text for a refusal."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program, said = folder / "kubectl", tmp_path / "answers.json"
    program.write_text(KUBECTL.format(said=said))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    class Answers(dict[str, object]):
        def __setitem__(self, asked: str, answer: object) -> None:
            super().__setitem__(asked, answer)
            said.write_text(json.dumps(self))

    said.write_text("{}")
    found = Answers()
    found["get snet -o json"] = {"items": [network("main")]}
    found["get sn -o json"] = found["get snp -o json"] = {"items": []}
    found["get pods -l app.kubernetes.io/component=haulout-operator -o json"] = {"items": [operator("True")]}
    return found


# As kubectl: what it was asked for is its answer's key; a text is what it says when it fails.
KUBECTL = """#!/bin/sh
exec /usr/bin/env python3 -c '
import json, sys
answer = json.load(open("{said}")).get(" ".join(sys.argv[1:]), "error: asked for " + " ".join(sys.argv[1:]))
if isinstance(answer, str) and answer.lower().startswith("error"):
    sys.exit(answer)
print(answer if isinstance(answer, str) else json.dumps(answer))
' "$@"
"""


def network(name: str, **spec: object) -> dict[str, object]:
    status = {"chainId": "0xab", "epoch": {"number": 3, "phase": "Done"}, "conditions": [condition("Ready", "True")]}
    return {
        "apiVersion": "haulout.dev/v1alpha1",
        "metadata": {"name": name, "generation": 1},
        "spec": spec,
        "status": status,
    }


def operator(is_ready: str) -> dict[str, object]:
    return {"metadata": {"name": "op-1"}, "status": {"conditions": [condition("Ready", is_ready)]}}


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output + ("" if done.exit_code in (0, 2) else str(done.exception))


def test_the_only_network_needs_no_name(answers) -> None:
    answers["get snet -o json"] = {"items": [network("films")]}
    code, told = run("status")
    assert (code, told.splitlines()[0]) == (0, "network  films, chain 0xab")


@pytest.mark.parametrize(
    ("there", "arguments", "words"),
    [
        ([], ("status",), "there is no StorageNetwork in this namespace; -n names another one"),
        (["a", "b"], ("status",), "which network? --network names one of a, b"),
        (["a", "b"], ("plan",), "which network? --network names one of a, b"),
        (["a", "b"], ("epoch", "advance"), "which network? --network names one of a, b"),
        (["a", "b"], ("status", "--network=c"), "there is no StorageNetwork c in this namespace; there are: a, b"),
    ],
)
def test_which_network_is_meant_is_asked_for(answers, there, arguments, words) -> None:
    answers["get snet -o json"] = {"items": [network(name) for name in there]}
    code, told = run(*arguments)
    assert code == 1
    assert words in told


@pytest.mark.parametrize("arguments", [("status",), ("plan",), ("epoch", "advance"), ("report",)])
def test_what_kubectl_is_refused_is_told_in_its_words(answers, arguments) -> None:
    answers.clear()
    answers["get snet -o json"] = 'Error from server (Forbidden): storagenetworks.haulout.dev is forbidden: User "eve"'
    code, told = run(*arguments)
    assert code == 1
    assert "forbidden" in told or "asked for" in told


def test_a_cluster_without_our_kinds_is_told_what_that_means(answers) -> None:
    answers["get snet -o json"] = 'error: the server doesn\'t have a resource type "snet"'
    code, told = run("status")
    assert code == 1
    assert "not installed in this cluster, or kubectl's context is another one" in told


@pytest.mark.parametrize("arguments", [("status",), ("why", "sn/a"), ("plan",), ("report",), ("epoch", "advance")])
def test_without_kubectl_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, told = run(*arguments)
    assert code == 1
    assert "there is no kubectl here" in told


@pytest.mark.parametrize(
    ("pods", "words"),
    [
        ({"items": []}, "operator none runs in this namespace"),
        ({"items": [operator("False")]}, "operator not ready: pod/op-1"),
        ("Error from server (Forbidden): pods is forbidden", "operator cannot be seen: Error from server (Forbidden)"),
    ],
)
def test_an_operator_that_does_not_run_is_told(answers, pods, words) -> None:
    answers["get pods -l app.kubernetes.io/component=haulout-operator -o json"] = pods
    assert run("status")[1].startswith(words)


@pytest.mark.parametrize("arguments", [("sn/main-a",), ("sn", "main-a")])
def test_why_takes_both_ways_of_naming(answers, arguments) -> None:
    body = network("main-a")
    body["status"] = {"conditions": [condition("Ready", "False", "NoPod", "its Pod is not there yet")]}
    answers["get sn main-a -o json"] = body
    assert run("why", *arguments) == (0, "Ready=False NoPod: its Pod is not there yet\n")


@pytest.mark.parametrize("arguments", [(), ("sn",), ("sn/",), ("/a",), ("sn/a", "b")])
def test_why_of_what_is_not_named_is_wrong_usage(answers, arguments) -> None:
    assert run("why", *arguments)[0] == 2


def test_what_nobody_has_looked_at_is_not_called_well(answers) -> None:
    body = network("main-a")
    del body["status"]
    answers["get sn main-a -o json"] = body
    assert "nobody has looked at it yet" in run("why", "sn/main-a")[1]
    body |= {"metadata": {"name": "main-a", "generation": 3}}
    answers["get sn main-a -o json"] = {
        **body,
        "status": {"observedGeneration": 2, "conditions": [condition("Ready", "True")]},
    }
    assert "nobody has looked at it since it was changed" in run("why", "sn/main-a")[1]


def test_why_of_a_pod_tells_its_conditions(answers) -> None:
    conditions = [{"type": "PodScheduled", "status": "False"}, {"type": "Initialized", "status": "True"}]
    answers["get pod x -o json"] = {"apiVersion": "v1", "metadata": {"name": "x"}, "status": {"conditions": conditions}}
    assert run("why", "pod/x") == (0, "PodScheduled=False\n")


@pytest.mark.parametrize(
    ("spec", "annotations", "words"),
    [
        ({}, {}, "the network's epochs follow its clock"),
        ({"epoch": {"manual": True}}, {"haulout.dev/paused": "true"}, "annotate snet/main haulout.dev/paused-"),
    ],
)
def test_an_epoch_that_would_not_begin_is_not_asked_for(answers, spec, annotations, words) -> None:
    body = network("main", **spec)
    body["metadata"] |= {"annotations": annotations}
    answers["get snet -o json"] = {"items": [body]}
    code, told = run("epoch", "advance")
    assert code == 1
    assert words in told


def test_an_epoch_that_begins_is_named(answers) -> None:
    answers["get snet -o json"] = {"items": [network("main", epoch={"manual": True})]}
    answers["annotate --overwrite snet/main haulout.dev/advance-epoch=3"] = "annotated"
    answers["get ept/main-4 --ignore-not-found -o name"] = "epochtransition.haulout.dev/main-4"
    assert run("epoch", "advance") == (0, "epoch 4 begins; kubectl wait --for=condition=Complete ept/main-4\n")


def test_a_plan_before_there_is_a_network_says_what_to_ask(answers) -> None:
    body = network("main")
    del body["status"]
    answers["get snet -o json"] = {"items": [body]}
    code, told = run("plan")
    assert code == 1
    assert "not founded yet; kubectl haulout status says why" in told


def test_a_ledger_that_cannot_be_reached_is_told_by_the_port_forward(answers) -> None:
    answers["port-forward svc/main-ledger :9000"] = "error: unable to forward port because pod is not running"
    code, told = run("plan")
    assert code == 1
    assert "svc/main-ledger cannot be reached: error: unable to forward port" in told


def test_a_report_goes_where_there_is_a_folder(answers, tmp_path: Path) -> None:
    code, told = run("report", "--out", str(tmp_path / "nowhere" / "x.tar.gz"))
    assert code == 1
    assert "is no folder" in told
    written = tmp_path / "x.tar.gz"
    code, told = run("report", "--out", str(written))
    assert code == 0
    assert written.is_file()
    assert "look through it before you hand it on" in told


async def test_every_condition_that_is_ever_told_has_a_good_side(town) -> None:
    """What the plug-in takes for good is what a settled network says."""
    town.found(5)
    await town.play()
    town.scale(4)
    await town.play()
    await town.advance()
    await town.sync()
    await town.play()
    for kind in ("StorageNetwork", "StorageNodePool", "StorageNode", "EpochTransition"):
        for name in town.kube.names(kind):
            for one in town.kube.objects[kind, name]["status"]["conditions"]:
                good = "False" if one["type"] in GOOD_WHEN_FALSE else "True"
                assert one["status"] == good or one["type"] in EXPECTED, one
