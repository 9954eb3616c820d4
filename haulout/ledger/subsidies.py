"""Subsidies: money that flows to nodes besides what users pay.

    add_subsidy         a gift to the committees of some epochs, in equal parts
    process_subsidies   a fund doubles, say, what users pay into coming epochs, and pays members a fixed sum per epoch

A network has at most one fund. The governance account of a committee member opens it and sets its rates; anyone may
fill it. The usage part looks only at what users paid: what rounding rolled over, gifts and the fund's own payments are
no income, unlike in the source, where they are subsidised again. Source: Walrus's contracts,
`walrus_subsidies_inner.move`.
"""

from __future__ import annotations

from dataclasses import replace

from haulout.ledger import keys, pools, queries
from haulout.ledger.commands import AddSubsidy, FundSubsidies, OpenSubsidies, ProcessSubsidies, SetSubsidies
from haulout.ledger.events import SubsidiesChanged
from haulout.ledger.execution import Execution
from haulout.ledger.refusals import (
    AuthorizationFailure,
    InsufficientSubsidies,
    InvalidAmount,
    InvalidEpochsAhead,
    NotInCommittee,
    SubsidiesExist,
    SubsidyRateTooHigh,
)
from haulout.ledger.state import STATE_VERSION, Phase, Subsidies
from haulout.primitives import BASIS_POINTS, hex_id_text

MAX_USAGE_RATE_BPS = 1_000_000


def add_subsidy(run: Execution, command: AddSubsidy) -> tuple[bytes, ...]:
    """Give money to the committees of the current epoch and those after it; the remainder goes to the current one."""
    if not 0 < command.n_epochs <= run.params.max_epochs_ahead:
        raise InvalidEpochsAhead(
            start_epoch=run.epoch,
            end_epoch=run.epoch + command.n_epochs,
            epoch=run.epoch,
            max_epochs_ahead=run.params.max_epochs_ahead,
        )
    if command.amount_frost == 0:
        raise InvalidAmount(amount=0, problem="nothing would be given")
    run.pay(command.amount_frost)
    part, rest = divmod(command.amount_frost, command.n_epochs)
    for epoch in range(run.epoch, run.epoch + command.n_epochs):
        collect_without_subsidy(run, epoch, part + (rest if epoch == run.epoch else 0))
    return ()


def open_subsidies(run: Execution, command: OpenSubsidies) -> tuple[bytes, ...]:
    """Open the network's fund, empty; what was paid until now is not subsidised."""
    existing = queries.subsidies(run.draft)
    if existing is not None:
        raise SubsidiesExist(admin=hex_id_text(existing.admin))
    members = queries.committee(run.draft, run.epoch).members
    if all(pools.load_pool(run.draft, member.node_id).node.governance != run.sender for member in members):
        raise NotInCommittee(node_id=hex_id_text(run.sender), epoch=run.epoch)
    _check_rate(command.usage_rate_bps)
    already = {epoch: frost for epoch in _ring(run) if (frost := queries.bucket(run.draft, epoch).rewards_frost)}
    fund = Subsidies(
        version=STATE_VERSION,
        admin=run.sender,
        usage_rate_bps=command.usage_rate_bps,
        base_frost=command.base_frost,
        per_shard_frost=command.per_shard_frost,
        balance_frost=0,
        latest_epoch=run.epoch,
        already_frost=already,
    )
    _save(run, fund)
    return ()


def set_subsidies(run: Execution, command: SetSubsidies) -> tuple[bytes, ...]:
    """Change the fund's rates, or hand it to another account."""
    fund = _find(run)
    if run.sender != fund.admin:
        raise AuthorizationFailure(sender=hex_id_text(run.sender), node_id="the subsidies")
    _check_rate(command.usage_rate_bps)
    fund = replace(
        fund,
        admin=command.admin,
        usage_rate_bps=command.usage_rate_bps,
        base_frost=command.base_frost,
        per_shard_frost=command.per_shard_frost,
    )
    _save(run, fund)
    return ()


def fund_subsidies(run: Execution, command: FundSubsidies) -> tuple[bytes, ...]:
    """Put money into the fund."""
    fund = _find(run)
    if command.amount_frost == 0:
        raise InvalidAmount(amount=0, problem="nothing would be given")
    run.pay(command.amount_frost)
    _save(run, replace(fund, balance_frost=fund.balance_frost + command.amount_frost))
    return ()


def process_subsidies(run: Execution, command: ProcessSubsidies) -> tuple[bytes, ...]:
    """Pay what is due: the fixed part once per epoch, the usage part for what users paid since the last time."""
    fund = _find(run)
    if fund.latest_epoch < run.epoch:
        fund = replace(_pay_members(run, fund), latest_epoch=run.epoch)
    already = dict[int, int]()
    for epoch in _ring(run):
        rewards = queries.bucket(run.draft, epoch).rewards_frost
        paid = (rewards - fund.already_frost.get(epoch, 0)) * fund.usage_rate_bps // BASIS_POINTS
        fund = _spend(fund, paid)
        if paid:
            run.collect(epoch, paid)
        if rewards + paid:
            already[epoch] = rewards + paid
    _save(run, replace(fund, already_frost=already))
    return ()


def collect_without_subsidy(run: Execution, epoch: int, amount_frost: int) -> None:
    """Add to an epoch's rewards what no user paid for storage."""
    if amount_frost == 0:
        return
    run.collect(epoch, amount_frost)
    fund = queries.subsidies(run.draft)
    if fund is not None:
        already = {**fund.already_frost, epoch: fund.already_frost.get(epoch, 0) + amount_frost}
        _save(run, replace(fund, already_frost=already))


def _pay_members(run: Execution, fund: Subsidies) -> Subsidies:
    """The fixed part goes to the operators of the committee before, blocked like their commission."""
    committee = queries.previous_committee(run.draft)
    is_blocked = queries.phase(run.draft) is not Phase.VOTED
    for member in () if committee is None else committee.members:
        amount = fund.base_frost + member.weight * fund.per_shard_frost
        fund = _spend(fund, amount)
        if amount:
            pool = pools.load_pool(run.draft, member.node_id)
            node = replace(
                pool.node,
                commission_frost=pool.node.commission_frost + amount,
                commission_blocked_frost=pool.node.commission_blocked_frost + (amount if is_blocked else 0),
            )
            pools.save_pool(run, replace(pool, node=node))
    return fund


def _spend(fund: Subsidies, amount_frost: int) -> Subsidies:
    if amount_frost > fund.balance_frost:
        raise InsufficientSubsidies(available_frost=fund.balance_frost, needed_frost=amount_frost)
    return replace(fund, balance_frost=fund.balance_frost - amount_frost)


def _ring(run: Execution) -> range:
    return range(run.epoch, run.epoch + run.params.max_epochs_ahead)


def _find(run: Execution) -> Subsidies:
    fund = queries.subsidies(run.draft)
    if fund is None:
        raise InsufficientSubsidies(available_frost=0, needed_frost=0)
    return fund


def _check_rate(rate_bps: int) -> None:
    if rate_bps > MAX_USAGE_RATE_BPS:
        raise SubsidyRateTooHigh(rate_bps=rate_bps, limit_bps=MAX_USAGE_RATE_BPS)


def _save(run: Execution, fund: Subsidies) -> None:
    fund = replace(fund, already_frost={at: frost for at, frost in fund.already_frost.items() if at >= run.epoch})
    run.put(keys.SUBSIDIES, fund)
    run.emit(
        SubsidiesChanged(
            admin=fund.admin,
            usage_rate_bps=fund.usage_rate_bps,
            base_frost=fund.base_frost,
            per_shard_frost=fund.per_shard_frost,
            balance_frost=fund.balance_frost,
            latest_epoch=fund.latest_epoch,
            already_frost=fund.already_frost,
        )
    )
