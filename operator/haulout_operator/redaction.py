"""Strikes out what may be a secret, wherever a person or a program has put one: in fields, texts, YAML and logs.

What sounds like a secret goes, and what looks like one. Too much may go; names of Secrets and of files stay, since they
explain and open nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

STRUCK_OUT = "…"

_WORDS = r"secret|passw(?:or)?d|passphrase|token|credential|private[-_]?key|api[-_]?key|authorization|cookie"
SOUNDS_SECRET = re.compile(rf"(?i){_WORDS}")
# Names of variables are chosen by people, and shorter.
VARIABLE_SOUNDS_SECRET = re.compile(rf"(?i){_WORDS}|auth|pass|pwd|dsn|salt|private|(^|_)key$")
NAMES_A_FILE = re.compile(r"(?i)(file|path|dir|folder)$")
# Fields of Kubernetes and of ours that name a Secret, and hold none.
NAMES_OF_SECRETS = frozenset(
    (
        "automountServiceAccountToken",
        "imagePullSecrets",
        "projected",
        "recordsSecret",
        "secret",
        "secretKeyRef",
        "secretName",
        "secretRef",
        "serviceAccountToken",
    )
)

_TEXTS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), STRUCK_OUT),
    (re.compile(r"(://)[^/\s\"'<>]+@"), rf"\1{STRUCK_OUT}@"),  # of a URL, user and password
    (re.compile(r"(://)[^/\s\"'<>:]*:[^\s\"'<>]*@"), rf"\1{STRUCK_OUT}@"),  # a slash in the password
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{6,}"), rf"\1\2{STRUCK_OUT}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), STRUCK_OUT),  # a JSON web token
    (re.compile(r"\bhaulout_[A-Za-z0-9_-]{20,}"), STRUCK_OUT),  # a token of our GraphQL
    (re.compile(rf"(?i)([\w.-]*(?:{_WORDS})[\w.-]*=)(\"[^\"\n]*\"|'[^'\n]*'|[^\s&,;\"']+)"), rf"\1{STRUCK_OUT}"),
    (re.compile(rf"(?im)^(\s*(?:- )?[\w.-]*(?:{_WORDS})[\w.-]*:[ \t]+)\S.*$"), rf"\1{STRUCK_OUT}"),  # a line of YAML
    (re.compile(rf"(?i)(--?[\w-]*(?:{_WORDS})[\w-]*\s+)[^\s-]\S*"), rf"\1{STRUCK_OUT}"),  # an option and its value
)


def redact(value: Any, field: str = "") -> Any:
    """A JSON value without secrets.

    Args:
        value: an object of Kubernetes, or a part of one.
        field: the field that it stands in, which may tell what it is.
    """
    if isinstance(value, Mapping):
        return {key: _redact_field(value, key, one) for key, one in value.items() if key != "managedFields"}
    if isinstance(value, list):
        return [
            STRUCK_OUT if _is_value_of_option(value, index) else redact(one, field) for index, one in enumerate(value)
        ]
    return _redact_document(value, field) if isinstance(value, str) else value


def _redact_field(owner: Mapping[str, Any], key: str, value: Any) -> Any:
    name = owner.get("name")
    if key == "value" and isinstance(name, str) and isinstance(value, str):  # an environment variable
        is_secret = VARIABLE_SOUNDS_SECRET.search(name) and not NAMES_A_FILE.search(name)
        return STRUCK_OUT if is_secret else redact(value, name)
    is_secret = key not in NAMES_OF_SECRETS and SOUNDS_SECRET.search(key) and not NAMES_A_FILE.search(key)
    is_content = isinstance(value, str | Mapping | list)  # a number of seconds, or whether, is none
    return STRUCK_OUT if is_secret and is_content else redact(value, key)


def _is_value_of_option(values: Sequence[Any], index: int) -> bool:
    """Whether the argument before this one is an option such as --token."""
    before, value = values[index - 1] if index else None, values[index]
    if not isinstance(before, str) or not isinstance(value, str):
        return False
    return before.startswith("-") and "=" not in before and bool(SOUNDS_SECRET.search(before))


def _redact_document(text: str, field: str) -> str:
    """A string that may be JSON or YAML: what people applied last, a file of a ConfigMap."""
    try:
        if text.lstrip()[:1] in ("{", "["):
            return json.dumps(redact(json.loads(text)), ensure_ascii=False)
        if field.endswith((".yaml", ".yml")):
            parts = [redact(part) for part in yaml.safe_load_all(text)]
            return yaml.safe_dump_all(parts, allow_unicode=True, sort_keys=False)
    except (ValueError, yaml.YAMLError):
        pass  # it only looks like one
    return redact_text(text)


def redact_text(text: str) -> str:
    """Text without secrets: passwords in URLs and options, keys, tokens."""
    for pattern, instead in _TEXTS:
        text = pattern.sub(instead, text)
    return text


def redact_log(text: str) -> str:
    """Lines of a log, of which each may be a JSON object."""
    lines = [_redact_document(line, "") if line.startswith("{") else line for line in text.splitlines(keepends=False)]
    end = "\n" if text.endswith("\n") else ""
    return redact_text("\n".join(lines)) + end
