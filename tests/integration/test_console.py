"""The playground and the console in a real browser, on a real network: what a newcomer sees, at a desk and on a phone.

`make pages` keeps the pictures in `docs/screenshots`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import fresh_http

pytestmark = pytest.mark.timeout(300)
LiveNetwork = Any  # of conftest.py, which cannot be imported
PICTURES = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
PATIENCE_MS = 60_000  # for whoever shares the machine with other tests
expect.set_options(timeout=PATIENCE_MS)
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 380, "height": 760}
DAY_LAST, NIGHT_LAST = ("dark", "light"), ("light", "dark")  # what pictures are taken in
PAGES = {  # by name: where they are, and what the tab says once the page before is gone
    "network": ("#/", "Network"),
    "upload": ("#/upload", "Upload"),
    "blobs": ("#/blobs", "Blobs"),
    "nodes": ("#/nodes", "Nodes"),
    "epoch": ("#/epoch", "Epoch"),
    "stake": ("#/stake", "Stake"),
    "blob": ("#/blobs/{}", "Blobs"),
    "proofs": ("#/proofs/{}", "Proofs"),
}
WORST = "12 shards to lose"  # 20 shards on 4 nodes: 8 are needed
SLOW = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}  # bytes per second


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

    def turn_to(self, name: str, blob_id: str = "") -> Page:
        """A page of the console, once it shows what it is about."""
        path, title = PAGES[name]
        page = self.open(f"/console/{path.format(blob_id)}")
        expect(page).to_have_title(f"{title} · Haulout")
        page.get_by_text("as of block").wait_for()
        return page

    def picture(self, name: str) -> None:
        if "HAULOUT_SCREENSHOTS" in os.environ:
            PICTURES.mkdir(exist_ok=True)
            self.page.screenshot(path=PICTURES / f"{name}.png")


def beside(work: Callable[..., Any], *arguments: str) -> Any:
    """In another thread: the browser's driver has an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *arguments).result()


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
    expect(page.locator(".graphiql-tab")).to_have_count(10)
    for number in range(10):
        tab = page.locator(".graphiql-tab-button").nth(number)
        tab.click()
        name = tab.inner_text()
        expect(page.locator(".graphiql-query-editor")).to_contain_text(f"query {name}")

        def is_answer(response: Any, document: str = f"query {name}") -> bool:
            return document in (response.request.post_data or "")

        with page.expect_response(is_answer) as asked:
            page.get_by_role("button", name="Execute query").click()
        answer = asked.value.json()
        assert "errors" not in answer, answer
        assert all(value is not None for value in answer["data"].values()), answer
        expect(page.locator(".graphiql-response")).to_contain_text('"data"')
        if name == "Blob":
            expect(page.locator(".graphiql-response")).to_contain_text("CERTIFIED")
            desk.picture("playground")


def test_the_playground_listens_and_fits_on_a_phone(watch: Callable[..., Watched]) -> None:
    phone = watch(viewport=PHONE, color_scheme="dark")
    page = phone.open("/graphql?tour=blob")
    expect(page.locator(".graphiql-query-editor")).to_contain_text("query Blob")
    page.get_by_role("button", name="Execute query").click()
    expect(page.locator(".graphiql-response")).to_contain_text("CERTIFIED")
    check_width(page, PHONE)
    for part in (".graphiql-query-editor", ".graphiql-response"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert (box["width"] > 300, box["height"] > 120) == (True, True), (part, box)
    phone.picture("playground-phone")
    write_query(page, "subscription Now { epochTransition { number phase } }")
    page.get_by_role("button", name="Execute query").click()
    expect(page.locator(".graphiql-response")).to_contain_text("DONE")


@pytest.mark.parametrize(("size", "schemes", "suffix"), [(DESK, DAY_LAST, ""), (PHONE, NIGHT_LAST, "-phone")])
def test_each_page_shows_the_network(
    watch: Callable[..., Watched], network: LiveNetwork, size: Any, schemes: Any, suffix: str
) -> None:
    one = watch(viewport=size, color_scheme=schemes[0])
    for name in PAGES:
        page = one.turn_to(name, network.blob_id)
        expect(page.locator(".age")).to_have_text("live")
        assert page.locator(".problem").count() == 0
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            check_width(page, size)
        one.picture(f"{name}{suffix}")


def write_query(page: Page, text: str) -> None:
    """Put a document in place of the one in the editor, which takes what is typed once it has the focus."""
    editor = page.locator(".graphiql-query-editor")
    editor.click()
    expect(editor.locator("textarea, .native-edit-context").first).to_be_focused()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text(text)
    expect(editor.locator(".view-lines")).to_have_text(text)


def check_width(page: Page, size: Mapping[str, int]) -> None:
    """Nothing of a page is out of sight to the right."""
    wide = page.evaluate("[document.documentElement, document.querySelector('main')].map((one) => one.scrollWidth)")
    assert max(wide) <= size["width"]


def test_a_file_is_uploaded_and_its_phases_are_watched(watch: Callable[..., Watched], tmp_path: Path) -> None:
    desk = watch(viewport=DESK)
    page = desk.open("/console/#/upload")
    file = tmp_path / "walrus.bin"
    file.write_bytes(bytes(i * i % 251 for i in range(400_000)))
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("390.6 KiB")).to_be_visible()
    expect(page.get_by_text("over all shards as RS2, for about")).to_be_visible()
    desk.picture("upload-chosen")
    throttle = page.context.new_cdp_session(page)
    throttle.send("Network.enable")
    throttle.send("Network.emulateNetworkConditions", SLOW)
    page.get_by_role("button", name="Store it").click()
    sending = page.locator("li[aria-current=step]")
    expect(sending).to_contain_text("Sent to the gateway")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(sending).not_to_contain_text("0 B of")
    desk.picture("upload-sending")
    expect(page.get_by_text("a quorum holds it")).to_be_visible()
    expect(page.locator("ol.steps li.done")).to_have_count(5)
    expect(page.get_by_text("has signed that it holds")).not_to_have_count(0)
    check_width(page, DESK)
    desk.picture("upload-done")
    page.get_by_role("link", name="See where it is").click()
    expect(page.locator(".cell.good[title]")).to_have_count(20)
    expect(page.get_by_text("of this server's account")).to_be_visible()  # who uploads may have it kept


def test_an_upload_is_cancelled_and_the_next_one_is_refused_in_words(
    watch: Callable[..., Watched], tmp_path: Path
) -> None:
    phone = watch(viewport=PHONE)
    page = phone.open("/console/#/upload")
    file = tmp_path / "walrus.bin"
    file.write_bytes(bytes(3_000_000))
    page.locator("input[type=file]").set_input_files(file)
    throttle = page.context.new_cdp_session(page)
    throttle.send("Network.enable")
    throttle.send("Network.emulateNetworkConditions", SLOW)
    page.get_by_role("button", name="Store it").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("nothing was paid")).to_be_visible()
    page.get_by_role("button", name="Back").click()
    page.locator("input[type=file]").set_input_files(file)
    epochs = page.get_by_label("Epochs to keep it")
    epochs.evaluate("(field) => field.removeAttribute('max')")
    epochs.fill("100000")
    page.get_by_role("button", name="Store it").click()
    expect(page.get_by_role("alert")).to_contain_text("INVALID_EPOCHS")
    check_width(page, PHONE)
    phone.picture("upload-refused-phone")


def test_the_blob_page_verifies_what_it_shows(watch: Callable[..., Watched], network: LiveNetwork) -> None:
    page = watch(viewport=DESK).open(f"/console/#/blobs/{network.blob_id}")
    expect(page.locator(".cell.good[title]")).to_have_count(20)
    page.get_by_role("button", name="Read it and encode it again").click()
    expect(page.locator(".checks .good-text")).not_to_have_count(0)
    expect(page.locator(".checks .bad-text")).to_have_count(0)


STORE = """mutation { storeInline(input: {data: "%s", epochs: 5, persistence: PERMANENT}) {
  object { blob { blobId } } userErrors { code } } }"""


def test_a_blob_is_kept_and_given_to_everybody(watch: Callable[..., Watched], network: LiveNetwork) -> None:
    query = STORE % base64.b64encode(b"a walrus that stays").decode()
    stored = fresh_http.post(network.graphql, json={"query": query}, timeout=60).json()["data"]["storeInline"]
    desk = watch(viewport=DESK)
    page = desk.turn_to("blob", stored["object"]["blob"]["blobId"])
    expect(page.get_by_text("Nobody extends it")).to_be_visible()
    page.get_by_label("Epochs to keep paid for").fill("7")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_text("so that 7 epochs are paid for")).to_be_visible()
    desk.picture("blob-kept")
    page.get_by_role("button", name="Let it end").click()
    expect(page.get_by_text("Nobody extends it")).to_be_visible()
    page.get_by_text("Give it to everybody").click()
    page.get_by_label("What it holds at first, in WAL").fill("1")
    page.get_by_role("button", name="Share it for good").click()
    expect(page.get_by_text("of nobody, 1 WAL left")).to_be_visible()
    page.get_by_label("More for extensions, in WAL").fill("2")
    page.get_by_role("button", name="Put it in").click()
    expect(page.get_by_text("of nobody, 3 WAL left")).to_be_visible()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_text("It is kept")).to_be_visible()
    page.set_viewport_size(PHONE)
    check_width(page, PHONE)
    page.goto(f"{desk.origin}/console/#/blobs/{network.blob_id}")  # the gateway's own: it was stored without GraphQL
    expect(page.get_by_text("Only its owner can keep it longer")).to_be_visible()
    check_width(page, PHONE)


def test_proofs_are_checked_in_the_browser(watch: Callable[..., Watched], network: LiveNetwork) -> None:
    desk = watch(viewport=DESK)
    page = desk.open(f"/console/#/proofs/{network.blob_id}")
    page.get_by_role("button", name="Check it", exact=True).click()
    page.get_by_label("Sliver pair").fill("7")
    page.get_by_role("button", name="Get and check it").click()
    page.get_by_role("button", name="Get and check them").click()
    expect(page.locator("pre.content")).to_contain_text("a walrus on the ice a walrus")
    expect(page.get_by_text("make the blob id")).to_have_count(2)
    expect(page.locator(".checks .bad-text")).to_have_count(0)
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="Download the proof").last.click()
    proof = json.loads(Path(downloaded.value.path()).read_text())
    assert proof["slivers"][0]["blobId"] == network.blob_id
    check_width(page, DESK)
    desk.picture("proofs-checked")


def test_the_margin_falls_when_a_node_goes_and_recovers(watch: Callable[..., Watched], network: LiveNetwork) -> None:
    home, desk = watch(viewport=DESK), watch(viewport=DESK, color_scheme="dark")
    worst = home.open("/console/").locator(".tile").first
    page = desk.open(f"/console/#/blobs/{network.blob_id}")
    margin = page.locator(".tile").first
    for tile in (worst, margin):
        expect(tile).to_contain_text(WORST)
    beside(network.kill, "node-3")
    beside(network.ask, "node", "stop", "node-3")
    for tile in (worst, margin):
        expect(tile).to_contain_text("7 shards to lose")
    expect(page.locator(".cell.warn[title]")).to_have_count(5)
    desk.picture("blob-node-lost-dark")
    home.picture("network-node-lost")
    beside(network.ask, "node", "start", "node-3")
    for tile in (worst, margin):
        expect(tile).to_contain_text(WORST)
    expect(page.get_by_text("margin: 12 at")).to_contain_text("7 at")
    expect(page.locator(".cell.good[title]")).to_have_count(20)


def test_an_epoch_change_is_watched(watch: Callable[..., Watched], network: LiveNetwork) -> None:
    desk = watch(viewport=DESK)
    page = desk.open("/console/#/epoch")
    page.get_by_role("heading", name="Epoch 1").wait_for()
    node = beside(network.ask, "info")["committeeInfo"]["currentStorageNodes"][0]
    beside(network.ask, "stake", "--node-id", node["nodeId"], "--amount", "3000WAL")
    page.get_by_role("button", name="Begin epoch 2").click()
    expect(page.get_by_role("alert")).to_contain_text("UNAUTHENTICATED")
    secret = beside(network.ask, "token", "create", "console", "--scope", "OPERATE")["secret"]
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Use it").click()
    beside(network.ask, "node", "stop", node["name"])  # so that what it takes over is seen on its way
    page.get_by_role("button", name="Begin epoch 2").click()
    page.get_by_role("heading", name="Epoch 2", exact=True).wait_for()
    takes_over = page.get_by_label(f"Shards that have come to {node['name']}")
    expect(takes_over).to_have_attribute("value", "0")
    arrived = page.locator(".tile").nth(1)
    expect(arrived).to_contain_text(re.compile(r"0 of [1-9]"))
    expect(page.get_by_text("unreachable")).to_have_count(2)
    check_width(page, DESK)
    desk.picture("epoch-changing")
    beside(network.ask, "node", "start", node["name"])
    expect(arrived).to_contain_text(re.compile(r"([1-9]) of \1"))
    expect(page.locator("li[aria-current=step]")).to_contain_text("DONE")


def test_a_page_says_how_old_it_is_while_the_api_is_away(watch: Callable[..., Watched]) -> None:
    desk = watch(viewport=DESK)
    page = desk.open("/console/#/nodes")
    expect(page.locator(".age")).to_have_text("live")
    page.context.set_offline(True)
    expect(page.locator(".age")).to_contain_text("old")
    expect(page.get_by_role("alert")).to_contain_text("UNREACHABLE")
    expect(page.get_by_role("cell", name="node-0", exact=True)).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator(".age")).to_have_text("live")
    expect(page.get_by_role("alert")).to_have_count(0)
    desk.complaints = [text for text in desk.complaints if "ERR_INTERNET_DISCONNECTED" not in text]


def test_all_is_reached_by_keyboard(watch: Callable[..., Watched], tmp_path: Path) -> None:
    one = watch(viewport=DESK)
    page = one.turn_to("network")
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent"))
    assert seen == ["Network", "Upload", "Blobs", "Nodes", "Epoch", "Stake", "Proofs", "Playground"]
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.get_by_role("combobox").wait_for()
    page.get_by_label("More stake, in WAL").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="would be").wait_for()
    one.picture("stake-plan")
    one.turn_to("upload")
    with page.expect_file_chooser() as choosing:
        page.locator("input[type=file]").press("Space")
    file = tmp_path / "small.txt"
    file.write_text("typed")
    choosing.value.set_files(file)
    expect(page.get_by_text("small.txt")).to_be_visible()
    page.get_by_label("Epochs to keep it").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("a quorum holds it")).to_be_visible()
