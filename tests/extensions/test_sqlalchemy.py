"""Flask-SQLAlchemy: a load has a database session of its own, which ends with it."""

import asyncio
from pathlib import Path

import pytest
from flask import Flask, g, render_template_string
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


@pytest.fixture
def db(app: Flask, tmp_path: Path):
    """A database whose pool is empty after two connections that nobody gave back."""
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'shop.db'}"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_size": 2, "max_overflow": 0, "pool_timeout": 5,
    }  # fmt: skip
    db = SQLAlchemy(app, model_class=Base)
    yield db
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def article(app: Flask, db):
    class Article(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    with app.app_context():
        db.create_all()
        db.session.add_all(Article(id=number, name=f"article {number}") for number in range(100))
        db.session.commit()
    yield Article
    Base.registry.dispose()
    Base.metadata.clear()


@pytest.fixture
def torn_down(app: Flask) -> list[object]:
    """What teardown functions got: one entry for each app context that ended."""
    found: list[object] = []
    app.teardown_appcontext(found.append)
    return found


def settled(app, db) -> tuple[int, int]:
    """Sessions still registered and connections still out."""
    with app.app_context():
        return len(db.session.registry.registry), db.engine.pool.checkedout()


@pytest.mark.parametrize("public", [False, True], ids=["in-app", "public"])
def test_nothing_is_left_of_a_hundred_loads(app, manager, db, article, cached, torn_down, public):
    """Every session is removed, every connection given back, every teardown function run."""

    @app.route("/<int:number>")
    @cached(public=public)
    def page(number):
        found = db.session.get(article, number)
        return render_template_string("{{ found.name }}", found=found)

    torn_down.clear()
    client = app.test_client()
    for number in range(100):
        assert client.get(f"/{number}").text == f"article {number}"
    assert manager.join(5)
    assert manager.stats()["loads"] == 100
    assert torn_down == [None] * 200  # of each request's own context, and of its load's
    assert settled(app, db) == (0, 0)


def test_hits_need_no_connection(app, manager, db, article, cached, torn_down):
    """A stored answer is given while every connection is out."""

    @app.route("/<int:number>")
    @cached()
    def page(number):
        return db.session.get(article, number).name

    client = app.test_client()
    client.get("/1")
    with app.app_context():
        held = [db.engine.connect(), db.engine.connect()]
        assert client.get("/1").text == "article 1"
        for connection in held:
            connection.close()


def test_failing_loads_leave_nothing_either(app, manager, db, article, cached, torn_down):
    """A load that raises is rolled back and torn down, with its error."""

    @app.route("/<int:number>")
    @cached()
    def page(number):
        db.session.get(article, number).name = "changed"
        db.session.flush()
        raise ValueError(number)

    torn_down.clear()
    client = app.test_client()
    codes = {client.get(f"/{number}").status_code for number in range(20)}
    assert codes == {500}
    assert manager.join(5)
    assert sum(isinstance(error, ValueError) for error in torn_down) >= 20
    assert settled(app, db) == (0, 0)
    with app.app_context():
        assert db.session.get(article, 1).name == "article 1"


def test_a_load_has_a_session_of_its_own(app, db, article, cached):
    """Not its caller's, whose unsaved changes and loaded objects it does not see."""
    sessions = []

    @app.before_request
    def unsaved():
        sessions.append(db.session())
        g.article = db.session.get(article, 1)
        g.article.name = "unsaved"

    @app.route("/")
    @cached()
    def page():
        sessions.append(db.session())
        return db.session.get(article, 1).name

    assert app.test_client().get("/").text == "article 1"
    assert sessions[0] is not sessions[1]


def test_loads_at_the_same_time_have_one_session_each(app, manager, db, article):
    """Coroutines that take turns on one thread do not share a session."""
    sessions, both = [], asyncio.Event()

    @app.route("/<int:number>")
    @manager.cacher(20)
    async def page(number):
        sessions.append(db.session())
        name = db.session.get(article, number).name
        if len(sessions) == 2:
            both.set()
        await both.wait()
        assert db.session() is sessions[number - 1] or db.session() in sessions
        return name

    with app.test_request_context():
        pass
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(lambda n: app.test_client().get(f"/{n}").text, (1, 2)))
    assert texts == ["article 1", "article 2"]
    assert len(set(map(id, sessions))) == 2
    assert settled(app, db) == (0, 0)


def test_a_refresh_sees_what_was_saved_meanwhile(app, manager, db, article, cached, clock):
    """A load in the background reads the database anew, and leaves nothing open."""

    @app.route("/")
    @cached()
    def page():
        return db.session.scalars(select(article.name).where(article.id == 1)).one()

    client = app.test_client()
    assert client.get("/").text == "article 1"
    with app.app_context():
        db.session.get(article, 1).name = "renamed"
        db.session.commit()
    clock.tick(18)
    assert client.get("/").text == "article 1"
    assert manager.join(5)
    assert client.get("/").text == "renamed"
    assert settled(app, db) == (0, 0)


def test_jobs_leave_nothing_either(app, manager, db, article, cached, clock):
    """A refresh that no request stands behind gives back what it took."""

    @app.route("/")
    @cached()
    def page():
        return db.session.get(article, 1).name

    for _ in range(20):
        manager.refresh("/")
    assert manager.join(5)
    assert settled(app, db) == (0, 0)
