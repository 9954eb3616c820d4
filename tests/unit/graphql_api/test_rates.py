"""What a client may ask for: points, told in headers, refused with a code, remembered of so many clients."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from graphql_api import rates as r
from graphql_api.rates import RateLimited, Rates, client_at

QUERY = "{ rateLimit { pointsPerHour limit remaining cost } }"


class Clock:
    """Time as a test says."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


def rates(clock: Any, points_per_hour: int = 36_000) -> Rates:
    return Rates(clock, CollectorRegistry(), points_per_hour=points_per_hour)


def test_points_come_back_with_time() -> None:
    clock = Clock()
    limit = rates(clock)  # ten a second, 3,600 at most
    limit.check("a")
    limit.charge("a", 3_599)
    limit.check("a")
    limit.charge("a", 101)
    with pytest.raises(RateLimited) as refused:
        limit.check("a")
    assert refused.value.retry_after_s == 11  # 100 owed, and one to spend
    limit.check("b")
    clock.ms += 10_000
    with pytest.raises(RateLimited):
        limit.check("a")
    clock.ms += 100
    limit.check("a")
    assert limit.allowance("a").remaining == 1
    clock.ms += 3_600_000
    assert limit.allowance("a") == r.Allowance(3_600, 3_600, 0)


def test_clients_beyond_the_limit_are_forgotten_least_recent_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "CLIENTS_MAX", 3)
    limit = rates(Clock())
    for name in "abcab":
        limit.charge(name, 10)
    limit.charge("d", 10)
    left = {name: limit.allowance(name).remaining for name in "abcd"}
    assert left == {"a": 3_580, "b": 3_580, "c": 3_600, "d": 3_590}


def test_without_a_limit_everything_may_be_asked_for() -> None:
    limit = rates(Clock(), 0)
    limit.charge("a", 10**9)
    limit.check("a")
    assert r.headers_of(limit.allowance("a")) == {}


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "address 192.0.2.7"),
        ("::ffff:192.0.2.7", "address 192.0.2.7"),
        ("2001:db8::1", "network 2001:db8::/64"),
        ("2001:db8:0:0:ffff::2", "network 2001:db8::/64"),
        (None, "address unknown"),
        ("/tmp/socket", "address /tmp/socket"),
    ],
)
def test_a_client_is_its_address_or_its_network(host: str | None, client: str) -> None:
    assert client_at(host) == client


async def test_an_answer_says_what_is_left_and_a_refusal_when_to_come_again(net: Any) -> None:
    net.services.rates.points_per_hour, net.services.rates.limit = 36_000, 3_600
    response = await net.post(QUERY)
    told = response.json()["data"]["rateLimit"]
    assert (told["pointsPerHour"], told["limit"], told["cost"]) == (36_000, 3_600, 5)
    assert response.headers["ratelimit-limit"] == "3600"
    assert 3_590 <= int(response.headers["ratelimit-remaining"]) <= 3_595
    assert response.headers["ratelimit-reset"] == "1"
    dear = "{ blobs(first: 100) { nodes { objects(first: 40) { nodes { objectId } } } } }"
    assert (await net.post(dear)).status_code == 200  # who has a point may ask for anything that is allowed
    refused = await net.post(QUERY)
    assert refused.status_code == 429
    found = refused.json()["errors"][0]["extensions"]
    assert (found["code"], found["http"], found["retry"]) == ("RATE_LIMITED", 429, "AFTER_DELAY")
    assert 1 <= int(refused.headers["retry-after"]) <= 600
    # Who has a token has points of its own.
    assert (await net.post(QUERY, headers=await net.token())).status_code == 200


async def test_trying_out_tokens_uses_up_an_address(net: Any) -> None:
    net.services.rates.points_per_hour, net.services.rates.limit = 36_000, 1_000
    wrong = {"authorization": "Bearer haulout_wrong"}
    assert [(await net.post(QUERY, headers=wrong)).status_code for _ in range(3)] == [401, 401, 429]


async def test_what_is_refused_costs_a_point(net: Any) -> None:
    net.services.rates.points_per_hour, net.services.rates.limit = 36_000, 3_600
    bomb = "{ " + " ".join(f"a{i}: system {{ accounts }}" for i in range(100)) + " }"
    response = await net.post(bomb)
    assert response.json()["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"
    assert int(response.headers["ratelimit-remaining"]) >= 3_599
