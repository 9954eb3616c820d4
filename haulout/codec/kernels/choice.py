"""Which kernels serve: plain numpy from the start, native ones when somebody has warmed them up.

    numpy ── warm_up() ──► native        compiled or loaded from the cache, compared with the plain ones, then in place
      ▲                       │
      └────── use_numpy() ────┘

Compiling takes about eight seconds on a core, loading from the cache one or two. Services call `warm_up` in a worker
thread when they start and are served by numpy meanwhile; the results are equal. Environment and folders are the
business of composition roots (`haulout.world.kernels`): here everything comes by argument. What computes is imported by
the functions: a process that starts asks what serves, and must not pay for numpy.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from haulout.codec.errors import KernelsDisagree, UnknownKernels

if TYPE_CHECKING:
    from haulout.codec import gf8, reed_solomon
    from haulout.crypto import batch


class Kernels(enum.Enum):
    """What computes."""

    NUMPY = "numpy"
    NATIVE = "native"


@dataclass(frozen=True, slots=True)
class Status:
    """What computes here, and why."""

    kernels: Kernels
    detail: str  # instructions in use, or the reason for numpy; for people

    def __str__(self) -> str:
        return f"{self.kernels.value} ({self.detail})"


_NOT_WARM: Final = Status(Kernels.NUMPY, "native kernels were not loaded")
_status = _NOT_WARM


def describe() -> Status:
    """What computes now."""
    return _status


def parse_kernels(name: str) -> Kernels:
    """The choice of a user.

    Raises:
        UnknownKernels: neither `numpy` nor `native`.
    """
    try:
        return Kernels(name)
    except ValueError as e:
        raise UnknownKernels(name=name) from e


def is_available() -> bool:
    """Whether numba is installed; whether it serves this CPU is known after `warm_up`."""
    return find_spec("numba") is not None


def use_numpy(reason: str = _NOT_WARM.detail) -> Status:
    """Compute with numpy from now on; calls that run finish as they began."""
    from haulout.codec import gf8, reed_solomon
    from haulout.crypto import batch

    global _status
    batch.use(None)
    reed_solomon.use(None)
    gf8.use(None)
    _status = Status(Kernels.NUMPY, reason)
    return _status


def warm_up(cache_folder: str | None = None) -> Status:
    """Compile the native kernels or load them from numba's cache, compare them with the plain ones and use them.

    Takes seconds and most of them with the interpreter lock: for worker threads and for large inputs.

    Args:
        cache_folder: where compiled code is kept; None leaves it to numba (`NUMBA_CACHE_DIR`, or beside the sources).

    Returns:
        What computes now: numpy, with the reason, where there is no numba or no kernel for this CPU.

    Raises:
        KernelsDisagree: a kernel computed something else than the plain version; numpy goes on serving.
    """
    global _status
    if _status.kernels is Kernels.NATIVE:
        return _status
    from haulout.codec import gf8, reed_solomon
    from haulout.crypto import batch

    try:
        import numba

        if cache_folder is not None:
            # read when the functions below are declared
            numba.config.CACHE_DIR = cache_folder  # type: ignore[attr-defined]
        from haulout.codec.kernels import gf8 as native_gf8
        from haulout.codec.kernels import strips
        from haulout.crypto import blake2b_lanes, simd
    except ImportError as e:
        return use_numpy(f"no native kernels here: {e}")
    _compare_hashes(blake2b_lanes)
    _compare_codes(strips)
    _compare_products(native_gf8.multiply)
    batch.use(blake2b_lanes)
    reed_solomon.use(strips)
    gf8.use(native_gf8.multiply)
    _status = Status(Kernels.NATIVE, f"{simd.describe_instruction_set()}, numba {numba.__version__}")
    return _status


def _compare_hashes(kernels: batch.NativeHashes) -> None:
    """Hash eleven messages of two blocks, one group of lanes and a rest, and the trees over the digests.

    Raises:
        KernelsDisagree: with other digests than `hashlib`.
    """
    import numpy as np

    from haulout.crypto import batch

    rows = np.arange(11 * 200, dtype=np.uint32).astype(np.uint8).reshape(1, 11, 200)
    digests, roots = np.zeros((2, 1, 11, batch.DIGEST_BYTES), np.uint8), np.zeros((2, 1, batch.DIGEST_BYTES), np.uint8)
    kernels.hash_rows(rows, digests[0], 1)
    batch.hash_rows_plainly(rows, digests[1], 1)
    kernels.compute_roots(digests[0], roots[0])
    batch.compute_roots_plainly(digests[1], roots[1])
    if (digests[0] != digests[1]).any() or (roots[0] != roots[1]).any():
        raise KernelsDisagree(kernel="BLAKE2b")


def _compare_codes(kernels: reed_solomon.NativeKernels) -> None:
    """Encode three words at low and at high rate and decode them from their last symbols.

    Raises:
        KernelsDisagree: with other symbols than the plain version, or not with the source symbols.
    """
    import numpy as np

    from haulout.codec import reed_solomon

    for n_source in (9, 17):
        code = reed_solomon.Code(n_source, 25)
        word = np.arange(25 * 3 * 70, dtype=np.uint32).astype(np.uint8).reshape(25, 3, 70)
        source, repair = word[:n_source], np.empty_like(word[n_source:])
        code.encode_plainly(source, word[n_source:])
        kernels.encode(source, repair, chunk=code.chunk, is_high_rate=code.is_high_rate)
        agree = bool((repair == word[n_source:]).all())
        decoder = code.decoder(range(25 - n_source, 25))
        for by_matrix in (False, True):
            found = np.empty((len(decoder.missing), 3, 70), np.uint8)
            decoder.native(kernels, by_matrix=by_matrix).decode(list(word[-n_source:]), list(found))
            agree = agree and bool((found == source[list(decoder.missing)]).all())
        if not agree:
            raise KernelsDisagree(kernel="GF(2^16)")


def _compare_products(multiply: gf8.Multiply) -> None:
    """Multiply five inputs to seven outputs, in rows of whole tiles, of chunks and of a rest.

    Raises:
        KernelsDisagree: with other products than the plain version.
    """
    import numpy as np

    from haulout.codec import gf8

    values = np.arange(1, 36, dtype=np.uint8).reshape(7, 5) * np.uint8(7)
    source = np.arange(5 * 2 * 1610, dtype=np.uint32).astype(np.uint8).reshape(5, 2, 1610)
    plain, native = np.empty((7, 2, 1610), np.uint8), np.empty((7, 2, 1610), np.uint8)
    gf8.multiply_plainly(gf8.Matrix(values), list(source), list(plain))
    multiply(gf8.Matrix(values), list(source), list(native))
    if not np.array_equal(plain, native):
        raise KernelsDisagree(kernel="GF(2^8)")
