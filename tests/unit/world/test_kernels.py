"""Kernels as the environment asks for them, and where they are kept."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulout.codec.errors import UnknownKernels
from haulout.codec.kernels import choice
from haulout.codec.kernels.choice import Kernels
from haulout.world import kernels
from haulout.world.kernels import KernelSettings

pytest.importorskip("numba")


@pytest.fixture(autouse=True)
def plain_again() -> Iterator[None]:
    choice.use_numpy()
    yield
    choice.use_numpy()


def settings_of(folder: Path, **variables: str) -> KernelSettings:
    return KernelSettings.of({"NUMBA_CACHE_DIR": str(folder), **variables})


def test_native_kernels_are_the_default(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert settings.kernels is Kernels.NATIVE
    assert settings.cache_folder == tmp_path / kernels.kernels_digest()
    assert settings_of(settings.cache_folder).cache_folder == settings.cache_folder  # a child of who set it
    assert KernelSettings.of({"XDG_CACHE_HOME": "/c"}).cache_folder.parent == Path("/c/haulout/kernels")


def test_an_unknown_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownKernels, match="rust"):
        settings_of(tmp_path, HAULOUT_KERNELS="rust")


async def test_numpy_compiles_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, HAULOUT_KERNELS="numpy")
    await kernels.compile_kernels(settings)
    assert kernels.load_kernels(settings).kernels is Kernels.NUMPY
    assert kernels.describe_kernels(settings).startswith("numpy")
    assert not list(tmp_path.iterdir())


def test_a_small_blob_is_not_worth_loading(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert kernels.load_kernels_for(settings, kernels.WORTH_LOADING_BYTES, 4).kernels is Kernels.NUMPY
    settings.cache_folder.mkdir()
    (settings.cache_folder / kernels.WARM_FILE).write_text("native (of a test)")
    assert kernels.describe_kernels(settings) == "native (of a test)"
    assert kernels.load_kernels_for(settings, kernels.WORTH_LOADING_BYTES - 321, 4).kernels is Kernels.NUMPY


def test_a_folder_that_cannot_be_made_leaves_numpy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status = kernels.load_kernels(settings_of(tmp_path / "file"))
    assert status.kernels is Kernels.NUMPY
    assert "no folder" in status.detail


def test_one_process_at_a_time_loads(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with kernels.turn_to_load(settings) as first:
        assert first
        with kernels.turn_to_load(settings) as second:
            assert not second
    with kernels.turn_to_load(settings) as third:
        assert third


def test_without_a_folder_everybody_has_their_turn(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = settings_of(tmp_path / "file")
    with kernels.turn_to_load(settings) as first, kernels.turn_to_load(settings) as second:
        assert first and second


def test_without_numba_everything_stays_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert choice.warm_up().kernels is Kernels.NUMPY
    monkeypatch.setattr(choice, "is_available", lambda: False)
    settings = settings_of(tmp_path)
    assert kernels.load_kernels(settings).detail == "numba is not installed"
    assert kernels.describe_kernels(settings) == "numpy (numba is not installed)"
