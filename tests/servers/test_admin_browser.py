"""The admin page in a real browser: live, by mouse and keyboard, readable, and nobody else's.

Needs Chromium and the extra ``browser``. Keeps what it saw in ``build/screenshots``.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aswr.admin import shown

from .harness import Kind, Server, free_port, wait_until

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install 'aswr[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs 'aswr[browser]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
if not CHROMIUM:
    pytest.skip("chromium is not on PATH", allow_module_level=True)

pytestmark = pytest.mark.timeout(180)

SHOTS = Path(__file__).parent.parent.parent / "build" / "screenshots"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
]  # fmt: skip
LIMIT = 15_000  # milliseconds: a page that is slow on a busy machine is still a page
PAGES = ("overview", "entries", "entry", "jobs", "workers", "why", "doctor")
# What reaches over the right edge, though it may be clipped there.
CUT = """[...document.querySelectorAll("main *")].filter(one => {
    const place = one.getBoundingClientRect();
    return place.width && place.right > innerWidth + 1 && !one.closest("thead, .hidden");
}).map(one => one.outerHTML.slice(0, 100))"""
ON_SCREENS = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]


def flask_run(app: str) -> Kind:
    args = ("-m", "flask", "--app", app, "run", "--port", "{port}")
    return Kind(f"flask-run-{app}", args)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


STREAMS = 8  # that the site allows at a time


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A site with visitors, who come all the time."""
    folder = tmp_path_factory.mktemp("site")
    with Server(flask_run("admin_app"), folder, ADMIN_STREAMS=str(STREAMS)) as server:
        over = threading.Event()

        def visit() -> None:
            for number in range(10_000):
                path = ("/delta_positions", "/prices?desk=fx", "/news", "/risk/2008", "/whoami")
                language = ("de", "en", "fr")[number % 3]
                server.send("GET", path[number % 5], headers={"Accept-Language": language})
                if over.wait(0.1):
                    return

        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            yield server
        finally:
            over.set()
            visitor.join()


class Looker:
    """Somebody with a browser, who notes every complaint and every foreign host."""

    def __init__(self, browser: Any, server: Server, **options: Any) -> None:
        self.base = f"http://127.0.0.1:{server.port}"
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(LIMIT)
        self.page = self.context.new_page()
        self.open = True
        self.complaints: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.complaints.append(f"asked {request.url}")

    def go(self, name: str) -> Any:
        """Load a page of the admin page, as people get there."""
        page = self.page
        paths = {"overview": "", "entry": "entries"}
        page.goto(f"{self.base}/aswr/{paths.get(name, name)}")
        if name == "entry":
            page.locator("th.entry a").first.click()
            page.wait_for_url("**/entry/*")
        if name == "why":
            page.get_by_label("URL or path").fill("/news")
            page.get_by_role("button", name="Explain").click()
        return page

    def close(self) -> None:
        if self.open:
            self.open = False
            self.page.unroute_all(behavior="ignoreErrors")  # what is on its way no longer counts
            self.context.close()
        assert self.complaints == []


@pytest.fixture
def looks(browser: Any) -> Iterator[Any]:
    """Makes lookers; none of them may have had a complaint."""
    lookers: list[Looker] = []

    def look(server: Server, **options: Any) -> Looker:
        lookers.append(Looker(browser, server, **options))
        return lookers[-1]

    yield look
    for looker in lookers:
        looker.close()


@pytest.mark.parametrize("name", PAGES)
def test_pages_look_right(site: Server, looks: Any, name: str) -> None:
    """Every page, light and dark, wide and narrow, is clean to axe and fits its screen."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width, scheme in ON_SCREENS:
        size = {"width": width, "height": 900}
        looker = looks(site, viewport=size, color_scheme=scheme, reduced_motion="reduce")
        page = looker.go(name)
        page.locator("#live.on").wait_for()
        if name == "overview":
            page.locator('[data-chart="answers"] rect.c-fresh').first.wait_for()
        page.screenshot(path=SHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT) == []
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_the_example_goes_stale_and_fresh_on_screen(
    looks: Any, tmp_path: Path, browser: Any
) -> None:
    """One sees the load of the README's example, its entry fresh, stale, fresh, and purged."""
    with Server(flask_run("admin_example"), tmp_path) as server:
        looker = looks(server, viewport={"width": 1440, "height": 900})
        visitor = threading.Thread(target=server.get, args=("/delta_positions",))
        visitor.start()
        page = looker.go("overview")
        flights = page.locator("#flights")
        flights.get_by_text("/delta_positions").wait_for()
        page.screenshot(path=SHOTS / "example-loading.png", full_page=True)
        visitor.join()

        page = looker.go("entries")
        row = page.get_by_role("row").filter(has_text="/delta_positions")
        state = row.locator(".state")
        _becomes(state, "fresh", 15)
        lasted = 0.0
        for _ in range(2):  # a load that the visitor began may end just before a tick: once
            if lasted < 7:
                stale = _becomes(state, "stale", 40)
                page.screenshot(path=SHOTS / "example-stale.png", full_page=True)
                lasted = _becomes(state, "fresh", 20) - stale
        # Ten seconds of work: so long it was stale, and was served.
        assert 7 < lasted < 16

        row.get_by_role("link", name="/delta_positions").click()
        page.locator("svg.line .l-loaded").first.wait_for()
        page.screenshot(path=SHOTS / "example-life.png", full_page=True)
        page.get_by_role("button", name="Purge 127.0.0.1").or_(
            page.get_by_role("button", name="Purge /delta_positions")
        ).click()
        page.get_by_text("Purged /delta_positions.").wait_for()
        page.get_by_text("It is not stored any more").wait_for()
        assert page.locator("svg.mark.m-purged").count() == 1
        page.screenshot(path=SHOTS / "example-purged.png", full_page=True)
        page = looker.go("jobs")
        page.get_by_text("/delta_positions").first.wait_for()
        page.get_by_text("began 1 load").first.wait_for()
        # There is one stream, which the page before may not have left yet.
        sync_api.expect(page.locator("#live")).to_have_text("Live")
        looker.complaints = [one for one in looker.complaints if "503" not in one]
        looker.close()


def _becomes(state: Any, text: str, limit: float) -> float:
    sync_api.expect(state).to_have_text(text, timeout=1000 * limit)
    return time.monotonic()


def test_by_keyboard(site: Server, looks: Any) -> None:
    """Everything can be reached and pressed by keys, and one sees where one is."""
    page = looks(site).go("entries")
    keys = page.keyboard
    keys.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    keys.press("Enter")
    for _ in range(30):
        keys.press("Tab")
        focus = page.evaluate(
            "(e => [e.tagName, e.id, getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        assert focus[2] != "none", focus
        if focus[1].startswith("refresh-"):
            break
    assert focus[1].startswith("refresh-")
    keys.press("Enter")
    page.get_by_text("Refreshed ").wait_for()
    assert page.evaluate("document.activeElement.id") == focus[1]


def test_everything_is_purged_after_a_question(site: Server, looks: Any) -> None:
    """Purging everything asks first, Escape means no, and the dialog works by keys."""
    page = looks(site).go("entries")
    page.locator("th.entry").first.wait_for()
    sheet = page.locator("#purge-many")
    page.get_by_role("button", name="Purge…").press("Enter")
    sheet.wait_for()
    page.keyboard.press("Escape")
    sheet.wait_for(state="hidden")
    assert page.locator("th.entry").count() > 3
    page.get_by_role("button", name="Purge…").press("Enter")
    sheet.get_by_role("button", name="Purge everything").press("Enter")
    page.get_by_text("Purged everything.").wait_for()
    sheet.wait_for(state="hidden")
    page.get_by_role("button", name="Purge…").click()
    tags = sheet.locator("select[name=tag]")
    assert tags.count() == 0 or "market" in tags.inner_text()


def test_a_list_follows_what_is_typed(site: Server, looks: Any) -> None:
    """Typing narrows the list at once, and the address says so, to be sent to others."""
    page = looks(site).go("entries")
    page.locator("th.entry").nth(3).wait_for()
    page.locator("th.entry a", has_text="/delta_positions").wait_for()  # which a job keeps there
    page.get_by_label("Search").type("delta")
    page.wait_for_url("**/entries?search=delta")
    sync_api.expect(page.locator("th.entry a").first).to_contain_text("/delta_positions")
    sync_api.expect(page.locator("th.entry")).to_have_count(1)
    page.get_by_label("State").select_option("pass")
    page.get_by_text("No entry is like that").wait_for()
    page.get_by_role("link", name="Clear").click()
    page.locator("th.entry").nth(3).wait_for()


def test_without_javascript(site: Server, looks: Any) -> None:
    """Every page can be read, and a button pressed, where scripts are off."""
    looker = looks(site, java_script_enabled=False)
    page = looker.go("overview")
    assert "As of" in page.locator("#live").inner_text()
    assert "drawn by a script" in page.locator("noscript").inner_text()
    assert page.locator("#views tbody tr").count() >= 4
    page = looker.go("entries")
    page.get_by_label("Search").fill("news")
    page.get_by_role("button", name="Show").click()
    assert page.locator("th.entry a").first.inner_text() == "/news"
    page.get_by_role("button", name="Purge /news").first.click()
    assert page.locator("#said").inner_text().startswith("Purged /news. In process ")
    assert "search=news" in page.url
    page = looker.go("entry")
    assert page.locator("svg.line rect").count() > 1


def test_it_is_live(site: Server, looks: Any) -> None:
    """Numbers and charts change without a hand on the page, and the process is named."""
    page = looks(site).go("overview")
    sync_api.expect(page.locator("#live")).to_have_text("Live")
    chart = page.locator('[data-chart="answers"] svg')
    chart.wait_for()
    tiles = page.locator("#tiles")
    numbers = tiles.inner_text()
    sync_api.expect(chart).not_to_have_attribute("aria-label", chart.get_attribute("aria-label"))
    sync_api.expect(tiles).not_to_have_text(numbers)
    assert f"process {site.process.pid}" in page.locator(".process").inner_text()
    page.locator('[data-chart="answers"] rect.c-fresh').first.wait_for()
    page.locator("#view").select_option("admin_app:whoami")
    sync_api.expect(page.locator('[data-chart="answers"] rect.c-fresh')).to_have_count(0)
    page.locator('[data-chart="answers"] rect.c-pass').first.wait_for()
    page.locator('[data-chart="answers"] .plot').hover()
    page.locator('[data-chart="answers"] .tip').get_by_text("pass").wait_for()


def test_without_a_stream_it_polls(site: Server, looks: Any) -> None:
    """Where all streams are taken, the page asks every few seconds, and says so."""
    held: list[Any] = []

    def hold() -> bool:
        connection = site.connection()
        connection.request("GET", "/aswr/live")
        answer = connection.getresponse()
        held.extend((answer, connection))
        # All are ours, and none is of a page before, which would leave it now.
        return answer.status == 503 and sum(one.status == 200 for one in held[::2]) == STREAMS

    looker = looks(site)
    try:
        wait_until(hold, 10, lambda: f"{len(held)} are held")
        page = looker.go("overview")
        sync_api.expect(page.locator("#live")).to_have_text("Every 5 s", timeout=LIMIT)
        page.locator('[data-chart="answers"] svg').wait_for()
    finally:
        for one in held:
            one.close()
    looker.complaints = [one for one in looker.complaints if "503" not in one]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (None, True),
        (("<body ", "<body data-still "), False),
        (('<footer data-took="0', '<footer data-took="90'), False),
    ],
    ids=["cheap", "of a store", "costly"],
)  # fmt: skip
def test_what_costs_much_is_asked_seldom(
    site: Server, looks: Any, change: Any, again: bool
) -> None:
    """While things happen a page fetches itself anew, unless that is dear or lists a store."""
    looker = looks(site)
    page = looker.page
    page.clock.install()
    polls: list[str] = []
    fetches: list[str] = []

    def serve(route: Any) -> None:
        fetches.append(route.request.url)
        answer = route.fetch()
        text = answer.text()
        route.fulfill(response=answer, body=text.replace(*change) if change else text)

    page.route("**/aswr/live*", lambda route: route.fulfill(status=503))
    page.on("response", lambda answer: polls.append(answer.url) if "pulse" in answer.url else 0)
    page.route("**/aswr/entries", serve)
    looker.go("entries")

    def polled() -> bool:
        page.clock.run_for(1000)
        page.wait_for_timeout(20)
        return len(polls) >= 6

    wait_until(polled, 40, lambda: f"{len(polls)} polls")
    assert (len(fetches) > 1) == again
    looker.complaints = [one for one in looker.complaints if "503" not in one]


def test_who_is_signed_out_is_told(site: Server, looks: Any) -> None:
    """Where the page may no longer be seen it says so, and asks no more."""
    looker = looks(site)
    page = looker.page
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "pulse" in request.url else 0)
    page.route("**/aswr/live*", lambda route: route.fulfill(status=403))
    page.route("**/aswr/api/pulse*", lambda route: route.fulfill(status=403))
    looker.go("doctor")
    sync_api.expect(page.locator("#live")).to_contain_text("Signed out")
    page.clock.run_for(25_000)
    assert len(asked) == 1
    looker.complaints = [one for one in looker.complaints if "403" not in one]


def test_motion_is_reduced_on_request(site: Server, looks: Any) -> None:
    """Who wants no motion gets none."""
    page = looks(site, reduced_motion="reduce").go("overview")
    page.locator("#live.on").wait_for()
    name = "getComputedStyle(document.querySelector('.dot')).animationName"
    assert page.evaluate(name) == "none"
    page = looks(site).go("overview")
    page.locator("#live.on").wait_for()
    assert page.evaluate(name) == "beat"


def test_times_are_written_alike(site: Server, looks: Any) -> None:
    """What the script counts on is written as the server wrote it."""
    page = looks(site).go("doctor")
    seconds = [0, 0.2, 0.9996, 1, 9.94, 9.96, 12, 59.4, 59.6, 61, 3599.7, 3661, 86399, 90061]
    script = "document.querySelector('script[type=module]').src"
    written = page.evaluate(f"async (list) => list.map((await import({script})).duration)", seconds)
    assert written == [shown.duration(one) for one in seconds]


def test_a_server_that_goes_away_is_noticed(looks: Any, tmp_path: Path) -> None:
    """When the server stops the page says so, and it is live again with the next one."""
    server = Server(flask_run("admin_app"), tmp_path, ADMIN_QUIET="1")
    server.port = free_port()
    with server:
        looker = looks(server)
        page = looker.go("overview")
        page.locator("#live.on").wait_for()
        server.stop()
        sync_api.expect(page.locator("#live")).to_contain_text("No answer", timeout=LIMIT)
    with server:
        sync_api.expect(page.locator("#live")).to_have_text("Live", timeout=2 * LIMIT)
        sync_api.expect(page.locator(".process")).to_contain_text(str(server.process.pid))
        looker.complaints = [one for one in looker.complaints if "net::ERR" not in one]
        looker.close()
