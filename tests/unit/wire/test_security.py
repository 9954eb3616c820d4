"""Plaintext stays on this machine unless someone says otherwise."""

from __future__ import annotations

import grpc
import pytest

from haulout.errors import InvalidField, Unreachable
from haulout.wire.errors import PlaintextRefused
from haulout.wire.ledger import GrpcLedger
from haulout.wire.security import bind_port, is_loopback, open_channel
from haulout.wire.transport import GrpcNodeTransport

LOOPBACK = ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/run/node.sock"]
ELSEWHERE = ["10.0.0.1:1", "0.0.0.0:1", "[::]:1", "node-0.haulout:1", "localhost.example:1", "127.0.0.1.example:1"]


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_is_known(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ELSEWHERE)
async def test_elsewhere_is_refused_unless_allowed(address: str) -> None:
    assert not is_loopback(address)
    with pytest.raises(PlaintextRefused) as caught:
        open_channel(address, (), allow_plaintext=False)
    assert caught.value.address == address
    await open_channel(address, (), allow_plaintext=True).close()


@pytest.mark.parametrize("address", ["", "host", ":5", "host:", "host:x", "host:70000", "127.0.0.1:-1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidField, match="host:port"):
        open_channel(address, (), allow_plaintext=True)


async def test_a_server_does_not_listen_elsewhere_unless_allowed() -> None:
    server = grpc.aio.server()
    with pytest.raises(PlaintextRefused):
        bind_port(server, "0.0.0.0:0", allow_plaintext=False)
    assert bind_port(server, "0.0.0.0:0", allow_plaintext=True).startswith("0.0.0.0:")
    await server.stop(0)


async def test_a_taken_port_is_named() -> None:
    first, second = grpc.aio.server(), grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    address = bind_port(first, "127.0.0.1:0", allow_plaintext=False)
    await first.start()
    with pytest.raises(Unreachable, match=address):
        bind_port(second, address, allow_plaintext=False)
    await first.stop(0)
    await second.stop(0)


async def test_clients_refuse_when_they_call_not_when_they_are_made() -> None:
    transport, ledger = GrpcNodeTransport(), GrpcLedger("10.0.0.1:1")
    node = transport.connect("10.0.0.1:1")
    with pytest.raises(PlaintextRefused):
        await node.health()
    with pytest.raises(PlaintextRefused):
        await ledger.status()
    await transport.close()
    await ledger.close()
