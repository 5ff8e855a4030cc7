"""What is found for a request, and what is said of it, whatever the way in."""

import pytest
from flask import request

from aswr.codec import Answer, Entry
from aswr.flight import How, Result
from aswr.freshness import asks
from aswr.inputs import Inputs, Rules
from aswr.keys import VariantKey, ViewKey
from aswr.lookup import Missed, failed, hit, loaded, look, missed, stand_in
from aswr.policy import Verdict
from aswr.wsgi import door_of

from .ways import Ask, by_wsgi

START = 1_000_000.0
ANSWER = Answer(200, (), b"x")
URL = ViewKey("view", "", "/x", "", "", ())
RULES = Rules()


def entry(fresh: float = 30.0, stale: float = 60.0, **more) -> Entry:
    return Entry(**{
        "value": ANSWER, "stored": START, "fresh_until": START + fresh,
        "stale_until": START + stale, "error_until": START + stale, "born": 1, "size": 100, **more,
    })  # fmt: skip


@pytest.fixture
def engine(app, manager):
    return manager._sites[app].engine


class Asking:
    """A request that counts how often it is looked at."""

    def __init__(self, **environ: str) -> None:
        self.environ = environ
        self.looks = 0

    def inputs(self, rules: Rules) -> Inputs:
        self.looks += 1
        return Inputs(dict(self.environ), {}, {}, rules)


def found_for(engine, asking: Asking, rules: Rules = RULES, directives: str | None = None):
    wants = asks(directives) if directives is not None else None
    return look(engine, rules, URL, wants, asking.inputs, rules)


def learned(engine, *names: str, **more) -> None:
    """The URL is known to read these."""
    engine.urls.learn(URL, names, 1)


class TestLook:
    def test_nothing(self, engine):
        """A cold URL is a miss at its own key, and of the request only the URL is looked at."""
        asking = Asking(HTTP_X_A="1")
        found = found_for(engine, asking)
        assert (found.key, found.entry, found.why) == (URL, None, "")
        assert found.decision.verdict is Verdict.MISS
        assert asking.looks == 0

    def test_a_url_that_reads_nothing(self, engine, clock):
        """One look-up, without the request's headers, by the table of time."""
        engine.store.publish(URL, entry())
        asking = Asking()
        verdicts = []
        for _ in range(3):
            found = found_for(engine, asking)
            verdicts.append(found.decision.verdict)
            assert found.now == clock.now
            clock.tick(30)
        assert verdicts == [Verdict.FRESH, Verdict.STALE, Verdict.MISS]
        assert asking.looks == 0

    def test_by_what_the_url_reads(self, engine):
        """Where the URL is known to read a header, its value is part of the key."""
        learned(engine, "header X-A")
        key = VariantKey(URL, ("header X-A",), ("1",))
        engine.store.publish(key, entry())
        same, other = (found_for(engine, Asking(HTTP_X_A=value)) for value in "12")
        assert (same.key, same.entry is not None) == (key, True)
        assert same.names == ("header X-A",)
        assert same.inputs is not None
        assert other.entry is None
        assert other.key == VariantKey(URL, ("header X-A",), ("2",))

    def test_who_brings_something_personal(self, engine):
        """Who carries what the URL reads passes, and nothing is looked up for him."""
        learned(engine, "cookie user")
        assert found_for(engine, Asking(HTTP_COOKIE="other=1")).why == ""
        found = found_for(engine, Asking(HTTP_COOKIE="user=ann"))
        assert "cookie user" in found.why
        assert found.entry is None
        assert found.names == ("cookie user",)

    def test_a_note_that_all_pass(self, engine):
        """What is noted as not cacheable passes, and says why."""
        engine.store.publish(URL, entry(value=None, passing="sets a cookie"))
        found = found_for(engine, Asking())
        assert (found.entry, found.why) == (None, "sets a cookie")

    @pytest.mark.parametrize(
        ("directives", "verdict"),
        [(None, Verdict.FRESH), ("no-cache", Verdict.MISS), ("max-age=60", Verdict.FRESH)],
    )
    def test_what_the_request_asks(self, engine, directives, verdict):
        """The request's directives count where they are given (RFC 9111 §5.2.1)."""
        engine.store.publish(URL, entry())
        found = found_for(engine, Asking(), directives=directives)
        assert found.decision.verdict is verdict

    def test_credentials_at_a_proxy_like_view(self, engine):
        """Under vary="response" who sends credentials passes (RFC 9111 §3.5)."""
        rules = Rules(vary="response")
        engine.store.publish(URL, entry())
        assert found_for(engine, Asking(HTTP_X_A="1"), rules).why == ""
        for name in ("HTTP_AUTHORIZATION", "HTTP_COOKIE"):
            assert found_for(engine, Asking(**{name: "x"}), rules).why == "sends credentials"

    def test_an_answer_that_says_it_is_for_all(self, engine, clock):
        """Cache-Control: public lets those with credentials share (RFC 9111 §3.5)."""
        rules = Rules(vary="response")
        value = Answer(200, (("Cache-Control", "public, max-age=9"),), b"x")
        engine.store.publish(URL, entry(value=value))
        assert found_for(engine, Asking(HTTP_AUTHORIZATION="x"), rules).why == ""
        clock.tick(70)  # his own may be another one
        assert found_for(engine, Asking(HTTP_AUTHORIZATION="x"), rules).why == "sends credentials"


class TestMissed:
    def test_the_words(self, engine, clock):
        """uri-miss, vary-miss, stale and request: RFC 9211 §2.2."""
        assert missed(engine, URL, found_for(engine, Asking()))[:2] == ("uri-miss", False)
        learned(engine, "header X-A")
        first = found_for(engine, Asking(HTTP_X_A="1"))
        assert missed(engine, URL, first)[:2] == ("uri-miss", False)
        engine.store.publish(first.key, entry())
        other = found_for(engine, Asking(HTTP_X_A="2"))
        assert missed(engine, URL, other)[:2] == ("vary-miss", False)
        same = found_for(engine, Asking(HTTP_X_A="1"), directives="no-cache")
        assert missed(engine, URL, same)[:2] == ("request", True)
        clock.tick(70)
        gone = found_for(engine, Asking(HTTP_X_A="1"))
        assert missed(engine, URL, gone)[:2] == ("stale", False)


class TestSaid:
    """Cache-Status (RFC 9211), and the counters."""

    @pytest.mark.parametrize(
        ("after", "revalidating", "status"),
        [
            (0.0, False, "aswr; hit; ttl=30"),
            (29.5, False, "aswr; hit; ttl=0"),
            (30.0, True, "aswr; hit; ttl=0; detail=revalidating"),
            (40.0, False, "aswr; hit; ttl=-10; detail=held-back"),
            (30.5, True, "aswr; hit; ttl=-1; detail=revalidating"),
        ],
    )
    def test_a_hit(self, engine, after, revalidating, status):
        """What is left of its life, in whole seconds; past it, whether it is being renewed."""
        given = hit(
            engine, engine.tallies["v"], "k", entry(), START + after, revalidating=revalidating
        )
        assert given.status == status
        assert given.answer is ANSWER
        assert (engine.tallies["v"].hits, engine.tallies["v"].stale_hits) == (1, int(after >= 30))

    def test_a_hit_in_debug_mode(self, engine):
        """More is said where more is given, of fresh and of stale."""
        for after in (0.0, 40.0):
            given = hit(
                engine, engine.tallies["v"], "k", entry(), START + after, revalidating=True, key="k"
            )
            assert given.status.endswith("; key=k")

    @pytest.mark.parametrize("fresh", [10.0**15, 10.0**18])
    def test_what_never_ends(self, engine, fresh):
        """An integer has 15 digits at most (RFC 8941 §3.3.1)."""
        status = hit(
            engine,
            engine.tallies["v"],
            "k",
            entry(fresh=fresh, stale=fresh),
            START,
            revalidating=False,
        ).status
        ttl = status.partition("ttl=")[2]
        assert len(ttl) <= 15

    def test_in_place_of_a_load(self, engine):
        """What stands in says for what, and counts as a stale hit."""
        given = stand_in(engine, engine.tallies["v"], "k", entry(), START + 70, "soft-timeout")
        assert given.status == "aswr; hit; ttl=-40; detail=soft-timeout"
        assert (engine.tallies["v"].hits, engine.tallies["v"].stale_hits) == (1, 1)

    @pytest.mark.parametrize(
        ("how", "word"),
        [(How.STORED, "; stored"), (How.COLLAPSED, "; collapsed"), (How.ANSWERED, "")],
    )
    def test_of_a_load(self, engine, how, word):
        """Stored, shared with another's load, or neither: then no entry, and no Age."""
        result = Result(how, entry(), value=ANSWER)
        given = loaded(engine, engine.tallies["v"], "k", result, START, Missed("uri-miss"))
        assert given.status == f"aswr; fwd=uri-miss{word}"
        assert (given.entry is None) is (how is How.ANSWERED)
        assert engine.tallies["v"].hits == 0

    def test_of_a_load_that_another_process_made(self, engine):
        """What the load found in the shared store is a hit."""
        given = loaded(
            engine, engine.tallies["v"], "k", Result(How.HIT, entry()), START, Missed("stale")
        )
        assert given.status == "aswr; hit; ttl=30"
        assert engine.tallies["v"].hits == 1

    def test_of_a_revalidation(self, engine):
        """The status that the view answered with is said (RFC 9211 §2.3)."""
        result = Result(How.STORED, entry(), value=ANSWER, status=304)
        given = loaded(engine, engine.tallies["v"], "k", result, START, Missed("stale"))
        assert given.status == "aswr; fwd=stale; fwd-status=304; stored"

    def test_of_a_load_that_failed(self):
        """A 5xx of the view is passed on as no cache's."""
        given = failed(Answer(503, (), b"x"), Missed("stale"))
        assert given.status == "aswr; fwd=stale; fwd-status=503"
        assert given.entry is None


def test_less_than_the_url_reads_now(app, manager, counter):
    """An answer from before the URL was seen to read more is found by who agrees with it."""

    @app.get("/x")
    @manager.cacher(timeout=60, public=True)
    def view() -> str:
        more = request.headers.get("X-B") if request.headers.get("X-A") else ""
        return f"{more} {counter()}"

    plain = Ask()
    assert by_wsgi(app, plain).text == " 1"
    more = Ask(headers=(("X-A", "1"), ("X-B", "2")))
    assert by_wsgi(app, more).text == "2 2"
    other = Ask(headers=(("X-B", "3"),))
    reply = door_of(app).answer(other.environ(), other.environ)
    assert reply.body == b" 1"
