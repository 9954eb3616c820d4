"""The API server misbehaves: what each answer becomes, over HTTP, by kmock's scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kmock
import pytest

from haulout_operator.kube import (
    AccessRefused,
    ApiServerUnavailable,
    Kube,
    ManifestRefused,
    ObjectConflict,
    ObjectMissing,
)
from tests.unit.haulout_operator.api_server import declare, hang_up, new_api, refusal, served

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "demo"}}
PODS = "/api/v1/namespaces/demo/pods"


@pytest.fixture
async def api() -> kmock.KubernetesScaffold:
    return new_api()


@pytest.fixture
async def kube(api: kmock.KubernetesScaffold, tmp_path: Path) -> AsyncIterator[Kube]:
    async with served(api, tmp_path) as made:
        yield made


def page(*names: str, then: str = "") -> dict[str, Any]:
    """A part of a list, and the token of the next one."""
    items = [{"metadata": {"name": name}} for name in names]
    return {"kind": "PodList", "apiVersion": "v1", "items": items, "metadata": {"continue": then} if then else {}}


ANSWERS = [
    (refusal(409, "the object has been modified"), ObjectConflict, "has been modified"),
    (refusal(404, "not found"), ObjectMissing, "Pod/a is not there"),
    (refusal(422, "spec.x: Invalid value"), ManifestRefused, "Invalid value"),
    (refusal(500, "failed to create typed patch object: .spec.a: field not declared"), ManifestRefused, "not declared"),
    (refusal(403, "exceeded quota: small"), AccessRefused, "exceeded quota"),
    (refusal(401, "Unauthorized"), AccessRefused, "Unauthorized"),
    (refusal(429, "too many requests"), ApiServerUnavailable, "429"),
    (refusal(500, "etcdserver: request timed out"), ApiServerUnavailable, "etcdserver"),
    (kmock.Response(status=503, payload=b"<html>gateway</html>"), ApiServerUnavailable, "503"),
    (b"<html>log in first</html>", ApiServerUnavailable, "no answer of an API server"),
    (hang_up, ApiServerUnavailable, "create of Pod/a"),
]
NAMED = ["409", "404", "422", "typed", "403", "401", "429", "500", "gateway", "login", "drop"]


@pytest.mark.parametrize(("answer", "error", "words"), ANSWERS, ids=NAMED)
async def test_each_answer_is_an_error_of_ours(api, kube, answer, error, words) -> None:
    asked = api["post", PODS] << answer
    with pytest.raises(error, match=words):
        await kube.create(POD)
    assert len(asked) == 1  # the round tries again, not the call


async def test_a_list_comes_page_by_page_and_names_what_its_items_are(api, kube) -> None:
    pages = [page("a", "b", then="next"), page("c")]
    asked = api["get", PODS] << (lambda: pages.pop(0))
    found = await kube.list("v1", "Pod", "demo", selector="x=y")
    assert [(one["kind"], one["apiVersion"], one["metadata"]["name"]) for one in found] == [
        ("Pod", "v1", name) for name in ("a", "b", "c")
    ]
    assert [request.params.get("continue") for request in asked] == [None, "next"]
    assert {request.params["labelSelector"] for request in asked} == {"x=y"}


async def test_a_list_that_is_too_old_to_be_continued_is_no_half_list(api, kube) -> None:
    answers = [page("a", then="old"), refusal(410, "The provided continue parameter is too old")]
    api["get", PODS] << (lambda: answers.pop(0))
    with pytest.raises(ApiServerUnavailable, match="too old"):
        await kube.list("v1", "Pod", "demo")


async def test_what_is_gone_is_none_and_deleting_it_is_fine(api, kube) -> None:
    asked = api[f"{PODS}/a"] << refusal(404, "not found")
    assert await kube.get("v1", "Pod", "demo", "a") is None
    await kube.delete("v1", "Pod", "demo", "a", uid="u")
    assert [request.method for request in asked] == [kmock.method.GET, kmock.method.DELETE]


async def test_another_object_of_the_same_name_is_not_deleted(api, kube) -> None:
    asked = api["delete", f"{PODS}/a"] << refusal(409, "the UID in the precondition does not match")
    with pytest.raises(ObjectConflict, match="UID"):
        await kube.delete("v1", "Pod", "demo", "a", uid="old")
    assert asked[0].data["preconditions"] == {"uid": "old"}


async def test_definitions_that_come_later_are_found(tmp_path: Path) -> None:
    api = kmock.KubernetesScaffold()
    declare(api, "v1/pods", "Pod")
    async with served(api, tmp_path) as kube:
        with pytest.raises(ApiServerUnavailable, match="custom resource definitions"):
            await kube.list("haulout.dev/v1alpha1", "StorageNode", "demo")
        declare(api, "haulout.dev/v1alpha1/storagenodes", "StorageNode")
        api["get /apis/haulout.dev/v1alpha1/namespaces/demo/storagenodes"] << page()
        assert await kube.list("haulout.dev/v1alpha1", "StorageNode", "demo") == []
