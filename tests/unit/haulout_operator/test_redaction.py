"""The support bundle has what explains, and no secret wherever somebody may have put one."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from haulout_operator.redaction import redact, redact_log, redact_text
from haulout_operator.support_bundle import collect, pack

SECRET = "hunter2-Zm9vYmFy"
PEM = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "value",
    [
        {"env": [{"name": "GATEWAY_TOKEN", "value": SECRET}]},
        {"env": [{"name": "GATEWAY_TOKEN", "value": f"/{SECRET}"}]},  # no path, though it begins like one
        {"env": [{"name": "PGPASS", "value": SECRET}, {"name": "ENCRYPTION_KEY", "value": SECRET}]},
        {"env": [{"name": "URL", "value": f"redis://:{SECRET}@cache:6379/0"}]},
        {"env": [{"name": "URL", "value": f"postgresql://me:a/{SECRET}@db/x"}]},
        {"env": [{"name": "URL", "value": f"postgresql://me:a@{SECRET}@db/x"}]},
        {"env": [{"name": "URL", "value": f"https://db/x?sslmode=require&password={SECRET}"}]},
        {"args": [f"--token={SECRET}", "--password", SECRET]},
        {"command": ["sh", "-c", f"curl -H 'Authorization: Bearer {SECRET}' http://x"]},
        {"command": ["sh", "-c", f"login --api-key {SECRET} http://x"]},
        {"annotations": {"my/password": SECRET}},
        {"annotations": {"my/credentials": {"user": "me", "word": SECRET}}},
        {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"env": [
            {"name": "MY_SECRET", "value": SECRET}]})}},
        {"data": {"network.yaml": f"template:\n  extraEnv:\n    - name: MY_TOKEN\n      value: {SECRET}\n"}},
        {"data": {"app.properties": f"user=me\npassword={SECRET}\n"}},
        {"data": {"config.yml": f"password: {SECRET}\nbroken: [\n"}},
        {"data": {"tls.pem": PEM}},
        {"message": f"cannot log in with haulout_{SECRET.replace('-', '_')}aaaaaaaaaaaa"},
        {"message": f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI{SECRET}.abcdefgh"},
    ],
)  # fmt: skip
def test_no_secret_stays(value: Any) -> None:
    assert "hunter2" not in json.dumps(redact(value))


@pytest.mark.parametrize(
    "value",
    [
        {"env": [{"name": "HAULOUT_CONTROL_TOKEN_FILE", "value": "/etc/haulout/control/token"}]},
        {"env": [{"name": "HAULOUT_KEYS", "value": "/etc/haulout/keys/keys.json"}]},
        {"env": [{"name": "HAULOUT_LEDGER", "value": "main-ledger.demo.svc:9000"}]},
        {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "graphql-records", "key": "url"}}}]},
        {"volumes": [{"name": "keys", "secret": {"secretName": "main-abcd-keys", "defaultMode": 288}}]},
        {"imagePullSecrets": [{"name": "registry"}], "automountServiceAccountToken": False},
        {"graphql": {"recordsSecret": "graphql-records"}},
        {"tolerations": [{"key": "storage", "operator": "Exists"}]},
        {"message": "secret/main-abcd-keys is gone; nobody else has these keys. Next: restore it from a backup"},
        {"message": "ACCESS_REFUSED: secrets is forbidden: cannot get resource secrets in the namespace demo"},
        {"url": "http://main-gateway.demo.svc:8080/v1/blobs/abc"},
        {"digest": "sha256:0123456789abcdef", "chainId": "0xabcdef"},
    ],
)
def test_what_explains_stays(value: Any) -> None:
    assert redact(value) == value


def test_logs_lose_their_secrets_line_by_line() -> None:
    lines = [
        json.dumps({"event": "connecting", "url": f"postgresql://me:{SECRET}@db/x", "token": SECRET}),
        "{broken json",
        f"Authorization: Basic {SECRET}",
        "an ordinary line",
        *PEM.splitlines(),
    ]
    told = redact_log("\n".join(lines) + "\n")
    assert "hunter2" not in told
    assert "{broken json\n" in told
    assert "an ordinary line\n" in told
    assert json.loads(told.splitlines()[0])["event"] == "connecting"
    assert redact_text("Bearer abcdef0123456789") == "Bearer …"


def test_a_report_has_our_objects_and_logs_and_of_others_the_names() -> None:
    ours = {"haulout.dev/network": "main"}
    pods = [
        {"kind": "Pod", "metadata": {"name": "main-x-0", "labels": ours}, "spec": {"containers": [{"name": "node"}]}},
        {
            "kind": "Pod",
            "metadata": {"name": "epochs-1", "labels": {"app.kubernetes.io/component": "haulout-epochs"}},
            "spec": {"containers": [{"name": "epochs"}]},
        },
        {"kind": "Pod", "metadata": {"name": "shop-1"}, "spec": {"containers": [{"name": "shop", "args": [SECRET]}]}},
    ]
    maps = [{"kind": "ConfigMap", "metadata": {"name": "shop"}, "data": {"a": SECRET}}]
    asked: list[tuple[str, ...]] = []

    def kubectl(*arguments: str) -> str:
        asked.append(arguments)
        if arguments[0] == "logs":
            return f"connecting to postgresql://me:{SECRET}@db/x\n"
        if arguments[0] == "version":
            return "Server Version: v1.36.3\n"
        if arguments[1] == "snet":
            return "kubectl get snet: forbidden\n"
        return json.dumps({"items": {"pods": pods, "configmaps": maps}.get(arguments[1], [])})

    files = collect(kubectl)
    assert "hunter2" not in "".join(files.values())
    assert files["snet.txt"] == "kubectl get snet: forbidden\n"
    assert files["version.txt"] == "Server Version: v1.36.3\n"
    assert json.loads(files["configmaps.json"])["items"] == [{"kind": "ConfigMap", "metadata": {"name": "shop"}}]
    logs = {name for name in files if name.startswith("logs/") and "previous" not in name}
    assert logs == {"logs/main-x-0.node.log", "logs/epochs-1.epochs.log"}
    assert files["logs/main-x-0.node.log"] == "connecting to postgresql://…@db/x\n"
    assert not [one for one in asked if any("secret" in part for part in one)]
    with tarfile.open(fileobj=io.BytesIO(pack(files))) as archive:
        assert sorted(archive.getnames()) == sorted(f"haulout-report/{name}" for name in files)
