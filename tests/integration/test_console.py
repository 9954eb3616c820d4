"""The playground and the console in a real browser, on a real network: what a newcomer sees, at a desk and on a phone.

`HAULOUT_SCREENSHOTS=1` keeps the pictures in `docs/screenshots`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

LiveNetwork = Any  # of conftest.py, which cannot be imported
PICTURES = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
PATIENCE_MS = 30_000
EDITOR_PAUSE_MS = 1_500  # the editor looks at the document of another tab a moment after it was opened
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 380, "height": 760}
PAGES = {"network": "#/", "blobs": "#/blobs", "nodes": "#/nodes", "epoch": "#/epoch", "stake": "#/stake"}


class Watched:
    """A page of which every complaint and every request elsewhere is noted."""

    def __init__(self, browser: Browser, origin: str, **options: Any) -> None:
        self.origin = origin
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._look)

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _look(self, request: Any) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.complaints.append(f"asked {request.url}")

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.origin}{path}")
        return self.page

    def picture(self, name: str) -> None:
        if "HAULOUT_SCREENSHOTS" in os.environ:
            PICTURES.mkdir(exist_ok=True)
            self.page.screenshot(path=PICTURES / f"{name}.png")


def beside(work: Callable[[str], None], name: str) -> None:
    """In another thread: the browser's driver has an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(work, name).result()


@pytest.fixture(scope="module")
def network(start_network: Callable[..., LiveNetwork]) -> LiveNetwork:
    found = start_network("--nodes=4", "--shards=20")
    found.blob_id = found.store(b"a walrus on the ice " * 1_000)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program is not None
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=QUIET.split())
        yield running
        running.close()


@pytest.fixture
def watch(network: LiveNetwork, browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens pages; at the end none of them may have complained."""
    watched: list[Watched] = []

    def start(**options: Any) -> Watched:
        watched.append(Watched(browser, network.graphql.removesuffix("/graphql"), **options))
        return watched[-1]

    yield start
    for one in watched:
        one.context.close()
    assert [complaint for one in watched for complaint in one.complaints] == []


def test_the_tour_runs_from_top_to_bottom(watch: Callable[..., Watched], network: LiveNetwork) -> None:
    desk = watch(viewport=DESK)
    page = desk.open("/graphql")
    page.locator(".graphiql-tab").first.wait_for()
    assert page.locator(".graphiql-tab").count() == 10
    page.locator(".graphiql-container .view-line").first.wait_for()
    for number in range(10):
        tab = page.locator(".graphiql-tab-button").nth(number)
        tab.click()
        name = tab.inner_text()
        page.wait_for_timeout(EDITOR_PAUSE_MS)

        def is_answer(response: Any, document: str = f"query {name}") -> bool:
            return document in (response.request.post_data or "")

        with page.expect_response(is_answer) as asked:
            page.get_by_role("button", name="Execute query").click()
        answer = asked.value.json()
        assert "errors" not in answer, answer
        assert all(value is not None for value in answer["data"].values()), answer
        if name == "Blob":
            expect(page.locator(".graphiql-response")).to_contain_text("CERTIFIED", timeout=PATIENCE_MS)
            desk.picture("playground")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("size", "suffix"), [(DESK, ""), (PHONE, "-phone")])
def test_each_page_shows_the_network(
    watch: Callable[..., Watched], network: LiveNetwork, scheme: Any, size: Any, suffix: str
) -> None:
    one = watch(viewport=size, color_scheme=scheme)
    for name, path in {**PAGES, "blob": f"#/blobs/{network.blob_id}"}.items():
        page = one.open(f"/console/{path}")
        page.get_by_text("as of block").wait_for()
        assert page.locator(".problem").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], "wider than the window"
        one.picture(f"{name}{suffix}{'-dark' if scheme == 'dark' else ''}")


def test_the_blob_page_shows_each_shard_and_verifies(watch: Callable[..., Watched], network: LiveNetwork) -> None:
    page = watch(viewport=DESK).open(f"/console/#/blobs/{network.blob_id}")
    expect(page.locator(".grid li.good")).to_have_count(20)
    page.get_by_role("button", name="Read it and encode it again").click()
    page.locator("li.good-text").first.wait_for()
    assert page.locator("li.bad-text").count() == 0


def test_the_margin_falls_when_a_node_goes_and_recovers(watch: Callable[..., Watched], network: LiveNetwork) -> None:
    page = watch(viewport=DESK).open("/console/")
    expect(page.locator(".tile").first).to_contain_text("12 shards to lose")
    beside(network.stop, "node-3")
    expect(page.locator(".tile").first).to_contain_text("7 shards to lose", timeout=PATIENCE_MS)
    beside(network.start, "node-3")
    expect(page.locator(".tile").first).to_contain_text("12 shards to lose", timeout=PATIENCE_MS)


def test_what_if_is_reached_and_answered_by_keyboard(watch: Callable[..., Watched]) -> None:
    page = watch(viewport=DESK).open("/console/")
    page.get_by_text("as of block").wait_for()
    for _ in range(5):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Stake"
    page.keyboard.press("Enter")
    page.get_by_role("combobox").wait_for()
    page.get_by_label("More stake, in WAL").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Possible", exact=True).wait_for()
