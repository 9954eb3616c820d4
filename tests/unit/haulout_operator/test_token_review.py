"""Tokens of service accounts: an API server over real HTTP says whose they are, from GraphQL's question on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kubernetes
import pytest
from prometheus_client import CollectorRegistry

from haulout.errors import Forbidden, Unavailable
from haulout.ports import ReviewedToken
from haulout.wire.calls import Timeouts
from haulout.wire.control import GrpcControl, serve_control
from haulout_operator.control import NetworkControl, TokenReviewOff
from haulout_operator.kube import ApiServerUnavailable, Kube
from haulout_operator.token_review import TOKEN_MAX, TokenRefused, TokenReviewer

ACCOUNT = "system:serviceaccount:shop:ci"
AUDIENCE = "haulout.dev/demo/main"
PATIENT = Timeouts(unary_ms=300_000)  # a review is seven calls, and nothing here is about time
NONE: dict[str, Any] = {"authenticated": False, "error": "the token has expired"}


def user(name: str = ACCOUNT) -> dict[str, Any]:
    return {"username": name, "uid": "7", "groups": ["system:serviceaccounts"], "extra": {"pod": ["ci-1"]}}


def known(name: str = ACCOUNT, audiences: tuple[str, ...] = (AUDIENCE,)) -> dict[str, Any]:
    return {"authenticated": True, "user": user(name), "audiences": list(audiences)}


class ApiServer:
    """Discovery, tokens and rules of a cluster."""

    def __init__(self) -> None:
        self.tokens: dict[str, dict[str, Any]] = {}
        self.rules: dict[str, set[str]] = {}  # verbs of an account
        self.refuses: int = 0  # with this status, or not at all
        self.asked: list[dict[str, Any]] = []

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        groups = {"authentication.k8s.io": "TokenReview", "authorization.k8s.io": "SubjectAccessReview"}
        discovery: dict[str, Any] = {
            "/version": {"major": "1", "minor": "28", "gitVersion": "v1.28.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
        }
        listed = []
        for group, kind in groups.items():
            version = {"groupVersion": f"{group}/v1", "version": "v1"}
            listed.append({"name": group, "versions": [version], "preferredVersion": version})
            one = {
                "name": f"{kind.lower()}s",
                "singularName": "",
                "namespaced": False,
                "kind": kind,
                "verbs": ["create"],
            }
            discovery[f"/apis/{group}/v1"] = {
                "kind": "APIResourceList",
                "groupVersion": f"{group}/v1",
                "resources": [one],
            }
        discovery["/apis"] = {"kind": "APIGroupList", "groups": listed}
        plain = path.partition("?")[0].rstrip("/")
        if plain in discovery:
            return 200, discovery[plain]
        self.asked.append(body)
        if self.refuses:
            return self.refuses, {"kind": "Status", "message": "no", "code": self.refuses}
        spec = body["spec"]
        if plain == "/apis/authentication.k8s.io/v1/tokenreviews":
            return 201, {**body, "status": self.tokens.get(spec["token"], NONE)}
        assert plain == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return 201, {**body, "status": {"allowed": spec["resourceAttributes"]["verb"] in self.rules[spec["user"]]}}


def handler_of(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = server.answer(self.path, json.loads(raw or b"{}"))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = respond  # noqa: N815 - as the base class calls them

        def log_message(self, *_: object) -> None: ...

    return Handler


@pytest.fixture
def api_server() -> ApiServer:
    return ApiServer()


@pytest.fixture
def make_reviewer(api_server: ApiServer, tmp_path: Any) -> Iterator[Callable[[], TokenReviewer]]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(api_server))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def make() -> TokenReviewer:
        configuration = kubernetes.client.Configuration()
        configuration.host = f"http://127.0.0.1:{http.server_port}"
        configuration.retries = False
        kube = Kube(kubernetes.client.ApiClient(configuration), tmp_path, CollectorRegistry())
        return TokenReviewer(kube, network="main", namespace="demo")

    yield make
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def reviewer(make_reviewer: Callable[[], TokenReviewer]) -> TokenReviewer:
    return make_reviewer()


async def test_an_account_has_the_scopes_that_the_cluster_s_rules_give(
    api_server: ApiServer, reviewer: TokenReviewer
) -> None:
    api_server.tokens["a.b.c"] = known()
    api_server.rules[ACCOUNT] = {"read", "write-blob"}
    assert await reviewer.review("a.b.c") == ReviewedToken(ACCOUNT, ("READ", "WRITE_BLOB"))
    review, *rules = [one["spec"] for one in api_server.asked]
    assert review == {"token": "a.b.c", "audiences": [AUDIENCE]}
    assert sorted(one["resourceAttributes"]["verb"] for one in rules) == [
        "admin", "operate", "read", "stake", "write-blob",
    ]  # fmt: skip
    for one in rules:
        assert {**one["resourceAttributes"], "verb": ""} == {
            "group": "haulout.dev",
            "resource": "storagenetworks",
            "subresource": "graphql",
            "namespace": "demo",
            "name": "main",
            "verb": "",
        }
        asked_for = {"username": one["user"], "uid": one["uid"], "groups": one["groups"], "extra": one["extra"]}
        assert asked_for == user()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (NONE, "no valid token"),
        (known(audiences=("haulout.dev/demo/other",)), "for the audience haulout.dev/demo/main"),
        (known(audiences=()), "for the audience"),  # an API server that knows no audiences
        (known("alice"), "no service account"),
        (known("system:serviceaccount:shop:nobody"), "may do nothing"),
    ],
    ids=["expired", "another network", "no audience", "a person", "no rule"],
)
async def test_what_is_not_for_this_network_is_refused(
    api_server: ApiServer, reviewer: TokenReviewer, status: dict[str, Any], words: str
) -> None:
    api_server.tokens["a.b.c"] = status
    api_server.rules["system:serviceaccount:shop:nobody"] = set()
    with pytest.raises(TokenRefused, match=words):
        await reviewer.review("a.b.c")


@pytest.mark.parametrize("token", ["", "a" * (TOKEN_MAX + 1)], ids=["empty", "endless"])
async def test_what_can_be_no_token_is_not_sent_on(api_server: ApiServer, reviewer: TokenReviewer, token: str) -> None:
    with pytest.raises(TokenRefused):
        await reviewer.review(token)
    assert api_server.asked == []


@pytest.mark.parametrize(("status", "words"), [(500, "500"), (429, "429"), (403, "system:auth-delegator")])
async def test_an_api_server_that_does_not_say_is_no_refusal(
    api_server: ApiServer, reviewer: TokenReviewer, status: int, words: str
) -> None:
    api_server.refuses = status
    with pytest.raises(ApiServerUnavailable, match=words):
        await reviewer.review("a.b.c")


async def test_graphql_learns_it_over_the_wire(api_server: ApiServer, reviewer: TokenReviewer) -> None:
    api_server.tokens["a.b.c"] = known()
    api_server.rules[ACCOUNT] = {"admin"}
    nothing: Any = None
    control = NetworkControl(nothing, nothing, nothing, network="main", namespace="demo", reviewer=reviewer)
    async with serve_control(control, "127.0.0.1:0") as address:
        client = GrpcControl(address, timeouts=PATIENT)
        assert await client.review_token("a.b.c") == ReviewedToken(ACCOUNT, ("ADMIN",))
        with pytest.raises(Forbidden) as refused:
            await client.review_token("x.y.z")
        assert refused.value.code == "TOKEN_REFUSED"
        api_server.refuses = 500
        with pytest.raises(Unavailable):
            await client.review_token("a.b.c")
        await client.close()


async def test_nothing_is_reviewed_unless_the_chart_says_so() -> None:
    nothing: Any = None
    control = NetworkControl(nothing, nothing, nothing, network="main", namespace="demo")
    with pytest.raises(TokenReviewOff):
        await control.review_token("a.b.c")
