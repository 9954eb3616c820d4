"""The playground and the console as files: who gets them, under which policy, and what they ask."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, parse, validate

from graphql_api.limits import Bounds, check_document
from graphql_api.pages import BUNDLE

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "console"
SCHEMA = build_schema((ROOT / "graphql_api/schema.graphql").read_text())
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
DOCUMENTS = {
    f"{file.stem} {match.group(1)}": match.group(0).strip("`")
    for file in sorted((SOURCES / "src").glob("*.js*"))
    for match in re.finditer(r"`(?:# [^\n]*\n)*(?:query|mutation|subscription) (\w+)[^`]*`", file.read_text())
}


async def test_a_browser_gets_the_playground_under_a_strict_policy(net: Any) -> None:
    for path in ("/graphql", "/graphql?tour=blob", "/console/"):
        response = await net.http.get(path, headers=HTML)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/html")
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe-eval" not in policy
        assert "http" not in policy


async def test_what_a_page_loads_is_served_and_kept_for_ever(net: Any) -> None:
    page = (await net.http.get("/console/", headers=HTML)).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for path in loaded:
        assert path.startswith("/console/")
        response = await net.http.get(path)
        assert response.status_code == 200, path
        if path.startswith("/console/assets/"):
            assert "immutable" in response.headers["cache-control"]


async def test_a_program_that_takes_anything_gets_the_api(net: Any) -> None:
    for headers in ({}, {"accept": "application/json"}):
        response = await net.http.get("/graphql", headers=headers)
        assert response.headers["content-type"].startswith("application/")
    named = await net.http.get("/graphql", params={"documentId": "sha256:" + "0" * 64}, headers=HTML)
    assert not named.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/console/assets/../index.html", "/console/assets/nothing.js", "/console/other"])
async def test_nothing_else_is_served(net: Any, path: str) -> None:
    assert (await net.http.get(path)).status_code == 404


def test_the_bundle_is_built_from_the_sources_that_are_here() -> None:
    found = hashlib.sha256()
    for folder in ("src", "public", "."):
        for path in sorted((SOURCES / folder).iterdir()):
            if path.is_file():
                found.update(f"{folder}/{path.name}\0".encode())
                found.update(path.read_bytes() + b"\0")
    assert (BUNDLE / "sources.sha256").read_text().strip() == found.hexdigest(), "run `make console`"


def test_the_lock_file_names_no_host() -> None:
    packages = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    assert len(packages) > 50
    assert all("integrity" in package for path, package in packages.items() if path)
    assert not [path for path, package in packages.items() if "://" in package.get("resolved", "")]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_the_pages_ask_can_be_answered(name: str) -> None:
    document = parse(DOCUMENTS[name])
    assert len(DOCUMENTS[name]) <= Bounds().query_bytes
    assert not validate(SCHEMA, document)
    is_stream = DOCUMENTS[name].startswith("subscription")
    assert check_document(document, None, {}, Bounds(), is_stream=is_stream)[1] is None


def test_the_tour_has_its_ten_stops() -> None:
    tour = (SOURCES / "src" / "tour.js").read_text()
    assert len(re.findall(r"^    query: `", tour, re.MULTILINE)) == 10
    assert len(DOCUMENTS) == 50
