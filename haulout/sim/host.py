"""A place for a machine, with what outlasts the machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from haulout.node.storage_node import StorageNode
from haulout.replica.replica import Replica
from haulout.sequencer.sequencer import Sequencer
from haulout.sim.clock import VirtualClock
from haulout.sim.disk import DiskMedium
from haulout.sim.machine import Machine
from haulout.sim.store import StoreMedium


@dataclass
class Host:
    """A place for a machine: its media outlive the machine that runs on them."""

    name: str
    machine: Machine
    state: StoreMedium = field(default_factory=StoreMedium)  # the ledger as this machine keeps it
    rows: StoreMedium = field(default_factory=StoreMedium)  # a node's own rows
    files: DiskMedium = field(default_factory=DiskMedium)
    clock: VirtualClock = field(default_factory=VirtualClock)
    n_starts: int = 0
    has_started: bool = False
    replica: Replica | None = None
    node: StorageNode | None = None
    sequencer: Sequencer | None = None

    @property
    def is_on(self) -> bool:
        return self.machine.is_on and self.n_starts > 0
