"""Ports: all from one base, none twice, and others when the usual are taken."""

from __future__ import annotations

import socket

import pytest

from haulout.embedded.layout import HOST, MAX_NODES, STEP, Layout, NoFreePorts, choose_layout, role_of
from haulout.errors import InvalidField


def test_ports_follow_from_the_base() -> None:
    layout = Layout(31415, 5)
    names = ("gateway", "graphql", "ledger", "supervisor", "node-0", "node-4")
    assert [layout.port_of(name) for name in names] == [31415, 31416, 31417, 31418, 31425, 31429]
    assert layout.metrics_address_of("node-4") == "127.0.0.1:31529"
    assert layout.urls_of("graphql") == {
        "graphql": "http://127.0.0.1:31416/graphql",
        "metrics": "http://127.0.0.1:31516/metrics",
    }
    assert layout.urls_of("node-0")["grpc"] == "127.0.0.1:31425"


@pytest.mark.parametrize("n_nodes", [4, 80, MAX_NODES])
def test_no_port_is_used_twice(n_nodes) -> None:
    ports = Layout(1000, n_nodes).ports()
    assert len(ports) == len(set(ports)) == 2 * (n_nodes + 4) + 1


def test_roles() -> None:
    assert [role_of(name) for name in Layout(1, 4).names] == ["ledger", *["node"] * 4, "gateway", "graphql"]


def free_base() -> int:
    return choose_layout(23_000, 4).port_base


@pytest.mark.parametrize("name", ["gateway", "node-3"])
@pytest.mark.parametrize("offset", [0, 100])
def test_when_one_port_is_taken_all_move(name, offset) -> None:
    base = free_base()
    with socket.socket() as taken:
        taken.bind((HOST, Layout(base, 4).port_of(name) + offset))
        taken.listen()
        moved = choose_layout(base, 4).port_base
    assert moved > base
    assert (moved - base) % STEP == 0


@pytest.mark.parametrize("base", [-1, 0, 65_536])
def test_what_is_no_port(base) -> None:
    with pytest.raises(InvalidField, match="port_base"):
        choose_layout(base, 5)


def test_no_room_above_the_base() -> None:
    with pytest.raises(NoFreePorts, match="65500"):
        choose_layout(65_500, 5)
