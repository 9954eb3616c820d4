"""Which process listens where: all ports follow from one base, metrics and health a hundred above each.

::

    base + 0   gateway (HTTP)        base + 2   ledger (gRPC)
    base + 1   GraphQL (HTTP)        base + 3   supervisor (gRPC)
    base + 4   Prometheus (HTTP), when it is asked for
    base + 10 + i   node i (gRPC)    port + 100   its metrics, health and ready (HTTP)
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from haulout.errors import InvalidField, Unavailable

HOST = "127.0.0.1"
DEFAULT_PORT_BASE = 31415
METRICS_OFFSET = 100
FIRST_NODE_OFFSET = 10
MAX_NODES = METRICS_OFFSET - FIRST_NODE_OFFSET
STEP = 250  # between the bases that are tried


@dataclass(eq=False)
class NoFreePorts(Unavailable):
    """No run of ports is free."""

    code = "NO_FREE_PORTS"
    template = "no free ports were found from {port_base} on"
    hint = "name another --port-base"
    port_base: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Addresses of a network on this machine."""

    port_base: int
    n_nodes: int  # that ever were: a number is not given twice
    removed: frozenset[str] = frozenset()  # nodes that have left for good

    @property
    def node_names(self) -> list[str]:
        """Storage nodes by number."""
        return [name for name in (f"node-{i}" for i in range(self.n_nodes)) if name not in self.removed]

    @property
    def names(self) -> list[str]:
        """Processes in the order in which they start."""
        return ["ledger", *self.node_names, "gateway", "graphql"]

    def port_of(self, name: str) -> int:
        fixed = {"gateway": 0, "graphql": 1, "ledger": 2, "supervisor": 3, "prometheus": 4}
        offset = fixed[name] if name in fixed else FIRST_NODE_OFFSET + int(name.removeprefix("node-"))
        return self.port_base + offset

    def address_of(self, name: str) -> str:
        return f"{HOST}:{self.port_of(name)}"

    def metrics_address_of(self, name: str) -> str:
        return f"{HOST}:{self.port_of(name) + METRICS_OFFSET}"

    def urls_of(self, name: str) -> dict[str, str]:
        """What people and tools open, by kind."""
        address = self.address_of(name)
        metrics = f"http://{self.metrics_address_of(name)}/metrics"
        if name == "gateway":
            return {"http": f"http://{address}", "metrics": metrics}
        if name == "graphql":
            return {"graphql": f"http://{address}/graphql", "metrics": metrics}
        return {"grpc": address, "metrics": metrics}

    def ports(self) -> list[int]:
        taken = [self.port_of(name) for name in [*self.names, "supervisor"]]
        return [*taken, *(port + METRICS_OFFSET for port in taken), self.port_of("prometheus")]


def role_of(name: str) -> str:
    """`ledger`, `node`, `gateway`, `graphql` or `supervisor`."""
    return name.partition("-")[0]


def choose_layout(wanted_base: int, n_nodes: int, removed: frozenset[str] = frozenset()) -> Layout:
    """The wanted ports if all are free, else the next run of ports that is.

    Raises:
        InvalidField: not a port.
        NoFreePorts: none was found below port 65,536.
    """
    if not 1 <= wanted_base < 1 << 16:
        raise InvalidField(field="port_base", problem=f"{wanted_base} is not between 1 and 65535")
    base = wanted_base
    while base + METRICS_OFFSET + FIRST_NODE_OFFSET + n_nodes < 1 << 16:
        layout = Layout(base, n_nodes, removed)
        if all(_is_free(port) for port in layout.ports()):
            return layout
        base += STEP
    raise NoFreePorts(port_base=wanted_base)


def is_free(layout: Layout, name: str) -> bool:
    """Whether a process of this name would find its ports free."""
    port = layout.port_of(name)
    return _is_free(port) and _is_free(port + METRICS_OFFSET)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
