"""The state machine: a block's transactions onto a view, and everything that follows from them.

    apply_block         for each transaction: admissible? apply it, remember its receipt; then roots and header
    apply_transaction   its commands one after the other on a draft; all take effect, or none
    HANDLERS            one function per command

Total: no content of a transaction raises. What a rule refuses becomes a result with the refusal's code and changes
nothing but the receipt. What is inadmissible is left out and reported. The same view, parent, time and transactions
give the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from haulout import bcs
from haulout.chain import history, tree
from haulout.chain.block import (
    HEADER_VERSION,
    Block,
    BlockHeader,
    TransactionResult,
    compute_outcomes_root,
    compute_transactions_root,
)
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import BlobTooLarge, InvalidInput, Rejected
from haulout.ledger import (
    accounts,
    blobs,
    commands,
    epochs,
    governance,
    keys,
    queries,
    shared_blobs,
    staking,
    storage,
    subsidies,
    withdrawals,
)
from haulout.ledger.admission import check_envelope, check_known_commands, check_not_ordered, check_signature
from haulout.ledger.draft import CachedView, Draft
from haulout.ledger.events import Event, EventBody
from haulout.ledger.execution import Execution
from haulout.ledger.refusals import UpgradeRequired
from haulout.ledger.state import STATE_VERSION, Params, Receipt, View
from haulout.ledger.transactions import SignedTransaction, digest_of_bytes

PROTOCOL_VERSION: Final = 3  # 1: epochs did not advance; 2: blobs could not be shared
OLDEST_PROTOCOL_VERSION: Final = 1
MIN_FORGOTTEN_PER_BLOCK: Final = 64

Handler = Callable[[Execution, Any], tuple[bytes, ...]]
HANDLERS: Final[Mapping[type, Handler]] = {
    commands.Transfer: accounts.transfer,
    commands.TransferObject: accounts.transfer_object,
    commands.ReserveSpace: storage.reserve_space,
    commands.SplitStorageByEpoch: storage.split_by_epoch,
    commands.SplitStorageBySize: storage.split_by_size,
    commands.FuseStorage: storage.fuse,
    commands.DestroyStorage: storage.destroy,
    commands.RegisterBlob: blobs.register,
    commands.CertifyBlob: blobs.certify,
    commands.ExtendBlob: blobs.extend,
    commands.ExtendBlobWithStorage: blobs.extend_with_storage,
    commands.DeleteBlob: blobs.delete,
    commands.BurnBlob: blobs.burn,
    commands.SetBlobAttribute: blobs.set_attribute,
    commands.RemoveBlobAttribute: blobs.remove_attribute,
    commands.InvalidateBlobId: blobs.invalidate,
    commands.RegisterNode: staking.register_node,
    commands.SetNodeAddresses: staking.set_addresses,
    commands.Stake: staking.stake,
    commands.SplitStake: staking.split_stake,
    commands.JoinStake: staking.join_stake,
    commands.EndVoting: epochs.end_voting,
    commands.ChangeEpoch: epochs.change_epoch,
    commands.ReportSyncDone: epochs.report_sync_done,
    commands.ForceDone: epochs.force_done,
    commands.AdvanceEpoch: epochs.advance_epoch,
    commands.RequestWithdraw: withdrawals.request_withdraw,
    commands.Withdraw: withdrawals.withdraw,
    commands.RequestLeave: governance.request_leave,
    commands.CancelLeave: governance.cancel_leave,
    commands.SetVotes: governance.set_votes,
    commands.UpdatePrices: governance.update_prices,
    commands.SetCommission: governance.set_commission,
    commands.CollectCommission: governance.collect_commission,
    commands.SetNodeAccounts: governance.set_node_accounts,
    commands.SetNextPublicKey: governance.set_next_public_key,
    commands.JoinActiveSet: governance.join_active_set,
    commands.UpdateProtocolVersion: governance.update_protocol_version,
    commands.AddSubsidy: subsidies.add_subsidy,
    commands.OpenSubsidies: subsidies.open_subsidies,
    commands.SetSubsidies: subsidies.set_subsidies,
    commands.FundSubsidies: subsidies.fund_subsidies,
    commands.ProcessSubsidies: subsidies.process_subsidies,
    commands.ShareBlob: shared_blobs.share,
    commands.FundSharedBlob: shared_blobs.fund,
    commands.ExtendSharedBlob: shared_blobs.extend,
}


@dataclass(frozen=True, slots=True)
class BlockOut:
    """What a block is and does.

    `transactions` are those of the block: what was given, less the inadmissible. Whoever *makes* blocks takes the
    block as it stands here; whoever *checks* one refuses it when `inadmissible` is not empty.
    `writes` is everything a store has to commit, None for rows that are gone: state, state tree, history tree.
    `encoded_results` and `encoded_events` are these in BCS, as the header commits to them and as they are kept.
    """

    header: BlockHeader
    transactions: tuple[bytes, ...]
    results: tuple[TransactionResult, ...]
    events: tuple[Event, ...]
    writes: Mapping[bytes, bytes | None]
    inadmissible: tuple[tuple[int, str], ...]  # position among the transactions given, and the code of the reason
    encoded_results: tuple[bytes, ...]
    encoded_events: tuple[bytes, ...]

    @property
    def block(self) -> Block:
        """The block itself."""
        return Block(self.header, self.transactions)


def apply_block(
    view: View, parent: BlockHeader, time_ms: int, transactions: Sequence[bytes], scheme: SignatureScheme
) -> BlockOut:
    """Apply transactions as the block behind `parent`.

    Args:
        view: the state after `parent`, its tree rows included; only read.
        parent: header of the block before.
        time_ms: the block's time; where it lies before the parent's, the parent's is taken.
        transactions: canonical bytes of signed transactions, in order.
        scheme: of the nodes' signatures.

    Raises:
        UpgradeRequired: the state follows rules that this build does not know.
        StateIncomplete, TreeCorrupt: the view is not a state.
    """
    cached = CachedView(view)
    draft = Draft(cached)
    params, system = queries.params(draft), queries.system(draft)
    if not OLDEST_PROTOCOL_VERSION <= system.protocol_version <= PROTOCOL_VERSION:
        raise UpgradeRequired(
            protocol_version=system.protocol_version, oldest=OLDEST_PROTOCOL_VERSION, newest=PROTOCOL_VERSION
        )
    protocol_version = system.protocol_version  # a block follows the rules that were in force before it
    height, time_ms = parent.height + 1, max(time_ms, parent.time_ms)
    first_sequence = system.next_sequence
    admitted: list[bytes] = []
    results: list[TransactionResult] = []
    events: list[Event] = []
    inadmissible: list[tuple[int, str]] = []
    for position, raw in enumerate(transactions):
        try:
            signed = check_envelope(raw, now_ms=time_ms, chain_id=params.chain_id)
            check_known_commands(signed, protocol_version)
            digest = digest_of_bytes(raw)
            check_signature(signed, digest)
            check_not_ordered(draft, signed, digest)
        except InvalidInput as refusal:
            inadmissible.append((position, refusal.code))
            continue
        index = len(admitted)
        admitted.append(raw)
        run = Execution(
            draft=Draft(draft),
            params=params,
            system=system,
            protocol_version=protocol_version,
            scheme=scheme,
            digest=digest,
            sender=signed.transaction.sender,
            height=height,
            time_ms=time_ms,
            first_sequence=first_sequence + len(events),
        )
        result = apply_transaction(run, signed, index)
        results.append(result)
        if result.is_ok:
            draft.absorb(run.draft.writes)
            system = run.system
            events.extend(number_events(run.events, run.first_sequence, height, index, time_ms))
        receipt = Receipt(STATE_VERSION, height, index)
        draft.put(keys.receipt(signed.transaction.valid_until_ms, digest), bcs.encode(receipt))
    _forget_receipts(draft, time_ms, MIN_FORGOTTEN_PER_BLOCK + 2 * len(admitted))
    draft.put(keys.SYSTEM, bcs.encode(replace(system, next_sequence=first_sequence + len(events))))
    return finish_block(
        cached, draft, parent, params, protocol_version, height, time_ms, admitted, results, events, inadmissible
    )


def apply_transaction(run: Execution, signed: SignedTransaction, index: int) -> TransactionResult:
    """Run a transaction's commands on its draft. The caller takes over the draft of one that took effect, no other."""
    try:
        for command in signed.transaction.commands:
            run.outputs.append(HANDLERS[type(command)](run, command))
    except (Rejected, BlobTooLarge) as refusal:
        return TransactionResult(run.digest, run.height, index, refusal.code, str(refusal), ())
    run.announce_changes()
    return TransactionResult(run.digest, run.height, index, "", "", tuple(run.outputs))


def number_events(
    bodies: Sequence[tuple[int, EventBody]], first_sequence: int, height: int, tx_index: int, time_ms: int
) -> list[Event]:
    """Give events, with the epochs in which they happened, their place in history."""
    return [Event(first_sequence + i, height, tx_index, time_ms, epoch, body) for i, (epoch, body) in enumerate(bodies)]


def finish_block(
    view: View,
    draft: Draft,
    parent: BlockHeader | None,
    params: Params,
    protocol_version: int,
    height: int,
    time_ms: int,
    transactions: Sequence[bytes],
    results: Sequence[TransactionResult],
    events: Sequence[Event],
    inadmissible: Sequence[tuple[int, str]] = (),
) -> BlockOut:
    """Compute the roots over what a block did, and put its header together; `parent` is None for genesis."""
    # What came and went within the block was never there: it needs no row, and no place in the tree.
    writes = {key: value for key, value in draft.writes.items() if value is not None or view.get(key) is not None}
    changed = {key: value for key, value in writes.items() if keys.is_committed(key)}
    state_root, tree_writes = tree.update(view, changed)
    history_root, history_writes = tree.EMPTY_ROOT, dict[bytes, bytes]()
    if parent is not None:
        history_root, history_writes = history.append(view, parent.height, parent.digest())
    encoded_results = tuple(bcs.encode(result) for result in results)
    encoded_events = tuple(bcs.encode(event) for event in events)
    header = BlockHeader(
        version=HEADER_VERSION,
        protocol_version=protocol_version,
        chain_id=params.chain_id,
        height=height,
        time_ms=time_ms,
        previous_digest=bytes(32) if parent is None else parent.digest(),
        transactions_root=compute_transactions_root(transactions),
        outcomes_root=compute_outcomes_root(encoded_results, encoded_events),
        state_root=state_root,
        history_root=history_root,
    )
    return BlockOut(
        header=header,
        transactions=tuple(transactions),
        results=tuple(results),
        events=tuple(events),
        writes={**writes, **tree_writes, **history_writes},
        inadmissible=tuple(inadmissible),
        encoded_results=encoded_results,
        encoded_events=encoded_events,
    )


def _forget_receipts(draft: Draft, time_ms: int, limit: int) -> None:
    """Drop receipts of expired transactions: more than a block adds, and never very many at once."""
    start, end = keys.expired_receipts(time_ms)
    for key, _ in list(draft.scan(start, end, limit=limit)):
        draft.put(key, None)
