"""Certificates: one message, one aggregate signature, and a bitmap of who signed.

Member `i` of the committee is bit `i mod 8`, least significant first, of byte `i // 8`. Missing bytes are zeros;
bytes and bits beyond the members are refused. Weight is counted in shards. Source: Walrus's contracts,
`bls_aggregate.move`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from haulout.bcs import Bytes96
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import Rejected


@dataclass(eq=False)
class InvalidBitmap(Rejected):
    """The bitmap of signers does not fit the committee."""

    code = "INVALID_BITMAP"
    template = "the bitmap of signers does not fit a committee of {n_members} members"
    n_members: int


@dataclass(eq=False)
class NotEnoughStake(Rejected):
    """The signers' shards do not reach the threshold."""

    code = "NOT_ENOUGH_STAKE"
    template = "the signers hold {weight} of {n_shards} shards, which is not enough"
    weight: int
    n_shards: int


@dataclass(eq=False)
class SignatureInvalid(Rejected):
    """The aggregate signature is not the signers' signature of the message."""

    code = "SIG_VERIFICATION"
    template = "the aggregate signature does not verify"


@dataclass(frozen=True, slots=True)
class Signer:
    """A committee member as certificates see it."""

    public_key: bytes
    weight: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """A message, the sum of its signers' signatures, and who they are."""

    message: bytes
    signature: Bytes96
    signers: bytes  # bitmap over the committee's members


def bitmap_of(signers: Iterable[int]) -> bytes:
    """The shortest bitmap with these members set."""
    bitmap = bytearray()
    for index in sorted(set(signers)):
        bitmap.extend(bytes(index // 8 + 1 - len(bitmap)))
        bitmap[index // 8] |= 1 << (index % 8)
    return bytes(bitmap)


def signers_of(bitmap: bytes, n_members: int) -> list[int]:
    """Members that are set in a bitmap, ascending.

    Raises:
        InvalidBitmap: longer than the members, or a bit beyond them.
    """
    if len(bitmap) > -(-n_members // 8):
        raise InvalidBitmap(n_members=n_members)
    indices = [8 * at + bit for at, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]
    if indices and indices[-1] >= n_members:
        raise InvalidBitmap(n_members=n_members)
    return indices


def check_certificate(
    scheme: SignatureScheme,
    members: Sequence[Signer],
    *,
    message: bytes,
    signature: bytes,
    bitmap: bytes,
    is_enough: Callable[[int, int], bool],
) -> int:
    """The weight behind a certificate, in shards.

    Args:
        members: the committee in its order.
        is_enough: the threshold on (weight, n_shards), as `primitives.is_quorum`.

    Raises:
        InvalidBitmap, NotEnoughStake, SignatureInvalid: in this order.
    """
    n_shards = sum(member.weight for member in members)
    signers = [members[index] for index in signers_of(bitmap, len(members))]
    weight = sum(member.weight for member in signers)
    if not is_enough(weight, n_shards):
        raise NotEnoughStake(weight=weight, n_shards=n_shards)
    if not scheme.verify_aggregate([member.public_key for member in signers], message, signature):
        raise SignatureInvalid()
    return weight
