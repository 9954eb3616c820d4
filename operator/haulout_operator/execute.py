"""Carries actions out, one by one; what fails is told by its subject and keeps nobody else waiting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError
from haulout.observability.logs import get_logger
from haulout.ports import Clock, Ledger, Rng
from haulout_operator.actions import (
    Action,
    ActivateProtocol,
    AddFinalizer,
    AdvanceEpoch,
    Apply,
    CancelLeave,
    Create,
    CreateGenesis,
    CreateNodeKeys,
    CreateToken,
    CreateWallet,
    Delete,
    DropFinalizer,
    RegisterNode,
    RequestLeave,
    StakeNode,
    VoteCapacity,
    WithdrawStake,
    describe,
)
from haulout_operator.failpoints import Failpoints, around_action
from haulout_operator.genesis import FirstAccounts, FirstNode, build_network_genesis, problem_of
from haulout_operator.identity import (
    address_of,
    make_node_keys,
    node_secret_data,
    read_node_keys,
    read_wallet,
    token_secret_data,
    wallet_secret_data,
)
from haulout_operator.kube import Kube, Manifest, ObjectConflict, ObjectMissing
from haulout_operator.ledger import LedgerDesk
from haulout_operator.manifests.ledger import build_genesis_map
from haulout_operator.models.base import API_VERSION
from haulout_operator.names import FINALIZER, keys_name, node_address, treasury_name
from haulout_operator.observed import Observed, Subject
from haulout_operator.planning.network import wallet_names
from haulout_operator.planning.place import place_of

log = get_logger("operator")


class Executor:
    """Does what the planner asks for."""

    def __init__(
        self,
        kube: Kube,
        desk: LedgerDesk,
        *,
        scheme: SignatureScheme,
        clock: Clock,
        rng: Rng,
        failpoints: Failpoints,
    ) -> None:
        self._kube = kube
        self._desk = desk
        self._scheme = scheme
        self._failpoints = failpoints
        self._clock = clock
        self._rng = rng

    async def run(self, observed: Observed, actions: Iterable[Action]) -> dict[Subject, str]:
        """Carry out actions in order; returns what failed, by subject. A subject's later actions wait for its first."""
        failures: dict[Subject, str] = {}
        for action in actions:
            if action.subject in failures:
                continue
            try:
                await self._pass(observed, action)
            except ObjectConflict as e:
                log.info("somebody was faster", action=describe(action), problem=str(e))
                failures[action.subject] = ""  # seen anew in the next round
            except HauloutError as e:
                log.warning("action failed", action=describe(action), code=e.code, problem=str(e))
                failures[action.subject] = problem_of(e)
            else:
                log.info("done", action=describe(action), subject=f"{action.subject.kind}/{action.subject.name}")
        return failures

    async def _pass(self, observed: Observed, action: Action) -> None:
        """Carry an action out between its failpoints."""
        around, genesis = around_action(action), observed.genesis
        if genesis is not None:
            self._failpoints.reach(around.before, genesis.chain_id)
        await self._do(observed, action)
        if genesis is not None:
            self._failpoints.reach(around.after, genesis.chain_id)

    async def _do(self, observed: Observed, action: Action) -> None:
        namespace = observed.namespace
        match action:
            case Apply(manifest=manifest):
                await self._kube.apply(manifest)
            case Create(manifest=manifest):
                await self._create(manifest)
            case Delete(api_version=api_version, kind=kind, name=name, uid=uid):
                await self._kube.delete(api_version, kind, namespace, name, uid=uid)
            case AddFinalizer(subject=subject, uid=uid):
                await self._set_finalizer(namespace, subject, uid, present=True)
            case DropFinalizer(subject=subject, uid=uid):
                await self._set_finalizer(namespace, subject, uid, present=False)
            case CreateNodeKeys(node=node, labels=labels):
                keys = make_node_keys(node, self._rng, self._scheme)
                await self._create(_secret(namespace, keys_name(node), dict(labels), node_secret_data(keys)))
            case CreateWallet(name=name, labels=labels):
                data = wallet_secret_data(self._rng.random_bytes(32))
                await self._create(_secret(namespace, name, dict(labels), data))
            case CreateToken(name=name, labels=labels):
                data = token_secret_data(self._rng.random_bytes(32))
                await self._create(_secret(namespace, name, dict(labels), data))
            case CreateGenesis():
                await self._found(observed, action)
            case RegisterNode(node=node, capacity_bytes=capacity):
                await self._register(observed, node, capacity)
            case VoteCapacity():
                await self._vote_capacity(observed, action)
            case StakeNode() | RequestLeave() | CancelLeave() | WithdrawStake() | AdvanceEpoch() | ActivateProtocol():
                await self._ask_ledger(observed, action)

    async def _ask_ledger(
        self,
        observed: Observed,
        action: StakeNode | RequestLeave | CancelLeave | WithdrawStake | AdvanceEpoch | ActivateProtocol,
    ) -> None:
        ledger, genesis = self._desk.of(observed.network.name, observed.namespace), observed.genesis
        assert genesis is not None
        treasury = await self._treasury(observed)
        match action:
            case StakeNode(node_id=node_id, amount_frost=amount):
                await self._desk.stake(ledger, genesis, treasury, node_id=node_id, amount_frost=amount)
            case RequestLeave(node_id=node_id, epoch=epoch):
                await self._desk.request_leave(ledger, genesis, treasury, node_id=node_id, epoch=epoch)
            case CancelLeave(node_id=node_id, epoch=epoch):
                await self._desk.cancel_leave(ledger, genesis, treasury, node_id=node_id, epoch=epoch)
            case WithdrawStake(stake=stake):
                await self._desk.withdraw(ledger, genesis, treasury, stake=stake)
            case AdvanceEpoch(epoch=epoch):
                await self._desk.advance_epoch(ledger, genesis, treasury, epoch=epoch)
            case ActivateProtocol(version=version, start_epoch=epoch):
                await self._desk.activate_protocol(ledger, genesis, treasury, version=version, start_epoch=epoch)

    async def _create(self, manifest: Manifest) -> None:
        try:
            await self._kube.create(manifest)
        except ObjectConflict:
            log.info("exists already", kind=manifest["kind"], name=manifest["metadata"]["name"])

    async def _set_finalizer(self, namespace: str, subject: Subject, uid: str, *, present: bool) -> None:
        body = await self._kube.get(API_VERSION, subject.kind, namespace, subject.name)
        if body is None or body["metadata"]["uid"] != uid:
            return
        others = [one for one in body["metadata"].get("finalizers") or () if one != FINALIZER]
        finalizers = [*others, FINALIZER] if present else others
        version = body["metadata"]["resourceVersion"]
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": version}}
        try:
            await self._kube.patch(API_VERSION, subject.kind, namespace, subject.name, patch)
        except ObjectMissing:
            return

    async def _found(self, observed: Observed, action: CreateGenesis) -> None:
        names = wallet_names(observed.network.name)
        wallets = {role: read_wallet(await self._secret(observed, name)) for role, name in names.items()}
        nodes = [
            FirstNode(
                keys=read_node_keys(await self._secret(observed, keys_name(node.name))),
                stake_frost=node.stake_frost,
                capacity_bytes=node.capacity_bytes,
            )
            for node in action.nodes
        ]
        genesis = build_network_genesis(
            observed.network.spec,
            nodes,
            FirstAccounts(**{role: address_of(secret) for role, secret in wallets.items()}),
            namespace=observed.namespace,
            random=self._rng.random_bytes(32),
            now_ms=self._clock.now_ms(),
            scheme=self._scheme,
        )
        await self._create(build_genesis_map(place_of(observed), genesis))

    async def _register(self, observed: Observed, node: str, capacity_bytes: int) -> None:
        assert observed.genesis is not None
        keys = read_node_keys(await self._secret(observed, keys_name(node)))
        await self._desk.register(
            self._desk.of(observed.network.name, observed.namespace),
            observed.genesis,
            await self._treasury(observed),
            keys,
            address=node_address(node, observed.namespace),
            capacity_bytes=capacity_bytes,
        )

    async def _vote_capacity(self, observed: Observed, action: VoteCapacity) -> None:
        assert observed.genesis is not None
        keys = read_node_keys(await self._secret(observed, keys_name(action.node)))
        await self._desk.vote_capacity(
            self.ledger_of(observed),
            observed.genesis,
            keys.capability_secret,
            node_id=action.node_id,
            capacity_bytes=action.capacity_bytes,
        )

    def ledger_of(self, observed: Observed) -> Ledger:
        """The network's ledger."""
        return self._desk.of(observed.network.name, observed.namespace)

    async def treasury_of(self, observed: Observed) -> bytes:
        """The secret of the account that governs the nodes.

        Raises:
            HauloutError: it is not there, or cannot be read.
        """
        return await self._treasury(observed)

    async def _treasury(self, observed: Observed) -> bytes:
        return read_wallet(await self._secret(observed, treasury_name(observed.network.name)))

    async def _secret(self, observed: Observed, name: str) -> Mapping[str, Any]:
        body = await self._kube.get("v1", "Secret", observed.namespace, name)
        if body is None:
            raise ObjectMissing(what=f"secret/{name}")
        return body


def _secret(namespace: str, name: str, labels: Mapping[str, str], data: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "type": "Opaque",
        "immutable": True,
        "stringData": dict(data),
    }
