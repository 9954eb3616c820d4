"""A live network of real processes on loopback: what a person does, and `kill -9` in the middle of it."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import fresh_http

pytestmark = pytest.mark.timeout(300)

LiveNetwork = Any  # of conftest.py, which cannot be imported


def random_bytes(size: int, seed: int) -> bytes:
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


@pytest.fixture(scope="module")
def network(start_network: Callable[..., LiveNetwork]) -> LiveNetwork:
    return start_network("--no-restart")


def test_a_file_goes_in_by_the_command_line_and_comes_out_by_http(network: LiveNetwork, tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(random_bytes(1_000_003, 1))
    [answer] = network.json("store", str(source), "--epochs", "5")
    blob_id = answer["blobStoreResult"]["newlyCreated"]["blobObject"]["blobId"]
    response = network.read(blob_id)
    assert response.status_code == 200
    assert response.content == source.read_bytes()
    assert response.headers["etag"] == f'"{blob_id}"'


def test_a_body_put_by_http_is_read_by_the_command_line(network: LiveNetwork, tmp_path: Path) -> None:
    data = random_bytes(300_000, 2)
    blob_id = network.store(data)
    target = tmp_path / "out"
    network.run("read", blob_id, "--out", str(target))
    assert target.read_bytes() == data


def test_info_is_the_same_by_http_and_by_the_command_line(network: LiveNetwork) -> None:
    assert fresh_http.get(f"{network.gateway}/v1/info").json() == network.json("info")


def test_every_process_has_metrics_and_says_that_it_is_ready(network: LiveNetwork) -> None:
    urls = [process["urls"]["metrics"] for process in network.status().values()]
    base = int(network.gateway.rpartition(":")[2])
    supervisor = f"http://127.0.0.1:{base + 103}/metrics"
    for metrics in (*urls, supervisor):
        assert fresh_http.get(metrics.replace("metrics", "readyz")).json() == {"ok": True, "reasons": []}
        samples = [line for line in fresh_http.get(metrics).text.splitlines() if not line.startswith("#")]
        assert "haulout_ready 1.0" in samples
        assert [line for line in samples if not line.startswith("haulout_")] == []
    assert 'haulout_supervisor_process_ready{process="node-4"} 1.0' in fresh_http.get(supervisor).text


CREATE_UPLOAD = """mutation { createUpload(input: {epochs: 3}) {
  uploadUrl operation { id phase } userErrors { code message } } }"""
OPERATION = """query ($id: ID!) { operation(id: $id) { phase error { code }
  perNode { weight hasConfirmed node { name } } blob { blobId state } } }"""
KEEP = """mutation ($id: ObjectID!) { setRetention(input: {objectId: $id, keepEpochs: 7}) {
  object { retention { keepEpochs } } userErrors { code message } } }"""


def test_a_link_from_graphql_is_uploaded_to_and_followed(network: LiveNetwork) -> None:
    secret = network.ask("token", "create", "uploads", "--scope", "WRITE_BLOB")["secret"]
    url = network.graphql

    def ask(query: str, **variables: str) -> Any:
        headers = {"authorization": f"Bearer {secret}"}
        body = {"query": query, "variables": variables}
        answer = fresh_http.post(url, json=body, headers=headers, timeout=30).json()
        assert "errors" not in answer, answer
        return answer["data"]

    made = ask(CREATE_UPLOAD)["createUpload"]
    assert made["userErrors"] == []
    assert made["operation"]["phase"] == "WAITING"
    stored = fresh_http.put(made["uploadUrl"], content=random_bytes(70_000, 9), timeout=60).json()
    blob_id = stored["newlyCreated"]["blobObject"]["blobId"]
    deadline = time.monotonic() + 20
    while True:
        operation = ask(OPERATION, id=made["operation"]["id"])["operation"]
        if operation["blob"] is not None or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert (operation["phase"], operation["error"]) == ("DONE", None)
    assert operation["blob"] == {"blobId": blob_id, "state": "CERTIFIED"}
    assert sum(node["weight"] for node in operation["perNode"] if node["hasConfirmed"]) >= 67
    assert {node["node"]["name"] for node in operation["perNode"]} == {f"node-{i}" for i in range(5)}
    # The gateway has paid, and the object is there to be kept: it belongs to the account that GraphQL signs with.
    kept = ask(KEEP, id=stored["newlyCreated"]["blobObject"]["id"])["setRetention"]
    assert kept == {"object": {"retention": {"keepEpochs": 7}}, "userErrors": []}


CLUSTER = "{ cluster { ready processes { name role } conditions { type status } } }"
SCALE = """mutation ($n: Int!) { scaleCluster(input: {nodes: $n}) {
  operation { kind phase doneParts totalParts } userErrors { code } } }"""


def test_graphql_asks_the_supervisor_who_runs_and_how_many(network: LiveNetwork) -> None:
    secret = network.ask("token", "create", "steering", "--scope", "ADMIN")["secret"]

    def ask(query: str, **variables: int) -> Any:
        headers = {"authorization": f"Bearer {secret}"}
        body = {"query": query, "variables": variables}
        answer = fresh_http.post(network.graphql, json=body, headers=headers, timeout=30).json()
        assert "errors" not in answer, answer
        return answer["data"]

    cluster = ask(CLUSTER)["cluster"]
    assert sorted(process["name"] for process in cluster["processes"]) == [
        "gateway",
        "graphql",
        "ledger",
        *(f"node-{i}" for i in range(5)),
    ]
    assert {"type": "ScalingBlocked", "status": False} in cluster["conditions"]
    assert ask(SCALE, n=2)["scaleCluster"] == {"operation": None, "userErrors": [{"code": "BELOW_MIN_NODES"}]}
    operation = ask(SCALE, n=5)["scaleCluster"]["operation"]
    assert (operation["kind"], operation["doneParts"], operation["totalParts"]) == ("SCALE_CLUSTER", 5, 5)


def test_an_empty_blob_is_a_blob(network: LiveNetwork) -> None:
    assert network.read(network.store(b"")).content == b""


def test_ranges_and_conditions(network: LiveNetwork) -> None:
    data = random_bytes(500_000, 3)
    blob_id = network.store(data)
    url = f"{network.gateway}/v1/blobs/{blob_id}"
    part = fresh_http.get(url, headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, data[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(data)}"
    assert fresh_http.get(url, headers={"range": "bytes=-10"}).content == data[-10:]
    assert fresh_http.get(url, headers={"range": f"bytes={len(data)}-"}).status_code == 416
    assert fresh_http.get(url, headers={"if-none-match": f'"{blob_id}"'}).status_code == 304
    head = httpx.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))


def test_the_second_store_of_the_same_bytes_pays_nothing(network: LiveNetwork) -> None:
    data = random_bytes(10_000, 4)
    network.store(data)
    assert "alreadyCertified" in network.put(data).json()


def test_graphql_shows_the_certificate(network: LiveNetwork) -> None:
    blob_id = network.store(random_bytes(20_000, 5))
    query = "query($id: BlobID!) { blob(blobId: $id) { blobId certificate { weight quorumThreshold } } }"

    def found() -> bool:
        answer = fresh_http.post(network.graphql, json={"query": query, "variables": {"id": blob_id}}).json()
        blob = answer["data"]["blob"]
        return blob is not None and blob["certificate"] is not None and blob["certificate"]["weight"] >= 67

    network.wait(found, timeout_s=5)


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/v1/blobs/not-a-blob-id", 400, "MALFORMED_REQUEST"),
        ("GET", "/v1/blobs/" + "A" * 43, 404, "BLOB_NOT_FOUND"),
        ("PUT", "/v1/blobs?epochs=0", 400, "INVALID_EPOCHS"),
        ("PUT", "/v1/blobs?epochs=5&colour=red", 400, "MALFORMED_REQUEST"),
        ("PUT", "/v1/blobs?deletable=true&permanent=true", 400, "INVALID_BLOB_PERSISTENCE"),
        ("GET", "/v1/nothing", 404, "ROUTE_NOT_FOUND"),
    ],
)
def test_bad_input_gets_a_coded_error(network: LiveNetwork, method: str, path: str, status: int, reason: str) -> None:
    response = httpx.request(method, network.gateway + path, content=b"x" if method == "PUT" else None)
    assert response.status_code == status
    assert response.json()["error"]["details"][0]["reason"] == reason
    assert response.headers["cache-control"] == "no-store"


def test_a_blob_over_the_maximum_is_refused_before_it_is_sent(network: LiveNetwork) -> None:
    limit = network.json("info")["sizeInfo"]["maxBlobSize"]
    host, port = network.gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"PUT /v1/blobs HTTP/1.1\r\nhost: {host}\r\ncontent-length: {limit + 1}\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 413")
    assert str(limit).encode() in answer


def test_dead_nodes(network: LiveNetwork) -> None:
    """1 dead: reads and writes. 2 or 3: reads. 4: neither. All back: everything, nothing lost."""
    data = random_bytes(400_000, 6)
    blob_id = network.store(data)
    network.wait_complete()

    network.kill("node-4")
    assert network.read(blob_id).content == data
    missed = random_bytes(100_000, 7)
    missed_id = network.store(missed)
    assert network.read("B" * 42 + "A").status_code == 404

    network.kill("node-3")
    assert network.read(blob_id).content == data
    started = time.monotonic()
    refused = network.put(random_bytes(50_000, 8))
    assert refused.status_code == 504
    assert refused.json()["error"]["details"][0]["reason"] == "INSUFFICIENT_CONFIRMATIONS"
    assert time.monotonic() - started < 25

    network.kill("node-2")
    assert network.read(blob_id).content == data

    network.kill("node-1")
    fresh = fresh_http.get(f"{network.gateway}/v1/blobs/{blob_id}?strict_consistency_check=true", timeout=60)
    assert fresh.status_code == 503
    assert fresh.json()["error"]["details"][0]["reason"] == "BLOB_UNAVAILABLE"

    network.start("node-1", "node-2", "node-3", "node-4")
    assert network.read(blob_id).content == data
    assert network.put(random_bytes(50_000, 8)).status_code == 200
    network.wait_complete()
    network.kill("node-0", "node-1", "node-2")
    assert network.read(missed_id).content == missed
    network.start("node-0", "node-1", "node-2")


def test_a_node_killed_in_the_middle_of_an_upload_costs_nothing(network: LiveNetwork) -> None:
    data = random_bytes(8_000_000, 9)
    killer = threading.Timer(1.0, network.kill, args=("node-2",))
    killer.start()
    blob_id = network.store(data)
    killer.join()
    assert network.read(blob_id).content == data
    network.start("node-2")
    network.wait_complete()


def test_the_ledger_comes_back_where_it_was(network: LiveNetwork) -> None:
    blob_id = network.store(random_bytes(5_000, 10))
    network.kill("ledger", "gateway", "graphql")
    network.start("ledger", "gateway", "graphql")
    assert network.read(blob_id).content == random_bytes(5_000, 10)
    network.store(random_bytes(5_000, 11))


def test_a_second_supervisor_is_refused(network: LiveNetwork) -> None:
    refused = network.run("up", "--detach", check=False)
    assert refused.returncode == 3
    assert "NETWORK_RUNNING" in refused.stderr


def test_moves_to_other_ports_when_its_own_are_taken(network: LiveNetwork) -> None:
    """The nodes' addresses are on the ledger; after the move it names the new ones."""
    data = random_bytes(30_000, 12)
    blob_id = network.store(data)
    network.run("down")
    host, port = network.gateway.removeprefix("http://").split(":")
    with socket.create_server((host, int(port))):
        network.run("up", "--detach", "--no-restart")
    assert not network.gateway.endswith(f":{port}")
    assert network.read(blob_id).content == data
    network.store(random_bytes(30_000, 13))
