"""Tokens of the cluster's service accounts: let in with the scopes that the cluster gives, for a minute, or refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from graphql_api.access import Access, Scope
from graphql_api.cluster_tokens import (
    AT_ONCE,
    BELIEVED_MS,
    TOKEN_MAX,
    WAITING_MAX,
    ClusterTokens,
    TokenReviewUnavailable,
    has_shape,
)
from haulout.errors import Forbidden, Unreachable
from haulout.ports import ReviewedToken

ACCOUNT = "system:serviceaccount:shop:ci"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
HEADERS = {"authorization": f"Bearer {JWT}"}
VIEWER = "{ viewer { scopes token { id name } } }"
REVOKE = "mutation ($id: ID!) { revokeToken(input: {id: $id}) { userErrors { code } } }"
CREATE = 'mutation { createToken(input: {name: "x", scopes: []}) { userErrors { code } } }'
AUDIT = "{ auditEvents { nodes { mutation code tokenId } } }"


class HandClock:
    def __init__(self) -> None:
        self.time_ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_us(self) -> int:
        return self.time_ms * 1000


class Cluster:
    """Somebody who reviews tokens."""

    def __init__(self) -> None:
        self.scopes: dict[str, tuple[str, ...]] = {JWT: ("READ", "WRITE_BLOB")}
        self.is_up = True
        self.n_reviews = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def review_token(self, token: str) -> ReviewedToken:
        self.n_reviews += 1
        await self.gate.wait()
        if not self.is_up:
            raise Unreachable(peer="the operator", problem="it is down")
        if token not in self.scopes:
            raise Forbidden
        return ReviewedToken(ACCOUNT, self.scopes[token])


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def tokens(net: Any, cluster: Cluster, clock: HandClock) -> ClusterTokens:
    reviewer: Any = cluster
    by_hand: Any = clock
    found = ClusterTokens(reviewer, net.services.records, by_hand)
    access = Access(net.services.records, by_hand, anonymous={Scope.READ}, cluster=found)
    object.__setattr__(net.services, "access", access)
    return found


async def viewer(net: Any) -> tuple[int, Any]:
    answer = await net.post(VIEWER, headers=HEADERS)
    return answer.status_code, answer.json()


async def test_an_account_has_its_scopes_and_its_name(net: Any, tokens: ClusterTokens) -> None:
    status, answer = await viewer(net)
    assert status == 200
    assert answer["data"]["viewer"]["scopes"] == ["READ", "WRITE_BLOB"]
    assert answer["data"]["viewer"]["token"]["name"] == ACCOUNT
    refused = (await net.post(CREATE, headers=HEADERS)).json()["errors"][0]["extensions"]["code"]
    assert refused == "PERMISSION_DENIED"


async def test_a_review_is_believed_for_a_minute_and_then_the_rules_of_then_hold(
    net: Any, tokens: ClusterTokens, cluster: Cluster, clock: HandClock
) -> None:
    _, first = await viewer(net)
    cluster.scopes[JWT] = ("ADMIN",)
    clock.time_ms += BELIEVED_MS - 1
    assert (await viewer(net))[1] == first
    assert cluster.n_reviews == 1
    clock.time_ms += 1
    _, later = await viewer(net)
    assert set(later["data"]["viewer"]["scopes"]) == {"READ", "ADMIN"}
    assert later["data"]["viewer"]["token"] == first["data"]["viewer"]["token"], "it is the same account"
    assert cluster.n_reviews == 2
    cluster.scopes.clear()
    clock.time_ms += BELIEVED_MS
    assert (await viewer(net))[0] == 401


async def test_what_the_cluster_does_not_know_is_refused(net: Any, tokens: ClusterTokens, cluster: Cluster) -> None:
    cluster.scopes.clear()
    status, answer = await viewer(net)
    assert (status, answer["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")
    assert "does not take the token" in answer["errors"][0]["message"]


async def test_a_cluster_that_cannot_be_asked_is_no_refusal(net: Any, tokens: ClusterTokens, cluster: Cluster) -> None:
    cluster.is_up = False
    answer = await net.post(VIEWER, headers=HEADERS)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    error = answer.json()["errors"][0]
    assert (error["extensions"]["code"], error["extensions"]["retry"]) == ("TOKEN_REVIEW_UNAVAILABLE", "AFTER_DELAY")
    assert (await net.post(VIEWER, headers=await net.token())).status_code == 200, "other tokens need no review"


async def test_the_audit_names_the_account_and_revoking_shuts_it_out(net: Any, tokens: ClusterTokens) -> None:
    assert has_shape(JWT)
    net.services.access._cluster._control.scopes[JWT] = ("ADMIN",)
    _, answer = await viewer(net)
    account = answer["data"]["viewer"]["token"]
    await net.post(CREATE, headers=HEADERS)
    [event] = (await net.post(AUDIT, headers=HEADERS)).json()["data"]["auditEvents"]["nodes"]
    assert event == {"mutation": "createToken", "code": "OK", "tokenId": account["id"]}
    assert (await net.post(REVOKE, headers=await net.token("ADMIN"), id=account["id"])).status_code == 200
    status, refused = await viewer(net)
    assert (status, "revoked" in refused["errors"][0]["message"]) == (401, True)


@pytest.mark.parametrize(
    "secret",
    ["a.b", "a.b.c.d", "a..c", "a.b.c/", "ä.b.c", "a.b." + "c" * TOKEN_MAX, "haulout_" + "A" * 43],
    ids=["two parts", "four", "empty", "no base64url", "no ascii", "endless", "one of ours"],
)
async def test_what_has_not_the_shape_is_not_reviewed(
    net: Any, tokens: ClusterTokens, cluster: Cluster, secret: str
) -> None:
    headers = {"authorization": f"Bearer {secret}".encode()}
    assert (await net.post(VIEWER, headers=headers)).status_code == 401
    assert cluster.n_reviews == 0


async def test_a_flood_waits_for_a_few_reviews_and_then_is_told_so(tokens: ClusterTokens, cluster: Cluster) -> None:
    cluster.gate.clear()
    cluster.scopes = {f"a.b.c{i}": ("READ",) for i in range(WAITING_MAX)}
    waiting = [asyncio.ensure_future(tokens.token_of(secret)) for secret in cluster.scopes]
    for _ in range(20):
        await asyncio.sleep(0)
    assert cluster.n_reviews == AT_ONCE
    with pytest.raises(TokenReviewUnavailable, match="wait already"):
        await tokens.token_of("a.b.more")
    cluster.gate.set()
    found = await asyncio.gather(*waiting)
    assert {token.name for token in found if token is not None} == {ACCOUNT}
    assert len({token.number for token in found if token is not None}) == 1, "it is one account, however many tokens"


async def test_without_a_cluster_they_are_strangers(net: Any) -> None:
    answer = await net.post(VIEWER, headers=HEADERS)
    assert (answer.status_code, "not a bearer token of this API" in answer.text) == (401, True)
