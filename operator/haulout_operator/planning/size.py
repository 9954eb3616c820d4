"""How large a pool is to be: what was asked of it, and never less than what a committee needs of it."""

from __future__ import annotations

from haulout.primitives import smallest_committee
from haulout_operator.models.pool import StorageNodePoolSpec
from haulout_operator.observed import LedgerFacts, Observed, Resource

Pool = Resource[StorageNodePoolSpec]


def smallest_size(observed: Observed, pool: Pool) -> int:
    """How many nodes of a committee of the smallest size the other pools leave to this one, by what was asked of them.

    Never more than it has members: a refused size keeps who is there, and makes no pool larger than it was. Zero before
    there is a ledger to say how many shards there are.
    """
    ledger = observed.ledger
    if ledger is None:
        return 0
    left = smallest_committee(ledger.n_shards) - asked_of_others(observed, pool)
    return max(0, min(left, _n_members(observed, ledger, pool)))


def asked_of_others(observed: Observed, pool: Pool) -> int:
    """The nodes that the network's other pools are to have."""
    return sum(one.spec.replicas for one in observed.pools if one.name != pool.name and not one.is_deleting)


def wanted_size(observed: Observed, pool: Pool) -> int:
    """The size a pool is kept at: a smaller one than the smallest is refused, and whoever goes is still replaced."""
    return max(pool.spec.replicas, smallest_size(observed, pool))


def _n_members(observed: Observed, ledger: LedgerFacts, pool: Pool) -> int:
    """Its nodes in the committee or in the next one, those on their way out included."""
    known = [ledger.nodes.get(node.name) for node in observed.nodes_of(pool.name)]
    return sum(one is not None and bool(one.shards or one.is_next) for one in known)
