"""What all tests share: Hypothesis profiles, the place of compiled kernels, and that nothing leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take longest come first, so that at the end no worker is left alone with one of them."""
    patience: dict[Path, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        patience[item.path] = max(patience.get(item.path, 0), marker.args[0] if marker and marker.args else 0)
    items.sort(key=lambda item: -patience[item.path])


class PostgresServer:
    """A throwaway server from the distribution's package, reached through a socket file; every database is new."""

    def __init__(self, programs: Path, home: Path) -> None:
        self._programs, self._home = programs, home
        self._user: dict[str, Any] = {}
        self._n_databases = 0
        if os.getuid() == 0:  # its programs refuse to run as root
            who = pwd.getpwnam("postgres")
            os.chown(home, who.pw_uid, who.pw_gid)
            self._user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}

    def start(self) -> None:
        data = str(self._home / "data")
        self._run("initdb", "-D", data, "-U", "haulout", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={self._home} -c fsync=off -c full_page_writes=off"
        self._run("pg_ctl", "-D", data, "-l", str(self._home / "log"), "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._home / "data"), "-m", "immediate", "-w", "stop")

    def new_database(self, *, template: str = "template0") -> str:
        """The URL of an empty database, or of a copy of another, which nobody may be connected to."""
        self._n_databases += 1
        name = f"test_{self._n_databases}"
        self._run("createdb", "-h", str(self._home), "-U", "haulout", "-T", template, name)
        return f"postgresql://haulout@/{name}?host={self._home}"

    def _run(self, program: str, *arguments: str) -> None:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._home, env=environment, check=True, capture_output=True, timeout=60, **self._user,
        )  # fmt: skip


class Collector:
    """Takes traces in by OTLP over gRPC, as any collector does."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc

        spans: list[tuple[dict[str, str], Any]] = []
        self.spans = spans

        class Servicer(rpc.TraceServiceServicer):
            def Export(self, request: Any, context: Any) -> Any:
                for of_process in request.resource_spans:
                    named = {a.key: a.value.string_value for a in of_process.resource.attributes}
                    spans.extend((named, span) for scope in of_process.scope_spans for span in scope.spans)
                return pb.ExportTraceServiceResponse()

        self._server = grpc.server(ThreadPoolExecutor(2))
        rpc.add_TraceServiceServicer_to_server(Servicer(), self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def trace(self, trace_id: str) -> list[tuple[dict[str, str], Any]]:
        """Spans of a trace, each with what its process says of itself."""
        return [(named, span) for named, span in self.spans if span.trace_id.hex() == trace_id]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """PostgreSQL as distributions package it: `apt-get install postgresql`."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert installed, "install PostgreSQL: apt-get install postgresql"
    home = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # the path of a socket has at most 107 bytes
    server = PostgresServer(installed[-1].parent, home)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
