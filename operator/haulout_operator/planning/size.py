"""How large a pool is to be: what was asked of it, and never less than what a committee needs of it."""

from __future__ import annotations

from haulout.primitives import smallest_committee
from haulout_operator.models.pool import StorageNodePoolSpec
from haulout_operator.observed import Observed, Resource

Pool = Resource[StorageNodePoolSpec]


def smallest_size(observed: Observed, pool: Pool) -> int:
    """How many nodes of a committee of the smallest size the other pools leave to this one, by what was asked of them.

    Zero before there is a ledger to say how many shards there are.
    """
    if observed.ledger is None:
        return 0
    others = sum(one.spec.replicas for one in observed.pools if one.name != pool.name and not one.is_deleting)
    return max(0, smallest_committee(observed.ledger.n_shards) - others)


def wanted_size(observed: Observed, pool: Pool) -> int:
    """The size a pool is kept at: a smaller one than the smallest is refused, and whoever goes is still replaced."""
    return max(pool.spec.replicas, smallest_size(observed, pool))
