"""Flask-Limiter: limits are checked before the view, so that they count hits too."""

from flask import Flask, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address


def limiter_of(app: Flask, *limits: str, key=get_remote_address) -> Limiter:
    return Limiter(
        key, app=app, default_limits=list(limits), storage_uri="memory://", headers_enabled=True
    )


def test_hits_count(app, manager, cached, counter, told):
    """The answer is one load's, and each request is counted all the same."""
    limiter_of(app, "3 per day")

    @app.route("/")
    @cached()
    def page():
        return str(counter())

    client = app.test_client()
    answers = [client.get("/") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.text for answer in answers[:3]] == ["1"] * 3
    assert told.hit(answers[2])
    remaining = [answer.headers["X-RateLimit-Remaining"] for answer in answers]
    assert remaining == ["2", "1", "0", "0", "0"]
    assert manager.stats()["loads"] == 1


def test_each_address_has_its_own_limit(app, cached, counter, told):
    """Visitors share the answer, not the limit; and the page is cached though the hook asks."""
    limiter_of(app, "1 per day")

    @app.route("/")
    @cached()
    def page():
        return str(counter())

    def get(address):
        return app.test_client().get("/", environ_base={"REMOTE_ADDR": address})

    answers = [get(address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[1].text == "1"
    assert told.hit(answers[1])


def test_a_refusal_is_never_stored(app, manager, cached, counter):
    """Who is over the limit is refused before the cache is asked, and keeps nobody out."""
    limiter_of(app, "1 per day", key=lambda: request.headers.get("X-Who", ""))

    @app.route("/")
    @cached(statuses={429: 60})
    def page():
        return str(counter())

    def get(who):
        return app.test_client().get("/", headers={"X-Who": who}).status_code

    assert [get(who) for who in ("a", "a", "b", "c")] == [200, 429, 200, 200]


def test_a_limit_above_the_cacher(app, manager, cached, counter):
    """A decorated limit above the cacher counts hits."""
    limiter = limiter_of(app)

    @app.route("/")
    @limiter.limit("2 per day")
    @cached()
    def page():
        return str(counter())

    answers = [app.test_client().get("/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert manager.stats()["loads"] == 1


def test_a_limit_on_loads(app, manager, cached, counter):
    """A limit checked within the view counts renders, and needs a key that is nobody's own."""
    limiter = limiter_of(app)

    @app.route("/<int:number>")
    @cached()
    def page(number):
        with limiter.limit("2 per day", key_func=lambda: "loads"):
            return f"{number} {counter()}"

    codes = [app.test_client().get(f"/{number}").status_code for number in (1, 1, 1, 2, 2, 3)]
    assert codes == [200, 200, 200, 200, 200, 429]
    assert app.test_client().get("/1").status_code == 200


def test_renders_cost_nobody_a_request(app, cached, counter):
    """A load runs no hooks, so that it is not counted beside the request that caused it."""
    limiter_of(app, "2 per day", key=lambda: "everybody")

    @app.route("/")
    @cached()
    def page():
        return str(counter())

    codes = [app.test_client().get("/").status_code for _ in range(3)]
    assert codes == [200, 200, 429]


def test_a_public_view_limited_by_address_is_not_cached(app, cached, counter, told):
    """Its render runs the hook, which reads the address: everybody passes, and is limited."""
    limiter_of(app, "3 per day")

    @app.route("/")
    @cached(public=True)
    def page():
        return str(counter())

    def get(address):
        return app.test_client().get("/", environ_base={"REMOTE_ADDR": address})

    answers = [get("10.0.0.1") for _ in range(4)]
    assert [answer.status_code for answer in answers][-1] == 429
    assert "reads remote address" in told(answers[0])
    assert get("10.0.0.2").status_code == 200


def test_a_public_view_that_is_exempt(app, colour, manager, counter, told):
    """Without a limit of its own a public view is cached in an app that has limits."""
    limiter = limiter_of(app, "2 per day")

    @app.route("/")
    @limiter.exempt
    @manager.cacher(20, public=True)
    @colour
    def page():
        return str(counter())

    answers = [app.test_client().get("/") for _ in range(4)]
    assert [answer.text for answer in answers] == ["1"] * 4
    assert told.hit(answers[3])
