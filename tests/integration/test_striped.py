"""A network of ten shards and blobs that RS2 cannot hold there: through the gateway, the command line and `kill -9`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import fresh_http

pytestmark = pytest.mark.timeout(300)

LiveNetwork = Any  # of conftest.py, which cannot be imported
SIZE = 3 << 20  # RS2 ends at 1.75 MiB, a stripe at 448 KiB


@pytest.fixture(scope="module")
def network(start_network: Callable[..., LiveNetwork]) -> LiveNetwork:
    return start_network("--shards", "10", "--no-restart")


def test_the_largest_blob_is_not_that_of_the_first_encoding(network: LiveNetwork) -> None:
    sizes = network.json("info")["sizeInfo"]
    assert (sizes["maxBlobSize"], sizes["encodingTypes"]) == (16 << 30, ["RS2", "RS8"])


def test_goes_in_and_comes_out(network: LiveNetwork, make_bytes: Callable[[int, int], bytes], tmp_path: Path) -> None:
    data = make_bytes(SIZE, 1)
    stored = network.put(data).json()["newlyCreated"]["blobObject"]
    assert stored["encodingType"] == "RS8"
    blob_id = stored["blobId"]
    source, target = tmp_path / "film", tmp_path / "copy"
    source.write_bytes(data)
    assert network.read(blob_id).content == data
    for start, end in ((0, 0), (458_751, 458_752), (1_000_000, 2_500_000), (SIZE - 1, SIZE - 1)):
        part = fresh_http.get(f"{network.gateway}/v1/blobs/{blob_id}", headers={"range": f"bytes={start}-{end}"})
        assert (part.status_code, part.content) == (206, data[start : end + 1])
    [quote] = network.json("store", str(source), "--epochs", "5", "--dry-run")
    assert quote["blobId"] == blob_id
    assert network.json("blob-status", "--file", str(source))["blobId"] == blob_id
    network.run("read", blob_id, "--out", str(target), "--strict-consistency-check")
    assert target.read_bytes() == data


def test_survives_dead_nodes_and_they_catch_up(network: LiveNetwork, make_bytes: Callable[[int, int], bytes]) -> None:
    """One of five is killed, the blob is stored without it; it comes back, rebuilds its slivers, and serves them."""
    network.kill("node-4")
    data = make_bytes(SIZE + 12_345, 2)
    blob_id = network.store(data)
    network.start("node-4")
    network.wait(lambda: network.status()["node-4"]["node"]["incompleteBlobs"] > 0 or _holds_as_much(network))
    network.wait(lambda: _holds_as_much(network), timeout_s=120)
    network.wait_complete()
    network.kill("node-0", "node-1", "node-2")
    assert network.read(blob_id).content == data
    part = fresh_http.get(
        f"{network.gateway}/v1/blobs/{blob_id}", headers={"range": "bytes=700000-1400000"}, timeout=60
    )
    assert part.content == data[700_000:1_400_001]
    network.start("node-0", "node-1", "node-2")


def _holds_as_much(network: LiveNetwork) -> bool:
    """Node 4 has as many slivers as node 3; both own two shards."""
    status = network.status()
    held = [status[name].get("node", {}).get("storedSlivers") for name in ("node-3", "node-4")]
    return held[0] is not None and held[0] == held[1]
