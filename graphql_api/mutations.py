"""What can be changed: the root of all mutations, put together from their domains."""

from __future__ import annotations

from typing import Annotated

import strawberry

from graphql_api import blob_mutations as b
from graphql_api import stake_mutations as s
from graphql_api import storage_mutations as r
from graphql_api.access import Scope
from graphql_api.cluster import DrainNodeInput, ScaleClusterInput, drain_node, scale_cluster
from graphql_api.context import Info
from graphql_api.guard import mutation
from graphql_api.operations import CreateUploadInput, CreateUploadPayload, OperationPayload, create_upload
from graphql_api.retention import RetentionInput, RetentionPayload, set_retention
from graphql_api.tokens import CreateTokenInput, RevokeTokenInput, TokenPayload, create_token, revoke
from graphql_api.transactions import ExecuteTransactionInput, ExecuteTransactionPayload, execute_transaction

INPUT = strawberry.argument(description="What is to be done.")


@strawberry.type(
    description="Everything that can be changed. What is refused is in `userErrors`, and has changed nothing."
)
class Mutation:
    @mutation(Scope.ADMIN, "Make a bearer token.")
    async def create_token(self, info: Info, input: Annotated[CreateTokenInput, INPUT]) -> TokenPayload:
        return await create_token(info, input)

    @mutation(Scope.ADMIN, "End a bearer token, at once and for good.")
    async def revoke_token(self, info: Info, input: Annotated[RevokeTokenInput, INPUT]) -> TokenPayload:
        return await revoke(info, input)

    # --- blobs and storage ----------------------------------------------------------------------------------

    @mutation(Scope.WRITE_BLOB, "Hand in a transaction that the caller has signed; it is paid by the caller's account.")
    async def execute_transaction(
        self, info: Info, input: Annotated[ExecuteTransactionInput, INPUT]
    ) -> ExecuteTransactionPayload:
        return await execute_transaction(info, input)

    @mutation(
        Scope.WRITE_BLOB,
        "Get a URL to put a blob to, and an operation that tells how far it is; the gateway's account pays, and the "
        "object becomes the server's account's.",
    )
    async def create_upload(self, info: Info, input: Annotated[CreateUploadInput, INPUT]) -> CreateUploadPayload:
        return await create_upload(info, input)

    @mutation(Scope.WRITE_BLOB, "Store a small blob: encode it, bring it to the nodes, certify it.")
    async def store_inline(self, info: Info, input: Annotated[b.StoreInlineInput, INPUT]) -> b.StorePayload:
        return await b.store_inline(info, input)

    @mutation(Scope.WRITE_BLOB, "Buy storage.")
    async def reserve_storage(self, info: Info, input: Annotated[r.ReserveStorageInput, INPUT]) -> r.ReservationPayload:
        return await r.reserve_storage(info, input)

    @mutation(Scope.WRITE_BLOB, "Cut storage that no blob uses in two, in time or in size.")
    async def split_storage(self, info: Info, input: Annotated[r.SplitStorageInput, INPUT]) -> r.ReservationPayload:
        return await r.split_storage(info, input)

    @mutation(Scope.WRITE_BLOB, "Put storage that no blob uses together.")
    async def merge_storage(self, info: Info, input: Annotated[r.MergeStorageInput, INPUT]) -> r.ReservationPayload:
        return await r.merge_storage(info, input)

    @mutation(Scope.WRITE_BLOB, "Register a blob that the caller has encoded; it can be brought to the nodes then.")
    async def register_blob(self, info: Info, input: Annotated[b.RegisterBlobInput, INPUT]) -> b.BlobObjectPayload:
        return await b.register_blob(info, input)

    @mutation(Scope.WRITE_BLOB, "Certify a registered blob with the confirmations of a quorum.")
    async def certify_blob(self, info: Info, input: Annotated[b.CertifyBlobInput, INPUT]) -> b.BlobObjectPayload:
        return await b.certify_blob(info, input)

    @mutation(Scope.WRITE_BLOB, "Keep a certified blob longer.")
    async def extend_blob(self, info: Info, input: Annotated[b.ExtendBlobInput, INPUT]) -> b.BlobObjectPayload:
        return await b.extend_blob(info, input)

    @mutation(Scope.WRITE_BLOB, "Delete deletable blob objects; their storage is free for use again.")
    async def delete_blobs(self, info: Info, input: Annotated[b.ObjectsInput, INPUT]) -> b.DeletePayload:
        return await b.delete_blobs(info, input)

    @mutation(Scope.WRITE_BLOB, "Destroy blob objects with their storage; the bytes stay until their end.")
    async def burn_blobs(self, info: Info, input: Annotated[b.ObjectsInput, INPUT]) -> b.DeletePayload:
        return await b.burn_blobs(info, input)

    @mutation(Scope.WRITE_BLOB, "Hand a blob object over to another account.")
    async def transfer_blob(self, info: Info, input: Annotated[b.TransferBlobInput, INPUT]) -> b.BlobObjectPayload:
        return await b.transfer_blob(info, input)

    @mutation(
        Scope.WRITE_BLOB, "Give a blob object up to everybody: it belongs to nobody then, and there is no way back."
    )
    async def share_blob(self, info: Info, input: Annotated[b.ShareBlobInput, INPUT]) -> b.BlobObjectPayload:
        return await b.share_blob(info, input)

    @mutation(Scope.WRITE_BLOB, "Put tokens into a shared blob object, from which anyone may extend it.")
    async def fund_shared_blob(self, info: Info, input: Annotated[b.FundSharedBlobInput, INPUT]) -> b.BlobObjectPayload:
        return await b.fund_shared_blob(info, input)

    @mutation(Scope.WRITE_BLOB, "Add, replace and remove attributes of a blob object.")
    async def set_blob_attributes(
        self, info: Info, input: Annotated[b.SetBlobAttributesInput, INPUT]
    ) -> b.BlobObjectPayload:
        return await b.set_blob_attributes(info, input)

    @mutation(Scope.WRITE_BLOB, "Have a blob object extended whenever its time runs out, or end that.")
    async def set_retention(self, info: Info, input: Annotated[RetentionInput, INPUT]) -> RetentionPayload:
        return await set_retention(info, input)

    # --- stake and epochs -----------------------------------------------------------------------------------

    @mutation(Scope.STAKE, "Lock tokens in a node's pool: it gets more shards, and the account a part of its rewards.")
    async def stake(self, info: Info, input: Annotated[s.StakeInput, INPUT]) -> s.StakePayload:
        return await s.stake(info, input)

    @mutation(Scope.STAKE, "Have a stake leave its pool with a later epoch; it earns until then.")
    async def request_unstake(self, info: Info, input: Annotated[s.RequestUnstakeInput, INPUT]) -> s.StakePayload:
        return await s.request_unstake(info, input)

    @mutation(Scope.STAKE, "Pay a stake out with its rewards, once its epoch has come.")
    async def withdraw_stake(self, info: Info, input: Annotated[s.WithdrawStakeInput, INPUT]) -> s.AccountPayload:
        return await s.withdraw_stake(info, input)

    @mutation(Scope.STAKE, "Give tokens to another account.")
    async def transfer_funds(self, info: Info, input: Annotated[s.TransferFundsInput, INPUT]) -> s.AccountPayload:
        return await s.transfer_funds(info, input)

    @mutation(Scope.OPERATE, "Begin the next epoch now, on a network whose epochs are advanced by hand.")
    async def advance_epoch(self, info: Info, input: Annotated[s.AdvanceEpochInput, INPUT]) -> s.EpochPayload:
        return await s.advance_epoch(info, input)

    # --- the cluster ----------------------------------------------------------------------------------------

    @mutation(Scope.OPERATE, "Have a storage node hand over all it has and leave; refused when the rest is too small.")
    async def drain_node(self, info: Info, input: Annotated[DrainNodeInput, INPUT]) -> OperationPayload:
        return await drain_node(info, input)

    @mutation(Scope.ADMIN, "Have another number of storage nodes: they join, or hand over and leave, one by one.")
    async def scale_cluster(self, info: Info, input: Annotated[ScaleClusterInput, INPUT]) -> OperationPayload:
        return await scale_cluster(info, input)
