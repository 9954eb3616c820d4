"""What all tests share: Hypothesis profiles, the place of compiled kernels, and that nothing leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from haulout.world.kernels import KernelSettings

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci", max_examples=500, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# numba alone does not see that a kernel is stale if only a module has changed that it calls
os.environ["NUMBA_CACHE_DIR"] = str(KernelSettings.of(os.environ).cache_folder)


def is_here(host: Any) -> bool:
    """Whether a host of a socket's address is this machine; names are not, since whoever resolves one asks others."""
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _nothing_leaves_this_machine() -> Iterator[None]:
    """Fails a test that connects, sends or asks for a name beyond loopback through Python's sockets. gRPC has sockets
    of its own, which `haulout.wire.security` keeps here."""

    def check(host: Any) -> None:
        if not is_here(host):
            pytest.fail(f"a test reaches beyond this machine: {host!r}")

    def guarded(method: Any, position: int) -> Any:
        def call(self: socket.socket, *arguments: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                check(arguments[position][0])
            return method(self, *arguments)

        return call

    resolve = socket.getaddrinfo

    def guarded_resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in ("", b"", "0.0.0.0", "::"):  # to listen everywhere
            check(host.decode() if isinstance(host, bytes) else host)
        return resolve(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name, position in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), position))
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        yield
