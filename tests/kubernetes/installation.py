"""The chart in one namespace of one cluster, as people see it: through kubectl and helm."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from haulout_operator.failpoints import Failpoint
from tests import fresh_http
from tests.kubernetes.testbed import CHART, Cluster, install_arguments

OPERATOR = "app.kubernetes.io/component=haulout-operator"
SETTLE_S = 300
WITH_NOTHING_KEPT = ["--set", "network.spec.gateway.cacheBytes=0"]  # reads go to the nodes
EPOCHS_BY_HAND = ["--set", "network.spec.epoch.duration=1h", "--set", "network.spec.epoch.manual=true"]


def say(text: str) -> None:
    """One line of the report that `make e2e` prints."""
    print(f"\n[e2e] {text}", flush=True)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a Pod says so."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


class Installation:
    """One namespace of one cluster, with the chart in it."""

    def __init__(self, cluster: Cluster, namespace: str, values: list[str]) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.values = [*values, *WITH_NOTHING_KEPT]

    # --- commands -----------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, check: bool = True, timeout: float = 300, text: str | None = None) -> str:
        return self.cluster.run("kubectl", "-n", self.namespace, *arguments, check=check, timeout=timeout, text=text)

    def helm(self, *arguments: str, timeout: float = 700) -> str:
        return self.cluster.run("helm", "-n", self.namespace, *arguments, timeout=timeout)

    def plugin(self, *arguments: str) -> str:
        """kubectl haulout, as it is installed with this interpreter."""
        program = Path(sys.executable).with_name("kubectl-haulout")
        return self.cluster.run(str(program), *arguments, "--namespace", self.namespace)

    def mutate(self, graphql: str, token: str, name: str, **fields: Any) -> None:
        """A mutation that begins an operation."""
        document = (
            f"mutation($input: {name[0].upper()}{name[1:]}Input!) "
            f"{{ {name}(input: $input) {{ operation {{ id }} userErrors {{ code message }} }} }}"
        )
        body = {"query": document, "variables": {"input": fields}}
        headers = {"authorization": f"Bearer {token}"}
        answer = fresh_http.post(f"{graphql}/graphql", json=body, headers=headers, timeout=30).json()
        assert "errors" not in answer, answer
        assert answer["data"][name]["operation"] and not answer["data"][name]["userErrors"], answer

    def make_namespace(self) -> None:
        """A namespace under the `restricted` standard."""
        self.cluster.run("kubectl", "create", "namespace", self.namespace)
        label = "pod-security.kubernetes.io/enforce=restricted"
        self.cluster.run("kubectl", "label", "namespace", self.namespace, label)

    def has_namespace(self) -> bool:
        return self.namespace in self.cluster.run("kubectl", "get", "namespaces", "-o", "name")

    def remove(self) -> None:
        """Release and namespace, with all data."""
        self.cluster.run("helm", "-n", self.namespace, "uninstall", "haulout", check=False, timeout=400)
        arguments = ("delete", "namespace", self.namespace, "--timeout=180s", "--ignore-not-found")
        self.cluster.run("kubectl", *arguments, check=False, timeout=200)

    def install(self, *more: str, chart: Path = CHART, image: str = "") -> float:
        """helm install --wait; seconds."""
        started = time.monotonic()
        values = [*install_arguments(self.cluster, image), *self.values]
        waiting = ["--take-ownership", "--wait", "--timeout", "10m"]
        self.helm("install", "haulout", str(chart), *values, *more, *waiting)
        return time.monotonic() - started

    def upgrade(self, *more: str) -> None:
        """helm upgrade with the values of the installation and some more."""
        self.helm("upgrade", "haulout", str(CHART), "--reset-then-reuse-values", *more)

    def is_installed(self) -> bool:
        return "haulout" in self.helm("list", "--short").split()

    def create(self, body: dict[str, Any]) -> None:
        """Make an object."""
        self.kubectl("create", "-f", "-", text=json.dumps(body))

    def replace_secret(self, body: dict[str, Any]) -> None:
        """Put another Secret in the place of one that cannot be changed."""
        metadata = {key: body["metadata"][key] for key in ("name", "labels")}
        self.kubectl("delete", f"secret/{metadata['name']}")
        self.create(
            {**{key: body[key] for key in ("apiVersion", "kind", "type", "data", "immutable")}, "metadata": metadata}
        )

    # --- what there is ------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str = "", *more: str) -> dict[str, Any]:
        names = [name] if name else []
        document: dict[str, Any] = json.loads(self.kubectl("get", kind, *names, *more, "-o", "json"))
        return document

    def names(self, kind: str) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.get(kind)["items"])

    def nodes(self) -> list[str]:
        return self.names("sn")

    def node_pods(self) -> list[dict[str, Any]]:
        pods: list[dict[str, Any]] = self.get("pods", "", "-l", "haulout.dev/role=node")["items"]
        return pods

    def operator_pods(self) -> list[dict[str, Any]]:
        pods: list[dict[str, Any]] = self.get("pods", "", "-l", OPERATOR)["items"]
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == type_), {"status": "", "reason": "", "message": ""})

    def reason(self, node: str) -> str:
        return str(self.condition("sn", node, "Ready")["reason"])

    def reasons(self) -> list[str]:
        conditions = [one for item in self.get("sn")["items"] for one in item.get("status", {}).get("conditions", [])]
        return [one["reason"] for one in conditions if one["type"] == "Ready"]

    def staked(self) -> int:
        conditions = [one for item in self.get("sn")["items"] for one in item.get("status", {}).get("conditions", [])]
        return sum(one["type"] == "Staked" and one["status"] == "True" for one in conditions)

    def network_pods(self) -> list[str]:
        """Pods that the operator made."""
        items = self.get("pods")["items"]
        return [one["metadata"]["name"] for one in items if "haulout.dev/network" in one["metadata"].get("labels", {})]

    def network_secrets(self) -> list[str]:
        """Keys and accounts; not those that Helm keeps its releases in."""
        return [name for name in self.names("secret") if not name.startswith("sh.helm.")]

    def members(self) -> int:
        return int(self.get("snet", "main")["status"]["nodes"]["inCommittee"])

    def warnings_of(self, kind: str, name: str) -> set[str]:
        """Reasons of Warning events about an object."""
        events = self.get("events")["items"]
        about = [
            one for one in events if (one["involvedObject"]["kind"], one["involvedObject"]["name"]) == (kind, name)
        ]
        return {one["reason"] for one in about if one["type"] == "Warning"}

    # --- waiting ------------------------------------------------------------------------------------------------

    def wait(self, what: str, holds: Callable[[], Any], timeout_s: float = SETTLE_S) -> None:
        """Wait for what is expected, and show how things are when it does not come."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                state = self.kubectl("get", "snet,snp,sn,ept,pods")
                reasons = json.dumps({name: self.condition("sn", name, "Ready") for name in self.nodes()}, indent=1)
                raise AssertionError(f"{what} did not come in {timeout_s} s:\n{state}\n{reasons}")
            time.sleep(1)

    def settle(self, size: int = 4) -> None:
        """All nodes there and ready, and nothing left to do."""

        def is_settled() -> bool:
            status = self.get("snet", "main").get("status", {})
            holds = {one["type"]: one["status"] for one in status.get("conditions", [])}
            return holds.get("Ready") == "True" and holds.get("Available") == "True" and len(self.nodes()) == size

        self.wait(f"{size} settled nodes", is_settled)

    def wait_for_another_pod(self, pod: str, uid: str) -> None:
        """A Pod of this name that is not the one with this uid, and ready: what statuses say may be of before."""

        def is_there() -> bool:
            found = [one for one in self.get("pods")["items"] if one["metadata"]["name"] == pod]
            return bool(found) and found[0]["metadata"]["uid"] != uid and is_ready(found[0])

        self.wait(f"another {pod}", is_there)

    def wait_until_down_and_up(self, node: str) -> None:
        """A node goes, and comes back by itself."""
        self.wait(f"{node} not ready", lambda: self.condition("sn", node, "Ready")["status"] != "True", 60)
        self.kubectl("wait", "--for=condition=Ready", f"sn/{node}", "--timeout=240s")

    def set_state(self, node: str, state: str) -> None:
        """What a node should be: Active, Maintenance or Drained."""
        self.kubectl("patch", f"sn/{node}", "--type=merge", "-p", json.dumps({"spec": {"desiredState": state}}))

    # --- epochs -------------------------------------------------------------------------------------------------

    def epoch(self) -> int:
        return int(self.get("snet", "main")["status"]["epoch"]["number"])

    def ask_for_an_epoch(self) -> str:
        """Ask for the next epoch; the name of its EpochTransition."""
        epoch = self.epoch()
        self.kubectl("annotate", "--overwrite", "snet/main", f"haulout.dev/advance-epoch={epoch}")
        return f"main-{epoch + 1}"

    def wait_for_transition(self, name: str) -> None:
        """Everything of a change of epoch is done, hand-overs too."""
        self.wait(name, lambda: name in self.names("ept"))
        self.kubectl("wait", "--for=condition=Complete", f"ept/{name}", "--timeout=240s")
        self.kubectl("wait", "--for=condition=HandedOver", f"ept/{name}", "--timeout=240s")

    def advance_epoch(self) -> None:
        """The next epoch, from request to all hand-overs done."""
        self.wait_for_transition(self.ask_for_an_epoch())

    # --- the operator's failpoints ------------------------------------------------------------------------------

    def arm(self, *points: Failpoint) -> None:
        """From now on the operator ends each time it comes to one of these points."""
        armed = f"{','.join(points)}@{self.get('snet', 'main')['status']['chainId']}"
        self.kubectl("set", "env", "deploy/haulout-operator", f"HAULOUT_FAILPOINT={armed}")
        # Where epochs go by the clock it may come to one again and again, and then never counts as rolled out.
        self.wait("an armed operator", lambda: self._is_rolled_out() or any(map(self.has_ended_at, points)), 120)

    def disarm(self) -> None:
        """The next operator is an ordinary one."""
        self.kubectl("set", "env", "deploy/haulout-operator", "HAULOUT_FAILPOINT-")
        self.kubectl("rollout", "status", "deploy/haulout-operator", "--timeout=120s")

    def _is_rolled_out(self) -> bool:
        return "successfully" in self.kubectl(
            "rollout", "status", "deploy/haulout-operator", "--watch=false", check=False
        )

    def has_ended_at(self, point: Failpoint, *since: str) -> bool:
        """Whether the operator's latest process, or the one before it, ended at this point: the last that it said.

        With a time as Kubernetes writes it, what was said before does not count.
        """
        only = [f"--since-time={time}" for time in since]
        said = [
            self.kubectl("logs", pod["metadata"]["name"], *which, *only, "--tail=20", check=False)
            for pod in self.operator_pods()
            for which in ((), ("--previous",))
        ]
        return any(f'"point": "{point}"' in text for text in said)

    # --- reaching in --------------------------------------------------------------------------------------------

    def address(self, service: str, port: int) -> str:
        """A Service as the machine of a testbed reaches it: not by way of the API server, which a test may stop."""
        return f"http://{self.get('svc', service)['spec']['clusterIP']}:{port}"

    @contextlib.contextmanager
    def reached(self, service: str, port: int = 8080) -> Iterator[str]:
        """A Service from here, by the shortest way that there is."""
        if self.cluster.testbed:
            yield self.address(service, port)
        else:
            with self.forwarded(f"svc/{service}", port) as url:
                yield url

    def metrics(self, target: str, port: int = 9090) -> dict[str, float]:
        """Samples of a Pod or Deployment by name and labels."""
        with self.forwarded(target, port) as url:
            text = fresh_http.get(f"{url}/metrics", timeout=30).text
        lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    @contextlib.contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """A port of the cluster on this machine."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            local = probe.getsockname()[1]
        command = ["kubectl", "-n", self.namespace, "port-forward", target, f"{local}:{port}"]
        process = subprocess.Popen(
            command, env=self.cluster.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", local), timeout=1):
                    break
                assert time.monotonic() < deadline and process.poll() is None, f"{target} cannot be reached"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{local}"
        finally:
            process.terminate()
            process.wait()
