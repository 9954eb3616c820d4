"""The API server misbehaves: what each answer becomes, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kubernetes
import pytest
from prometheus_client import CollectorRegistry

from haulout_operator.kube import (
    AccessRefused,
    ApiServerUnavailable,
    Kube,
    ManifestRefused,
    ObjectConflict,
    ObjectMissing,
)

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "demo"}}
LIST = {"kind": "PodList", "apiVersion": "v1"}
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def resource_list(group_version: str, **kinds: str) -> dict[str, Any]:
    resources = [
        {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": VERBS}
        for kind, plural in kinds.items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


GROUP = {
    "name": "haulout.dev",
    "versions": [{"groupVersion": "haulout.dev/v1alpha1", "version": "v1alpha1"}],
    "preferredVersion": {"groupVersion": "haulout.dev/v1alpha1", "version": "v1alpha1"},
}


def refusal(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"kind": "Status", "status": "Failure", "message": message, "code": status}


class Script:
    """Answers of an API server: discovery as it is now, and for everything else what the test has queued."""

    def __init__(self) -> None:
        self.answers: list[Any] = []  # (status, body), or "drop"
        self.asked: list[str] = []
        self.has_group = True

    def answer(self, path: str) -> Any:
        groups = [GROUP] if self.has_group else []
        discovery = {
            "/version": {"major": "1", "minor": "28", "gitVersion": "v1.28.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
            "/api/v1": resource_list("v1", Pod="pods"),
            "/apis/haulout.dev/v1alpha1": resource_list("haulout.dev/v1alpha1", StorageNode="storagenodes"),
        }
        plain = path.partition("?")[0].rstrip("/")
        if plain in discovery:
            return 200, discovery[plain]
        self.asked.append(path)
        return self.answers.pop(0)


def handler_of(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = script.answer(self.path)
            if answer == "drop":
                self.connection.close()
                return
            status, body = answer
            raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.respond
            raise AttributeError(name)

        def log_message(self, *_: object) -> None: ...

    return Handler


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def make_kube(script: Script, tmp_path) -> Iterator[Callable[[], Kube]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(script))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def make() -> Kube:
        configuration = kubernetes.client.Configuration()
        configuration.host = f"http://127.0.0.1:{server.server_port}"
        configuration.retries = False
        return Kube(kubernetes.client.ApiClient(configuration), tmp_path, CollectorRegistry())

    yield make
    server.shutdown()
    server.server_close()
    thread.join()


ANSWERS = [
    (refusal(409, "the object has been modified"), ObjectConflict, "has been modified"),
    (refusal(404, "not found"), ObjectMissing, "Pod/a is not there"),
    (refusal(422, "spec.x: Invalid value"), ManifestRefused, "Invalid value"),
    (refusal(403, "exceeded quota: small"), AccessRefused, "exceeded quota"),
    (refusal(401, "Unauthorized"), AccessRefused, "Unauthorized"),
    (refusal(429, "too many requests"), ApiServerUnavailable, "429"),
    (refusal(500, "etcdserver: request timed out"), ApiServerUnavailable, "etcdserver"),
    ((503, "<html>gateway</html>"), ApiServerUnavailable, "503"),
    ((200, "<html>log in first</html>"), ApiServerUnavailable, "no answer of an API server"),
    ("drop", ApiServerUnavailable, "create of Pod/a"),
]


@pytest.mark.parametrize(("answer", "error", "words"), ANSWERS, ids=lambda one: str(one)[:24])
async def test_each_answer_is_an_error_of_ours(script, make_kube, answer, error, words) -> None:
    script.answers = [answer]
    with pytest.raises(error, match=words):
        await make_kube().create(POD)
    assert script.answers == []  # asked once: the round tries again, not the call


async def test_a_list_comes_page_by_page_and_names_what_its_items_are(script, make_kube) -> None:
    pages = [["a", "b"], ["c"]]
    script.answers = [
        (
            200,
            {
                **LIST,
                "items": [{"metadata": {"name": name}} for name in pages[0]],
                "metadata": {"continue": "next"},
            },
        ),
        (200, {**LIST, "items": [{"metadata": {"name": name}} for name in pages[1]], "metadata": {}}),
    ]
    found = await make_kube().list("v1", "Pod", "demo", selector="x=y")
    assert [(one["kind"], one["apiVersion"], one["metadata"]["name"]) for one in found] == [
        ("Pod", "v1", name) for name in ("a", "b", "c")
    ]
    assert "continue=next" in script.asked[1]


async def test_a_list_that_is_too_old_to_be_continued_is_no_half_list(script, make_kube) -> None:
    script.answers = [
        (200, {**LIST, "items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "old"}}),
        refusal(410, "The provided continue parameter is too old"),
    ]
    with pytest.raises(ApiServerUnavailable, match="too old"):
        await make_kube().list("v1", "Pod", "demo")


async def test_what_is_gone_is_none_and_deleting_it_is_fine(script, make_kube) -> None:
    script.answers = [refusal(404, "not found"), refusal(404, "not found")]
    kube = make_kube()
    assert await kube.get("v1", "Pod", "demo", "a") is None
    await kube.delete("v1", "Pod", "demo", "a", uid="u")


async def test_another_object_of_the_same_name_is_not_deleted(script, make_kube) -> None:
    script.answers = [refusal(409, "the UID in the precondition does not match")]
    with pytest.raises(ObjectConflict, match="UID"):
        await make_kube().delete("v1", "Pod", "demo", "a", uid="old")


async def test_definitions_that_come_later_are_found(script, make_kube) -> None:
    script.has_group = False
    kube = make_kube()
    with pytest.raises(ApiServerUnavailable, match="custom resource definitions"):
        await kube.list("haulout.dev/v1alpha1", "StorageNode", "demo")
    script.has_group = True
    script.answers = [(200, {**LIST, "items": [], "metadata": {}})]
    assert await kube.list("haulout.dev/v1alpha1", "StorageNode", "demo") == []
