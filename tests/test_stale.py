"""stale-while-revalidate and stale-if-error together (RFC 5861), as a client sees them.

A proxy-like app (`proxied`) over real sockets, in both modes: the response says its windows, or the
decorator does. Time is the clock's: fresh for 60 seconds, then stale and served for 40 more while
it is refreshed; how long an error is covered differs.

    mode    says so       error covered until
    said    the response  60 + 200: stale-if-error limits the staleness (RFC 5861 §4)
    timed   timeout=100   100 + 200: stale_if_error= is the time past the timeout
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from .conftest import Background, Clock, Gate
from .proxied import Corner, Proxy, Wire

TIMED = {"vary": "response", "timeout": 100, "refresh_margin": 40}
VIEWS = {
    "said": {"vary": "response", "public": True},
    "said-inside": {"vary": "response"},
    "timed": {**TIMED, "public": True, "stale_if_error": 200},
    "timed-inside": {**TIMED, "stale_if_error": 200},
    "unforgiving": {**TIMED, "public": True},
    "impatient": {**TIMED, "stale_if_error": 200, "soft_timeout": 0.05},
    "strict": {**TIMED, "stale_if_error": 200, "wait_timeout": 0.5},
    "bounded": {**TIMED, "stale_if_error": 200, "load_timeout": 0.5},
}
FRESH, STALE = 60, 100  # seconds after which an answer is stale, and no longer served as such
WINDOWS = "Cache-Control: max-age=60, stale-while-revalidate=40, stale-if-error=200"
CROWD = 8


@dataclass(frozen=True)
class Page:
    """A URL whose answers have both windows, and what the origin has to say for that."""

    corner: Corner
    lines: tuple[str, ...]
    error: float  # seconds after which an error is no longer covered
    clock: Clock
    began: float  # when the first answer is asked for

    def says(self, *lines: str, **options: object) -> None:
        """The origin's next answer, with both windows."""
        self.corner.origin.says(*self.lines, *lines, **options)  # type: ignore[arg-type]

    def fails(self, failure: int | None, first: Callable[[], object] | None = None) -> None:
        """The origin's next answer is this status, or none at all."""
        if failure is None:
            self.corner.origin.breaks(first=first)
        else:
            self.corner.origin.says(status=failure, body=b"down", first=first)

    def ask(self, *lines: str, **options: str) -> Wire:
        return self.corner.ask(*lines, **options)

    def at(self, seconds: float, *lines: str) -> Wire:
        """What is answered so many seconds after the first answer."""
        self.clock.now = self.began + seconds
        return self.ask(*lines)

    @property
    def loads(self) -> int:
        """How often the origin was asked."""
        return self.corner.origin.count

    def settle(self) -> None:
        self.corner.settle()


@pytest.fixture(scope="module")
def time() -> Clock:
    return Clock(1_700_000_000.0)


@pytest.fixture(scope="module")
def proxy(time: Clock) -> Iterator[Proxy]:
    with Proxy(time, VIEWS).serving() as proxy:
        yield proxy


def page_at(proxy: Proxy, time: Clock, view: str) -> Page:
    corner = proxy.corner(view)
    time.tick(10_000)
    if view.startswith("said"):
        return Page(corner, (WINDOWS,), FRESH + 200, time, time.now)
    return Page(corner, (), STALE + 200, time, time.now)


@pytest.fixture(params=["said", "said-inside", "timed", "timed-inside"])
def page(proxy: Proxy, time: Clock, request: pytest.FixtureRequest) -> Page:
    """A page of each kind, in both modes."""
    return page_at(proxy, time, request.param)


@pytest.fixture
def page_of(proxy: Proxy, time: Clock) -> Callable[[str], Page]:
    """A page of a view by name."""
    return lambda view: page_at(proxy, time, view)


def crowd(page: Page, *lines: str) -> list[Wire]:
    """The answers to many requests at once."""
    calls = [Background(lambda: page.ask(*lines)) for _ in range(CROWD)]
    return [call.result() for call in calls]  # type: ignore[misc]


FAILURES = [None, 500, 503]


class TestRefresh:
    def test_nothing_happens_while_fresh(self, page: Page) -> None:
        """A fresh answer is served and nothing is loaded, to the last moment."""
        page.says()
        page.ask()
        last = page.at(FRESH - 0.001)
        page.settle()
        assert (last.text, last.cache, page.loads) == ("1", "aswr; hit; ttl=0", 1)

    def test_in_the_window_the_refresh_happens_behind_the_answer(
        self, page: Page, gate: Gate
    ) -> None:
        """In the window the old answer is served at once while the origin is asked anew."""
        page.says()
        page.says(first=gate.hold)
        page.ask()
        stale = page.at(FRESH)
        assert (stale.text, stale.cache) == ("1", "aswr; hit; ttl=0; detail=revalidating")
        gate.await_arrival()
        assert page.at(STALE - 1).text == "1"
        gate.open()
        page.settle()
        fresh = page.ask()
        assert (fresh.text, fresh.cache) == ("2", "aswr; hit; ttl=60")

    def test_once(self, page: Page, gate: Gate) -> None:
        """However many ask in the window, the origin is asked once."""
        page.says()
        page.says(first=gate.hold)
        page.ask()
        page.at(FRESH + 10)
        gate.await_arrival()
        assert {answer.text for answer in crowd(page)} == {"1"}
        gate.open()
        page.settle()
        assert {answer.text for answer in crowd(page)} == {"2"}
        assert page.loads == 2

    def test_it_begins_new_windows(self, page: Page) -> None:
        """What a refresh brings is fresh, and then stale, for as long as the first was."""
        page.says()
        page.ask()
        page.at(FRESH + 30)
        page.settle()
        assert page.at(FRESH + 30 + FRESH - 1).cache == "aswr; hit; ttl=1"
        assert page.loads == 2
        stale = page.at(FRESH + 30 + STALE - 1)
        assert (stale.text, stale.cache) == ("2", "aswr; hit; ttl=-39; detail=revalidating")
        page.settle()

    def test_the_windows_end(self, page: Page) -> None:
        """At the window's end nothing old is served: the caller waits for the new answer."""
        page.says()
        page.ask()
        answer = page.at(STALE)
        assert (answer.text, answer.cache) == ("2", "aswr; fwd=stale; stored")

    def test_the_last_moment_of_the_window(self, page: Page) -> None:
        """Up to its end the window holds."""
        page.says()
        page.ask()
        answer = page.at(STALE - 0.001)
        assert (answer.text, answer.cache) == ("1", "aswr; hit; ttl=-40; detail=revalidating")
        page.settle()

    def test_nobody_asks(self, page: Page, time: Clock) -> None:
        """Without a request in the window nothing is refreshed."""
        page.says()
        page.ask()
        time.tick(FRESH + 20)
        page.settle()
        assert page.loads == 1

    def test_a_refresh_that_hangs(self, page: Page, gate: Gate) -> None:
        """A refresh that hangs past the window's end is joined by who must wait, not repeated."""
        page.says()
        page.says(first=gate.hold)
        page.ask()
        page.at(STALE - 1)
        gate.await_arrival()
        page.clock.now = page.began + STALE
        waits = Background(page.ask)
        while page.corner.proxy.manager.stats()["waiting"] < 1:
            pass
        assert not waits.done()
        gate.open()
        answer = waits.result()
        assert isinstance(answer, Wire)
        assert (answer.text, page.loads) == ("2", 2)

    def test_a_refresh_that_is_not_modified(self, page: Page) -> None:
        """A refresh asks by the validators; a 304 renews the windows and keeps the body."""
        page.says('ETag: "a"', body=b"hello")
        page.says('ETag: "a"', "X-New: 1", status=304)
        page.ask()
        page.at(FRESH + 10)
        page.settle()
        renewed = page.ask()
        assert (renewed.text, renewed.line("X-New")) == ("hello", "1")
        assert (renewed.cache, renewed.age) == ("aswr; hit; ttl=60", 0)
        assert page.corner.origin.asked[1].fields["If-None-Match"] == '"a"'

    def test_a_refresh_that_may_not_be_stored(self, page: Page) -> None:
        """What a refresh brings for one person ends the old answer, in the window and after it."""
        page.says()
        page.corner.origin.says("Cache-Control: private")
        page.ask()
        assert page.at(FRESH + 10).text == "1"
        page.settle()
        for seconds in (FRESH + 11, STALE + 10):
            answer = page.at(seconds)
            assert (answer.hit, answer.text) == (False, str(page.loads))

    def test_head_and_conditions(self, page: Page) -> None:
        """A HEAD or a condition in the window is answered at once and refreshes a whole answer."""
        page.says('ETag: "a"', body=b"hello")
        page.says('ETag: "b"', body=b"world")
        page.ask()
        page.clock.now = page.began + FRESH + 10
        head = page.ask('If-None-Match: "x"', method="HEAD")
        assert (head.status, head.body, head.line("ETag")) == (200, b"", '"a"')
        page.settle()
        assert page.ask('If-None-Match: "b"').status == 304
        assert page.ask().text == "world"
        refresh = page.corner.origin.asked[1]
        assert (refresh.method, refresh.fields["If-None-Match"]) == ("GET", '"a"')

    def test_it_tells_nobody_who_asked(self, page: Page) -> None:
        """A refresh carries nothing personal of the request that happened to start it."""
        page.says()
        page.ask()
        assert page.at(FRESH + 10, "X-Forwarded-For: 192.0.2.1").text == "1"
        page.settle()
        assert page.loads == 2
        assert "X-Forwarded-For" not in page.corner.origin.asked[1].fields


class TestFailure:
    @pytest.mark.parametrize("failure", FAILURES)
    def test_in_the_window(self, page: Page, failure: int | None) -> None:
        """A refresh that fails in the window leaves the old answer, and the next try waits."""
        page.says()
        page.fails(failure)
        page.ask()
        assert page.at(FRESH + 10).cache == "aswr; hit; ttl=-10; detail=revalidating"
        page.settle()
        held = page.at(FRESH + 10.5)
        assert (held.text, held.cache) == ("1", "aswr; hit; ttl=-11; detail=held-back")
        page.settle()
        assert page.loads == 2
        again = page.at(FRESH + 11)
        assert (again.text, again.cache) == ("1", "aswr; hit; ttl=-11; detail=revalidating")
        page.settle()
        assert page.loads == 3

    def test_retries_back_off(self, page: Page) -> None:
        """Failure after failure the origin is asked more and more seldom."""
        page.says()
        page.fails(503)
        page.ask()
        tried = []
        for half in range(60):
            before = page.loads
            assert page.at(FRESH + half / 2).text == "1"
            page.settle()
            if page.loads > before:
                tried.append(half / 2)
        assert tried == [0, 1, 3, 7, 15]

    @pytest.mark.parametrize("failure", FAILURES)
    def test_past_the_window(self, page: Page, failure: int | None) -> None:
        """Past the window the origin is asked first; where it fails, the old answer covers."""
        page.says()
        page.fails(failure)
        page.ask()
        covered = page.at(STALE)
        assert (covered.status, covered.text, page.loads) == (200, "1", 2)
        assert covered.cache == "aswr; hit; ttl=-40; detail=stale-if-error"
        held = page.at(STALE + 0.5)
        assert (held.text, held.cache) == ("1", "aswr; hit; ttl=-41; detail=held-back")
        assert page.loads == 2
        due = page.at(STALE + 1)
        assert (due.text, due.cache) == ("1", "aswr; hit; ttl=-41; detail=revalidating")
        page.settle()
        assert page.loads == 3

    @pytest.mark.parametrize("failure", FAILURES)
    def test_the_end_of_the_error_window(self, page: Page, failure: int | None) -> None:
        """Once it is too stale for stale-if-error, the failure is what the caller gets."""
        page.says()
        page.fails(failure)
        page.ask()
        covered = page.at(page.error - 0.001)
        assert (covered.status, covered.text) == (200, "1")
        page.settle()
        failed = page.at(page.error)
        assert failed.status == (failure or 500)
        assert not failed.hit
        assert failed.age is None

    def test_from_one_window_to_the_next(self, page: Page) -> None:
        """A refresh that failed in the first window is tried again in the second, unwaited for."""
        page.says()
        page.fails(503)
        page.says()
        page.ask()
        assert page.at(STALE - 10).text == "1"
        page.settle()
        after = page.at(STALE + 10)
        assert (after.text, after.cache) == ("1", "aswr; hit; ttl=-50; detail=revalidating")
        page.settle()
        fresh = page.ask()
        assert (fresh.text, fresh.cache) == ("3", "aswr; hit; ttl=60")

    @pytest.mark.parametrize("failure", FAILURES)
    def test_recovery(self, page: Page, failure: int | None) -> None:
        """When the origin is back its answer replaces the old one, and failures are forgotten."""
        page.says()
        page.fails(failure)
        page.says()
        page.fails(failure)
        page.ask()
        page.at(STALE + 10)
        page.at(STALE + 11)
        page.settle()
        recovered = page.ask()
        assert (recovered.text, recovered.cache) == ("3", "aswr; hit; ttl=60")
        assert page.at(STALE + 11 + FRESH).text == "3"
        page.settle()
        assert page.at(STALE + 11 + FRESH + 1).cache == "aswr; hit; ttl=-1; detail=revalidating"
        page.settle()

    def test_a_crowd_past_the_window(self, page: Page, gate: Gate) -> None:
        """Many who wait for a load that fails cause one, and all of them are covered."""
        page.says()
        page.fails(503, first=gate.hold)
        page.ask()
        page.clock.now = page.began + STALE + 10
        calls = [Background(page.ask) for _ in range(CROWD)]
        gate.await_arrival()
        while page.corner.proxy.manager.stats()["waiting"] < CROWD:
            pass
        gate.open()
        answers = [call.result() for call in calls]
        assert {(answer.status, answer.text) for answer in answers} == {(200, "1")}  # type: ignore[attr-defined]
        assert page.loads == 2

    @pytest.mark.parametrize("failure", [500, 503])
    def test_a_crowd_and_nothing_stored(self, page: Page, gate: Gate, failure: int) -> None:
        """Many who wait for a load that fails get its answer, and do not ask the origin again."""
        page.corner.origin.says(status=failure, first=gate.hold)
        page.says()
        calls = [Background(page.ask) for _ in range(CROWD)]
        gate.await_arrival()
        while page.corner.proxy.manager.stats()["waiting"] < CROWD:
            pass
        gate.open()
        assert {call.result().status for call in calls} == {failure}  # type: ignore[attr-defined]
        assert page.loads == 1

    def test_half_an_answer(self, page: Page) -> None:
        """A body that is shorter than it says is a failed load, and drops nothing good."""
        page.says()
        page.says("Content-Length: 9", body=lambda: iter([b"half"]))
        page.ask()
        assert page.at(FRESH + 10).text == "1"
        page.settle()
        assert page.at(FRESH + 10.5).cache == "aswr; hit; ttl=-11; detail=held-back"
        assert page.at(STALE + 10).text == "1"
        page.settle()

    def test_a_4xx_is_an_answer(self, page: Page) -> None:
        """A 404 is no failure: it is passed on, and the old answer does not cover it."""
        page.says()
        page.corner.origin.says(status=404, body=b"gone")
        page.ask()
        assert page.at(STALE + 10).status == 404
        again = page.at(STALE + 11)
        assert (again.status, again.hit) == (404, False)

    @pytest.mark.parametrize("failure", FAILURES)
    def test_nothing_stored(self, page: Page, failure: int | None) -> None:
        """Without an older answer the failure is what the caller gets, and it is not stored."""
        page.fails(failure)
        page.says()
        assert page.ask().status == (failure or 500)
        assert page.ask().text == "2"

    def test_invalidated(self, page: Page) -> None:
        """What an unsafe request has outdated covers nothing, in neither window."""
        page.says()
        page.corner.origin.says(status=204)
        page.fails(503)
        page.ask()
        page.clock.now = page.began + FRESH + 10
        assert page.ask(method="POST").status == 204
        assert page.ask().status == 503
        assert page.at(STALE + 10).status == 503

    def test_the_refresh_alone(self, page_of: Callable[[str], Page]) -> None:
        """Without stale-if-error a failure is covered in the refresh window, and not after it."""
        for view, lines in (
            ("said", ["Cache-Control: max-age=60, stale-while-revalidate=40"]),
            ("unforgiving", []),
        ):
            page = page_of(view)
            page.corner.origin.says(*lines)
            page.fails(503)
            page.ask()
            assert page.at(STALE - 10).text == "1"
            page.settle()
            assert page.at(STALE).status == 503

    def test_the_cover_alone(self, page_of: Callable[[str], Page]) -> None:
        """Without stale-while-revalidate the caller waits at once, and is covered at once."""
        page = page_of("said")
        page.corner.origin.says("Cache-Control: max-age=60, stale-if-error=200")
        page.fails(503)
        page.corner.origin.says("Cache-Control: max-age=60, stale-if-error=200")
        page.ask()
        covered = page.at(FRESH)
        assert (covered.text, covered.cache) == ("1", "aswr; hit; ttl=0; detail=stale-if-error")
        page.at(FRESH + 1)
        page.settle()
        assert page.ask().text == "3"


class TestHanging:
    def test_soft_timeout(self, page_of: Callable[[str], Page], gate: Gate) -> None:
        """Past the window a load that outlasts soft_timeout is covered as if it had failed."""
        page = page_of("impatient")
        page.says()
        page.says(first=gate.hold)
        page.ask()
        covered = page.at(STALE + 10)
        assert (covered.text, covered.cache) == ("1", "aswr; hit; ttl=-50; detail=soft-timeout")
        gate.open()
        page.settle()
        assert page.ask().text == "2"
        assert page.loads == 2

    def test_wait_timeout(self, page_of: Callable[[str], Page], gate: Gate) -> None:
        """Past every window a load that outlasts wait_timeout is 503, and goes on."""
        page = page_of("strict")
        page.says()
        page.says(first=gate.hold)
        page.ask()
        late = page.at(page.error)
        assert (late.status, late.hit) == (503, False)
        assert int(late.line("Retry-After")) > 0
        gate.open()
        page.settle()
        assert (page.ask().text, page.loads) == ("2", 2)

    def test_load_timeout(self, page_of: Callable[[str], Page], gate: Gate) -> None:
        """Past the window a load that outlasts load_timeout has failed, and is covered."""
        page = page_of("bounded")
        page.says()
        page.says(first=gate.hold)
        page.ask()
        covered = page.at(STALE + 10)
        assert (covered.text, covered.cache) == ("1", "aswr; hit; ttl=-50; detail=stale-if-error")
        gate.open()
        page.settle()


class TestBesideOtherDirectives:
    @pytest.mark.parametrize("view", ["said", "said-inside"])
    @pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate"])
    @pytest.mark.parametrize("failure", [*FAILURES, 200])
    def test_must_revalidate(
        self, page_of: Callable[[str], Page], view: str, directive: str, failure: int | None
    ) -> None:
        """What must be revalidated is in no window, whatever else is said (RFC 9111 §5.2.2.2)."""
        page = page_of(view)
        page.says(f"Cache-Control: {directive}")
        page.fails(failure)
        page.ask()
        assert page.at(FRESH - 1).text == "1"
        answer = page.at(FRESH)
        assert (answer.status, answer.hit) == (failure or 500, False)
        assert page.at(STALE + 10).status == (failure or 500)

    @pytest.mark.parametrize("view", ["said", "said-inside"])
    @pytest.mark.parametrize("failure", [*FAILURES, 200])
    def test_no_cache(self, page_of: Callable[[str], Page], view: str, failure: int | None) -> None:
        """What is no-cache is in no window, not even fresh (RFC 9111 §5.2.2.4)."""
        page = page_of(view)
        page.says("Cache-Control: no-cache", 'ETag: "a"')
        page.fails(failure)
        page.ask()
        answer = page.ask()
        assert (answer.status, answer.hit, page.loads) == (failure or 500, False, 2)

    @pytest.mark.parametrize("control", ["must-revalidate", "no-cache", "max-age=0, no-cache"])
    def test_with_a_timeout(self, page_of: Callable[[str], Page], control: str) -> None:
        """With timeout= the decorator decides, and what is said to browsers changes nothing."""
        page = page_of("timed-inside")
        page.corner.origin.says(f"Cache-Control: {control}")
        page.fails(503)
        page.ask()
        assert page.at(FRESH - 1).cache == "aswr; hit; ttl=1"
        assert page.at(FRESH + 10).text == "1"
        page.settle()
        assert page.at(page.error - 1).text == "1"
        page.settle()
        assert page.at(page.error).status == 503

    @pytest.mark.parametrize(
        ("control", "fresh", "stale", "error"),
        [
            ("s-maxage=30", 18, 30, 230),  # the margin shrinks with the lifetime
            ("s-maxage=30, stale-while-revalidate=10", 30, 40, 240),
            ("stale-while-revalidate=10", 60, 70, 270),
            ("s-maxage=30, stale-while-revalidate=10, stale-if-error=0", 30, 40, 40),
            ("stale-while-revalidate=0, stale-if-error=0", 60, 60, 60),
            # RFC 5861 §4: it limits the staleness, so it counts from there
            ("max-age=5, stale-while-revalidate=10, stale-if-error=50", 60, 70, 110),
        ],
    )
    def test_what_shared_caches_are_told(
        self, page_of: Callable[[str], Page], control: str, fresh: int, stale: int, error: int
    ) -> None:
        """With timeout= the response's word to shared caches moves the windows."""
        page = page_of("timed")
        page.corner.origin.says(f"Cache-Control: {control}")
        page.fails(503)
        page.ask()
        page.at(fresh - 1)
        page.settle()
        assert page.loads == 1
        for seconds in (fresh, stale, error - 1, error):
            status = 200 if seconds < error else 503
            assert page.at(seconds).status == status, seconds
            page.settle()

    @pytest.mark.parametrize("control", ["no-store", "private"])
    def test_forbidden_with_a_timeout(self, page_of: Callable[[str], Page], control: str) -> None:
        """With timeout= too, no-store and private leave nothing that a window could serve."""
        page = page_of("timed")
        page.corner.origin.says(f"Cache-Control: {control}, stale-if-error=200")
        page.fails(503)
        page.ask()
        assert page.ask().status == 503


class TestVariants:
    def test_each_has_its_own_refresh(self, page: Page) -> None:
        """Each variant is refreshed by itself, with the field that it is the variant of."""
        for _ in range(4):
            page.says("Vary: X-Odd")
        page.ask("X-Odd: 1")
        page.ask("X-Odd: 2")
        assert page.at(FRESH + 10, "X-Odd: 2").text == "2"
        page.settle()
        assert page.corner.origin.asked[2].fields["X-Odd"] == "2"
        assert page.ask("X-Odd: 2").text == "3"
        old = page.ask("X-Odd: 1")
        assert (old.text, old.cache) == ("1", "aswr; hit; ttl=-10; detail=revalidating")
        page.settle()
        assert page.ask("X-Odd: 1").text == "4"

    def test_each_has_its_own_failures(self, page: Page) -> None:
        """The failure of one variant holds back that one alone."""
        page.says("Vary: X-Odd")
        page.says("Vary: X-Odd")
        page.fails(503)
        page.says("Vary: X-Odd")
        page.ask("X-Odd: 1")
        page.ask("X-Odd: 2")
        page.at(FRESH + 10, "X-Odd: 1")
        page.settle()
        assert page.ask("X-Odd: 1").cache == "aswr; hit; ttl=-10; detail=held-back"
        assert page.ask("X-Odd: 2").cache == "aswr; hit; ttl=-10; detail=revalidating"
        page.settle()
        assert (page.ask("X-Odd: 1").text, page.ask("X-Odd: 2").text) == ("1", "4")

    def test_none_covers_for_another(self, page: Page) -> None:
        """Where a load fails, the answer to a request that differs does not stand in."""
        page.says("Vary: X-Odd")
        page.fails(503)
        page.ask("X-Odd: 1")
        for seconds in (FRESH - 1, FRESH + 10, STALE + 10):
            assert page.at(seconds, "X-Odd: 2").status == 503
        assert page.at(STALE + 20, "X-Odd: 1").text == "1"
        page.settle()

    def test_a_refresh_that_varies_more(self, page: Page) -> None:
        """The old answer, which varies by less, answers whom no newer one does (§4.1)."""
        page.says()
        page.says("Vary: X-Odd")
        page.ask("X-Odd: 1")
        assert page.at(FRESH + 10, "X-Odd: 1").text == "1"
        page.settle()
        assert page.ask("X-Odd: 1").text == "2"
        assert page.ask("X-Odd: 2").text == "1"
        page.settle()
        assert page.ask("X-Odd: 2").text == "3"


class TestAge:
    def test_it_counts_on(self, page: Page) -> None:
        """The Age of a stale answer is the time since it was made, in both windows."""
        page.says()
        page.fails(503)
        assert page.ask().age == 0
        ages = []
        for seconds in (FRESH - 1, FRESH, STALE - 1, STALE, STALE + 100):
            ages.append(page.at(seconds).age)
            page.settle()
        assert ages == [FRESH - 1, FRESH, STALE - 1, STALE, STALE + 100]

    def test_after_the_refresh(self, page: Page) -> None:
        """After the refresh the Age is that of the new answer."""
        page.says()
        page.ask()
        page.at(FRESH + 10)
        page.settle()
        assert (page.ask().age, page.at(FRESH + 15).age) == (0, 5)

    @pytest.mark.parametrize("view", ["said", "said-inside"])
    def test_an_age_on_arrival(self, page_of: Callable[[str], Page], view: str) -> None:
        """An answer that comes with an Age is in its windows so much earlier (RFC 9111 §4.2.3)."""
        page = page_of(view)
        page.says("Age: 20")
        page.says()
        page.ask()
        assert page.at(FRESH - 21).cache == "aswr; hit; ttl=1"
        stale = page.at(STALE - 21)
        assert (stale.text, stale.age) == ("1", 99)
        assert stale.cache == "aswr; hit; ttl=-39; detail=revalidating"
        page.settle()

    def test_what_is_emitted(self, page_of: Callable[[str], Page]) -> None:
        """A public answer leaves with its windows as of its load; the Age says how much is spent.

        RFC 5861 §4: stale-if-error, too, counts from the moment when the answer is stale.
        """
        page = page_of("timed")
        page.says()
        page.ask()
        emitted = "public, max-age=60, stale-while-revalidate=40, stale-if-error=240"
        for seconds in (0, FRESH - 1, FRESH + 20):
            answer = page.at(seconds)
            assert (answer.line("Cache-Control"), answer.age) == (emitted, seconds)
        page.settle()

    def test_what_the_response_said_is_emitted(self, page_of: Callable[[str], Page]) -> None:
        """What the response said of its windows leaves as it was said, stale or not."""
        page = page_of("said")
        page.says()
        page.ask()
        wanted = WINDOWS.partition(": ")[2]
        assert page.at(FRESH - 1).lines("Cache-Control") == [wanted]
        assert page.at(FRESH + 1).lines("Cache-Control") == [wanted]
        page.settle()
