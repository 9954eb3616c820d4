"""Every test of the codec runs on every kind of kernels that this machine has."""

from collections.abc import Iterator

import pytest

from haulout.codec.kernels import choice
from haulout.codec.kernels.choice import Kernels


@pytest.fixture(autouse=True, params=[kernels.value for kernels in Kernels], scope="module")
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """What computes; numpy before and after."""
    chosen = Kernels(request.param)
    if chosen is Kernels.NATIVE and choice.warm_up().kernels is not chosen:
        pytest.skip(choice.describe().detail)
    yield chosen
    choice.use_numpy()
