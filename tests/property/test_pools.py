"""A staking pool over many epochs: whoever leaves gets principal and rewards, and nobody gets what is not there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import pools, queries
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.execution import Execution
from haulout.ledger.genesis import build_development_network, build_genesis
from haulout.ledger.state import STATE_VERSION, StakedWal

SCHEME = KeyedHash()
NETWORK = build_development_network(
    node_addresses={f"node-{i}": (f"127.0.0.1:{7000 + i}",) for i in range(4)},
    n_shards=10,
    stake_frost=10**9,
    account_funds_frost={},
    genesis_time_ms=1_000_000,
    seed=bytes(32),
    scheme=SCHEME,
)
MAX_EPOCHS = 30


@dataclass
class Waiting:
    """A stake on its way out."""

    staked: StakedWal
    withdraw_epoch: int


def execution() -> Execution:
    state = Draft(EmptyView())
    state.absorb(build_genesis(NETWORK.genesis, SCHEME).writes)
    return Execution(
        draft=state,
        params=queries.params(state),
        system=queries.system(state),
        protocol_version=2,
        scheme=SCHEME,
        digest=bytes(32),
        sender=bytes(32),
        height=1,
        time_ms=0,
        first_sequence=0,
    )


# What happens in an epoch: rewards (None: the node is in no committee), new stakes, which stakes ask to go.
EPOCHS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 50), st.integers(0, 10**12)),
        st.lists(st.one_of(st.integers(1, 50), st.integers(10**9, 10**15)), max_size=3),
        st.lists(st.integers(0, 9), max_size=3),
    ),
    max_size=MAX_EPOCHS,
)


@given(EPOCHS, st.integers(0, 10_000))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_pool_pays_everybody_out(epochs: list[tuple[int | None, list[int], list[int]]], rate_bps: int) -> None:
    run = execution()
    pool = pools.load_pool(run.draft, NETWORK.nodes[0].node_id)
    node = replace(pool.node, balance_frost=0, n_shares=0, commission_rate_bps=rate_bps)
    pool = replace(pool, node=node)
    staked: list[StakedWal] = []
    waiting: list[Waiting] = []
    earned = paid = 0
    for epoch, (reward, stakes, leaving) in enumerate(epochs, start=2):
        for amount in stakes:  # made in the epoch before, to count from this one
            pending = {**pool.node.pending_stake, epoch: pool.node.pending_stake.get(epoch, 0) + amount}
            pool = replace(pool, node=replace(pool.node, pending_stake=pending))
            staked.append(StakedWal(STATE_VERSION, bytes(32), pool.node_id, amount, epoch, None))
        for pick in leaving:
            active = [s for s in staked if s.activation_epoch <= pool.schedule.latest_epoch]
            if not active:
                break
            leaver = active[pick % len(active)]
            shares = pools.rate_at(run.draft, pool, leaver.activation_epoch).to_shares(leaver.principal_frost)
            if shares == 0:
                continue
            staked.remove(leaver)
            due = {**pool.schedule.pending_shares, epoch: pool.schedule.pending_shares.get(epoch, 0) + shares}
            pool = replace(pool, schedule=replace(pool.schedule, pending_shares=due))
            waiting.append(Waiting(leaver, epoch))
        if reward is not None:
            held = pools.balance_at(run.draft, pool, epoch)
            before = pool.node.rewards_frost
            pool, commission = pools.advance_pool(run, pool, epoch, reward)
            assert pool.node.rewards_frost == before + reward - commission
            assert pool.node.n_shares <= pool.node.balance_frost
            if reward == 0:
                assert pool.node.balance_frost == held
            earned += reward - commission
        while waiting and waiting[0].withdraw_epoch <= pool.schedule.latest_epoch:
            gone = waiting.pop(0)
            rewards = pools.compute_rewards(run.draft, pool, gone.staked, gone.withdraw_epoch)
            pool = replace(pool, node=replace(pool.node, rewards_frost=pool.node.rewards_frost - rewards))
            paid += rewards
        assert 0 <= pool.node.rewards_frost == earned - paid
