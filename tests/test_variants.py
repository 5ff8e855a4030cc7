"""What splits a URL into variants: query=, vary=, ignore=, key=, names in g, and their bounds."""

import enum
import threading

import flask
import pytest
from aiocache import SimpleMemoryCache
from flask import Flask, g, request, session

from aswr import CacheManager

PAGE = {"Accept-Language": "de"}, {"Accept-Language": "en"}


def status(response) -> str:
    return response.headers.get("Cache-Status", "")


def is_hit(response) -> bool:
    return status(response).startswith("aswr; hit")


def texts(client, *urls: str) -> list[str]:
    return [client.get(url).text for url in urls]


def fingerprint() -> str:
    """What ``ignore=["module:function"]`` names in these tests."""
    return f"{request.remote_addr} {request.headers.get('User-Agent')}"


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class TestQuery:
    @pytest.fixture
    def view(self, app, manager, counter):
        """Makes a cached view at /x that shows the parameters a and b, as the options say."""

        def make(**options):
            @app.route("/x")
            @manager.cacher(timeout=20, **options)
            async def view():
                seen = (request.args.get("a"), request.args.get("b"))
                return f"{seen[0]} {seen[1]} {counter()}"

            return view

        return make

    def test_all_parameters_are_part_of_the_key_by_default(self, app, view):
        """query=True: a parameter that no view reads makes another entry, too."""
        view()
        client = app.test_client()
        assert texts(client, "/x?a=1", "/x?a=1&junk=1", "/x?a=1") == [
            "1 None 1", "1 None 2", "1 None 1",
        ]  # fmt: skip

    def test_a_list_names_what_exists(self, app, view):
        """query=[...]: the view sees these parameters alone, and others never split the cache."""
        view(query=["a"])
        client = app.test_client()
        assert texts(client, "/x?a=1&b=2", "/x?utm_source=z&b=3&a=1", "/x?a=2", "/x?b=1") == [
            "1 None 1", "1 None 1", "2 None 2", "None None 3",
        ]  # fmt: skip

    def test_an_empty_list_is_one_page(self, app, view):
        """query=[]: the view has no parameters, and its URL is one page."""
        view(query=[])
        client = app.test_client()
        assert texts(client, "/x?a=1", "/x", "/x?b=2") == ["None None 1"] * 3

    def test_of_a_list_nothing_else_of_the_query_is_seen(self, app, manager):
        """query=[...]: query_string, full_path, url and the environ have only what is named."""

        @app.route("/x")
        @manager.cacher(timeout=20, query=["a"])
        async def view():
            return {
                "string": request.query_string.decode(),
                "path": request.full_path,
                "url": request.url,
                "environ": request.environ["QUERY_STRING"],
                "uri": request.environ["REQUEST_URI"],
                "args": request.args.to_dict(flat=False),
                "values": request.values.to_dict(flat=False),
            }

        seen = app.test_client().get("/x?b=2&a=1&a=3&c=").json
        assert seen == {
            "string": "a=1&a=3",
            "path": "/x?a=1&a=3",
            "url": "http://localhost/x?a=1&a=3",
            "environ": "a=1&a=3",
            "uri": "/x?a=1&a=3",
            "args": {"a": ["1", "3"]},
            "values": {"a": ["1", "3"]},
        }

    def test_read_learns_parameters(self, app, view, counter):
        """query="read": parameters that the view does not read never split the cache."""
        view(query="read")
        client = app.test_client()
        assert texts(client, "/x?a=1", "/x?utm=9&a=1", "/x?a=1&x=2&y=3") == ["1 None 1"] * 3
        assert texts(client, "/x?a=1&b=", "/x?b=&a=1&z", "/x", "/x?z=1") == [
            "1  2", "1  2", "None None 3", "None None 3",
        ]  # fmt: skip
        assert counter.count == 3

    def test_read_tells_all_values_of_a_name(self, app, manager, counter):
        """query="read": the order and number of a parameter's values are part of its key."""

        @app.route("/x")
        @manager.cacher(timeout=20, query="read")
        async def view():
            return f"{','.join(request.args.getlist('a'))} {counter()}"

        client = app.test_client()
        assert texts(client, "/x?a=1&a=2", "/x?a=2&a=1", "/x?a=1", "/x?a=1&j=1&a=2") == [
            "1,2 1", "2,1 2", "1 3", "1,2 1",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "read",
        [
            lambda: request.query_string.decode(),
            lambda: request.full_path,
            lambda: request.url,
            lambda: sorted(request.args.items(multi=True)),
            lambda: request.environ["QUERY_STRING"],
            lambda: request.values.to_dict(),
        ],
    )
    def test_reading_the_whole_query_learns_the_whole(self, app, manager, counter, read):
        """query="read": who reads the query as a whole has an entry for each."""

        @app.route("/x")
        @manager.cacher(timeout=20, query="read")
        async def view():
            return f"{read()} {counter()}"

        client = app.test_client()
        one, two, three = texts(client, "/x?a=1", "/x?a=2", "/x?a=1")
        assert "a" in one
        assert (one.split()[-1], two.split()[-1]) == ("1", "2")
        assert three == one

    def test_verbs_of_a_list(self, app, manager, view):
        """query=[...]: verbs take a URL as a visitor has it, junk and all."""
        view(query=["a"])
        client = app.test_client()
        client.get("/x?a=1")
        client.get("/x?a=2")
        assert manager.peek("/x?junk=1&a=1").value.body == b"1 None 1"
        assert manager.peek("/x") is None
        assert manager.refresh("/x?a=1&junk=2").value.body == b"1 None 3"
        manager.invalidate("/x?junk=3&a=2")
        assert manager.peek("/x?a=2") is None
        assert manager.peek("/x?a=1").value.body == b"1 None 3"
        manager.invalidate("/x")
        assert manager.peek("/x?a=1") is None

    def test_verbs_of_read(self, app, manager, view):
        """query="read": verbs find the variant of a URL, and purge by path or by URL."""
        view(query="read")
        client = app.test_client()
        texts(client, "/x?a=1", "/x?a=2", "/x")
        assert manager.peek("/x?junk=1&a=1").value.body == b"1 None 1"
        assert manager.peek("/x").value.body == b"None None 3"
        assert manager.refresh("/x?a=2&junk=1").value.body == b"2 None 4"
        assert client.get("/x?junk=5&a=2").text == "2 None 4"
        manager.invalidate("/x?a=2")
        assert manager.peek("/x?a=2") is None
        texts(client, "/x?a=1")
        manager.invalidate("/x")
        assert [manager.peek(url) for url in ("/x", "/x?a=1", "/x?a=2")] == [None] * 3

    @pytest.mark.parametrize("query", [True, ["a"], "read"])
    def test_a_job_of_a_url_with_a_query(self, app, manager, query):
        """A job for /x?a=7 renders with that parameter, and visitors of the URL hit."""
        seen, ran = [], threading.Semaphore(0)

        @app.route("/x")
        @manager.cacher(timeout=100, query=query)
        async def view():
            seen.append(request.args.get("a"))
            ran.release()
            return str(seen)

        manager.schedule_periodic_refresh("/x?a=7", 50)
        manager.start()
        assert ran.acquire(timeout=10)
        assert manager.join(5)
        assert seen == ["7"]
        assert is_hit(app.test_client().get("/x?a=7"))

    def test_a_refresh_renews_every_query_that_is_in_use(self, app, manager, view):
        """refresh("/x") renews what was read under other queries, each with its own values."""
        view(query="read")
        client = app.test_client()
        texts(client, "/x?a=1", "/x?a=1", "/x?a=2", "/x?a=2", "/x?a=3")
        manager.refresh("/x")
        assert manager.join(5)
        assert {client.get(f"/x?a={n}").text.rpartition(" ")[0] for n in (1, 2)} == {
            "1 None", "2 None",
        }  # fmt: skip
        assert [client.get(f"/x?a={n}").text.split()[2] > "3" for n in (1, 2)] == [True, True]
        assert client.get("/x?a=3").text == "3 None 3"

    def test_the_views_own_verbs(self, app, manager, view):
        """view.refresh() and view.invalidate() act on the path, whatever of the query counts."""
        cached = view(query="read")
        client = app.test_client()
        texts(client, "/x?a=1", "/x")
        assert cached.refresh().value.body == b"None None 3"
        cached.invalidate()
        assert [manager.peek(url) for url in ("/x", "/x?a=1")] == [None, None]

    @pytest.mark.parametrize("query", [True, ["q"], "read"])
    def test_a_url_is_one_however_it_is_written(self, app, manager, counter, query):
        """Escapes of the same text are one entry."""

        @app.route("/x")
        @manager.cacher(timeout=20, query=query)
        async def view():
            return f"{request.args.get('q')} {counter()}"

        found = texts(app.test_client(), "/x?q=a%20b~", "/x?q=a+b%7E", "/x?%71=%61%20b%7e")
        assert found == ["a b~ 1"] * 3


class TestVary:
    def test_a_list_hides_other_headers(self, app, manager, counter):
        """vary=[...]: other headers are absent in the render, and never split the cache."""

        @app.route("/x")
        @manager.cacher(timeout=20, vary=["Accept-Language"])
        async def view():
            agent = request.headers.get("User-Agent")
            return f"{request.headers.get('Accept-Language')} {agent} {counter()}"

        client = app.test_client()
        for agent in ("one", "two"):
            for language, number in (("de", 1), ("en", 2)):
                headers = {"Accept-Language": language, "User-Agent": agent}
                assert client.get("/x", headers=headers).text == f"{language} None {number}"

    def test_a_list_hides_host_and_scheme(self, app, manager, counter):
        """vary=[...] without "host": the render is at the app's own address."""

        @app.route("/x")
        @manager.cacher(timeout=20, vary=[])
        async def view():
            return f"{request.url} {counter()}"

        client = app.test_client()
        for base in ("http://a.example/", "https://b.example/"):
            assert client.get("/x", base_url=base).text == "http://localhost/x 1"

    def test_a_list_may_show_the_host(self, app, manager, counter):
        """vary=["host"]: the host is seen, in lower case, and part of the key."""

        @app.route("/x")
        @manager.cacher(timeout=20, vary=["host"])
        async def view():
            return f"{request.host} {counter()}"

        client = app.test_client()
        hosts = ["http://a.example/", "http://b.example/", "http://A.example/"]
        assert [client.get("/x", base_url=base).text for base in hosts] == [
            "a.example 1", "b.example 2", "a.example 1",
        ]  # fmt: skip

    def test_a_listed_header_that_is_not_read_does_not_split(self, app, manager, counter):
        """vary=[...] says what may be read; what is not read is no part of the key."""

        @app.route("/x")
        @manager.cacher(timeout=20, vary=["Accept-Language"])
        async def view():
            return counter()

        client = app.test_client()
        assert [client.get("/x", headers=headers).text for headers in PAGE] == ["1", "1"]

    def test_a_cookie_may_be_listed(self, app, manager, counter, caplog):
        """vary=["cookie:theme"]: it is learned by its value, and the other cookies stay unseen."""

        @app.route("/x")
        @manager.cacher(timeout=20, vary=["cookie:theme"])
        async def view():
            return f"{request.cookies.get('theme')} {request.cookies.get('id')} {counter()}"

        client = app.test_client(use_cookies=False)
        sent = ["theme=dark", "theme=light; _ga=2", "_ga=7; theme=dark", ""]
        for _ in range(2):
            found = [client.get("/x", headers={"Cookie": c} if c else {}).text for c in sent]
            assert found == ["dark None 1", "light None 2", "dark None 1", "None None 3"]
        own = client.get("/x", headers={"Cookie": "theme=dark; id=7"})
        assert own.text == "dark 7 4"
        assert status(own) == 'aswr; fwd=bypass; detail="reads cookie id"'

    def test_a_listed_cookie_in_its_raw_form(self, app, manager):
        """vary=["cookie:theme"]: the Cookie header that the view may read has that one alone."""

        @app.route("/x")
        @manager.cacher(timeout=20, vary=["cookie:theme"])
        async def view():
            return request.headers.get("Cookie", "none")

        client = app.test_client(use_cookies=False)
        assert client.get("/x", headers={"Cookie": "theme=dark"}).text == "theme=dark"
        assert is_hit(client.get("/x", headers={"Cookie": "theme=dark"}))
        passed = client.get("/x", headers={"Cookie": "theme=dark; id=1"})
        assert passed.text == "theme=dark; id=1"
        assert "bypass" in status(passed)

    def test_what_is_personal_still_passes(self, app, manager, counter):
        """vary=[...] makes nothing public: who brings a session that is read passes."""

        @app.route("/x")
        @manager.cacher(timeout=20, vary=["Accept-Language"])
        async def view():
            return f"{session.get('user')} {counter()}"

        client = app.test_client()
        assert texts(client, "/x", "/x") == ["None 1", "None 1"]
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        assert texts(client, "/x", "/x") == ["ann 2", "ann 3"]

    def test_verbs_with_a_listed_cookie(self, app, manager, counter):
        """peek and refresh are of the plain request; variants in use are renewed beside it."""

        @app.route("/x")
        @manager.cacher(timeout=20, vary=["cookie:theme", "Accept-Language"])
        async def view():
            language = request.headers.get("Accept-Language")
            return f"{request.cookies.get('theme')} {language} {counter()}"

        client = app.test_client(use_cookies=False)
        dark = {"Cookie": 'theme="dark blue"', "Accept-Language": "de"}
        for _ in range(2):
            assert client.get("/x", headers=dark).text == "dark blue de 1"
        assert manager.peek("/x") is None
        assert manager.refresh("/x").value.body == b"None None 2"
        assert manager.peek("/x").value.body == b"None None 2"
        assert client.get("/x", headers=dark).text == "dark blue de 3"
        manager.invalidate("/x")
        assert client.get("/x", headers=dark).text == "dark blue de 4"

    class TestResponse:
        """vary="response": HTTP's own contract."""

        @pytest.fixture
        def view(self, app, manager, counter):
            """Makes a proxy-like view at /x whose answers say what is given."""

            def make(fields, **options):
                @app.route("/x")
                @manager.cacher(timeout=20, vary="response", **options)
                async def view():
                    language = request.headers.get("Accept-Language")
                    return f"{language} {counter()}", fields

            return make

        def test_the_responses_vary_decides(self, app, view):
            """What the answer does not name in Vary is no part of the key, though it is read."""
            view({})
            client = app.test_client()
            assert [client.get("/x", headers=headers).text for headers in PAGE] == ["de 1"] * 2

        def test_what_vary_names_is_part_of_the_key(self, app, view):
            """A header that Vary names splits, whether the view reads it or not."""
            view({"Vary": "accept-language , X-Other"})
            client = app.test_client()
            assert [client.get("/x", headers=headers).text for headers in PAGE * 2] == [
                "de 1", "en 2", "de 1", "en 2",
            ]  # fmt: skip
            assert client.get("/x", headers={**PAGE[0], "X-Other": "1"}).text == "de 3"

        def test_requests_with_credentials_pass(self, app, view):
            """A request with Cookie or Authorization passes, and stores nothing for others."""
            view({})
            client = app.test_client(use_cookies=False)
            for headers in ({"Cookie": "a=1"}, {"Authorization": "Basic eDp5"}):
                for _ in range(2):
                    passed = client.get("/x", headers=headers)
                    assert status(passed) == ('aswr; fwd=bypass; detail="sends credentials"')
            assert client.get("/x").text == "None 5"
            assert "bypass" in status(client.get("/x", headers={"Cookie": "a=1"}))

        @pytest.mark.parametrize("directive", ["public", "s-maxage=10", "must-revalidate"])
        def test_credentials_share_what_says_so(self, app, view, directive):
            """An answer with public, s-maxage or must-revalidate is for requests with credentials
            too (RFC 9111 §3.5)."""
            view({"Cache-Control": f"{directive}, max-age=10"})
            client = app.test_client()
            client.get("/x")
            assert is_hit(client.get("/x", headers={"Authorization": "Basic eDp5"}))

        def test_what_is_personal_is_unseen(self, app, manager):
            """What a proxy-like view reads of a person by name is in his own answer alone."""

            @app.route("/x")
            @manager.cacher(timeout=20, vary="response")
            async def view():
                return repr(request.headers.get("X-Forwarded-For"))

            client = app.test_client()
            for _ in range(2):
                assert client.get("/x", headers={"X-Forwarded-For": "1.2.3.4"}).text == "'1.2.3.4'"
                assert client.get("/x").text == "None"

        def test_host_and_scheme_are_always_of_the_key(self, app, view):
            """A proxy-like view's URL has its host and scheme (RFC 9111 §2)."""
            view({})
            client = app.test_client()
            bases = ["http://a.example/", "http://b.example/", "https://a.example/"]
            found = [client.get("/x", base_url=base).text for base in bases * 2]
            assert found == ["None 1", "None 2", "None 3"] * 2

        def test_a_list_of_parameters_beside_it(self, app, view):
            """query=[...] goes with vary="response"."""
            view({}, query=["page"])
            client = app.test_client()
            assert texts(client, "/x?page=1&j=1", "/x?page=1", "/x?page=2") == [
                "None 1", "None 1", "None 2",
            ]  # fmt: skip


class TestIgnore:
    def test_an_ignored_header_is_absent(self, app, manager, counter):
        """ignore=["X-Trace"]: the render does not see it, and it never splits the cache."""

        @app.route("/x")
        @manager.cacher(timeout=20, ignore=["X-Trace"])
        async def view():
            return f"{request.headers.get('X-Trace')} {counter()}"

        client = app.test_client()
        found = [client.get("/x", headers={"X-Trace": trace}).text for trace in "ab"]
        assert found == ["None 1", "None 1"]

    def test_an_ignored_cookie_is_absent(self, app, manager, counter):
        """ignore=["cookie:_ga"]: the view may look for it, or list its cookies, and still hit."""

        @app.route("/<how>")
        @manager.cacher(timeout=20, ignore=["cookie:_ga"])
        async def view(how):
            found = request.cookies.get("_ga") if how == "get" else dict(request.cookies)
            return f"{found} {counter()}"

        client = app.test_client(use_cookies=False)
        sent = ["_ga=1", "_ga=2"]
        assert [client.get("/get", headers={"Cookie": c}).text for c in sent] == ["None 1"] * 2
        assert [client.get("/all", headers={"Cookie": c}).text for c in sent] == ["{} 2"] * 2
        own = client.get("/all", headers={"Cookie": "_ga=1; id=2"})
        assert own.text == "{'_ga': '1', 'id': '2'} 3"

    def test_the_ignored_address(self, app, manager, counter, caplog):
        """ignore=["remote_addr"]: the render has no address, and everybody shares it."""

        @app.route("/x")
        @manager.cacher(timeout=20, ignore=["remote_addr"])
        async def view():
            return f"{request.remote_addr} {counter()}"

        assert texts(app.test_client(), "/x", "/x") == ["None 1", "None 1"]
        assert caplog.records == []

    def test_reads_below_an_ignored_function_do_not_count(self, app, manager, counter):
        """ignore=["module:function"]: its reads are not recorded; those of the view are."""

        @app.route("/x")
        @manager.cacher(timeout=20, ignore=[f"{__name__}:fingerprint"])
        async def view():
            fingerprint()
            return f"{request.headers.get('User-Agent')} {counter()}"

        client = app.test_client()
        sent = [{"User-Agent": agent} for agent in ("one", "two", "one")]
        assert [client.get("/x", headers=headers).text for headers in sent] == [
            "one 1", "two 2", "one 1",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "read",
        [
            lambda: request.headers.get("X-Trace"),
            lambda: request.cookies.get("_ga"),
            lambda: request.remote_addr,
            lambda: fingerprint() and None,
        ],
    )
    def test_an_app_may_ignore_for_all_its_views(self, clock, counter, read):
        """ASWR_IGNORE has what ignore= may have, for every view."""
        app = Flask("shop")
        app.config["ASWR_IGNORE"] = [
            "X-Trace", "cookie:_ga", "remote_addr", f"{__name__}:fingerprint",
        ]  # fmt: skip
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{read()} {counter()}"

        client = app.test_client(use_cookies=False)
        for number in "12":
            headers = {"X-Trace": number, "Cookie": f"_ga={number}", "User-Agent": number}
            assert client.get("/x", headers=headers).text == "None 1"
        manager.close()

    def test_an_app_may_name_more_that_is_personal(self, clock, counter):
        """ASWR_PERSONAL: requests with such a header pass where it is read."""
        app = Flask("shop")
        app.config["ASWR_PERSONAL"] = ["X-Customer-*"]
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{request.headers.get('X-Customer-Id')} {counter()}"

        client = app.test_client()
        headers = {"X-Customer-Id": "7"}
        assert texts(client, "/x", "/x") == ["None 1", "None 1"]
        assert [client.get("/x", headers=headers).text for _ in range(2)] == ["7 2", "7 3"]
        assert client.get("/x").text == "None 1"
        manager.close()


class TestKey:
    def test_its_value_is_part_of_the_key(self, app, manager, counter):
        """key= is called in the real request, at every request, and each value is an entry."""

        @app.route("/x")
        @manager.cacher(timeout=20, key=lambda: request.headers.get("X-Plan", "free"))
        async def view():
            return counter()

        client = app.test_client()
        sent = [{}, {"X-Plan": "pro"}, {"X-Plan": "free"}, {"X-Plan": "pro"}]
        assert [client.get("/x", headers=h).text for h in sent] == ["1", "2", "1", "2"]

    def test_it_may_look_at_what_is_personal(self, app, manager, counter):
        """key= may boil a session down to a few values; the render itself sees no session."""

        @app.route("/x")
        @manager.cacher(timeout=20, key=lambda: session.get("plan"))
        async def view():
            return counter()

        found = []
        for plan in ("pro", "free", "pro"):
            client = app.test_client()
            with client.session_transaction() as stored:
                stored["plan"] = plan
            found.append(client.get("/x").text)
        assert found == ["1", "2", "1"]

    def test_what_is_personal_stays_absent_and_recorded(self, app, manager, counter):
        """key= does not make the session visible: who has one passes where the view reads it."""

        @app.route("/x")
        @manager.cacher(timeout=20, key=lambda: session.get("plan"))
        async def view():
            return f"{session.get('plan')} {counter()}"

        client = app.test_client()
        with client.session_transaction() as stored:
            stored["plan"] = "pro"
        assert texts(client, "/x", "/x") == ["pro 2", "pro 3"]

    def test_a_value_that_cannot_be_keyed_is_an_error_with_the_cure(self, app, manager):
        """key= that returns an object is a TypeError that says what to return."""
        app.testing = True

        @app.route("/x")
        @manager.cacher(timeout=20, key=object)
        async def view():
            return "x"

        with pytest.raises(TypeError, match="such as the user's id"):
            app.test_client().get("/x")

    def test_values_of_different_types_are_different(self, app, manager, counter):
        """key= values 1, "1", True and None are four entries."""
        values = iter([1, "1", True, None, (1, "1"), 1, "1", True, None, (1, "1")])

        @app.route("/x")
        @manager.cacher(timeout=20, key=lambda: next(values))
        async def view():
            return counter()

        assert texts(app.test_client(), *["/x"] * 10) == list("12345") * 2

    def test_verbs_ask_it_for_a_plain_request(self, app, manager, counter):
        """peek and refresh act on the entry whose key= value a request without anything has."""

        @app.route("/x")
        @manager.cacher(timeout=20, key=lambda: request.headers.get("X-Plan", "free"))
        async def view():
            return counter()

        client = app.test_client()
        client.get("/x", headers={"X-Plan": "pro"})
        assert manager.peek("/x") is None
        client.get("/x")
        assert manager.peek("/x").value.body == b"2"
        assert manager.refresh("/x").value.body == b"3"
        assert client.get("/x").text == "3"
        manager.invalidate("/x")
        assert [client.get("/x", headers=h).text for h in ({}, {"X-Plan": "pro"})] == ["4", "5"]

    def test_a_refresh_renews_the_entries_of_other_values(self, app, manager, counter):
        """refresh and jobs renew every value of key= that is in use."""

        @app.route("/x")
        @manager.cacher(timeout=20, key=lambda: request.headers.get("X-Plan", "free"))
        async def view():
            return counter()

        client = app.test_client()
        for _ in range(2):
            client.get("/x", headers={"X-Plan": "pro"})
        manager.refresh("/x")
        assert manager.join(5)
        assert counter.count == 3
        assert client.get("/x", headers={"X-Plan": "pro"}).text in ("2", "3")

    def test_a_job_whose_key_needs_a_request_is_an_error_that_says_so(self, app, manager, caplog):
        """A key= that fails without hooks breaks its own job alone: no request, no other job."""
        ran = threading.Semaphore(0)

        @app.before_request
        def find():
            g.plan = "free"

        @app.route("/x")
        @manager.cacher(timeout=100, key=lambda: g.plan)
        async def view():
            return "x"

        @app.route("/y")
        @manager.cacher(timeout=100)
        async def other():
            ran.release()
            return "y"

        manager.schedule_periodic_refresh("/x", 50)
        manager.schedule_periodic_refresh("/y", 50)
        client = app.test_client()
        assert [client.get("/x").status_code for _ in range(2)] == [200, 200]
        assert ran.acquire(timeout=10)
        assert "/x" in caplog.text


class TestHooks:
    """What before_request hooks leave in g, and hooks that run in renders."""

    SIMPLE = [None, True, 7, 2.5, "text", b"bytes", 1j, Color.RED]

    @pytest.mark.parametrize("value", SIMPLE, ids=repr)
    def test_simple_values_are_given_and_learned(self, app, manager, counter, value):
        """A simple value of a hook's is what the render finds; another value is another entry."""
        values = [value, "else", value]

        @app.before_request
        def hook():
            g.it = values.pop(0)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{g.it!r} {counter()}"

        assert texts(app.test_client(), "/x", "/x", "/x") == [
            f"{value!r} 1", "'else' 2", f"{value!r} 1",
        ]  # fmt: skip

    def test_a_name_that_is_missing_differs_from_none(self, app, manager, counter):
        """g.it = None and no g.it at all are two entries."""

        @app.before_request
        def hook():
            if "it" in request.headers:
                g.it = None

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{g.get('it', 'missing')} {counter()}"

        client = app.test_client()
        sent = [{}, {"It": "1"}] * 2
        assert [client.get("/x", headers=h).text for h in sent] == [
            "missing 1", "None 2", "missing 1", "None 2",
        ]  # fmt: skip

    def test_an_object_passes_and_a_simple_value_hits(self, app, manager, counter):
        """Who has an object in g.it passes; who has a simple value or none shares."""

        @app.before_request
        def hook():
            kind = request.headers.get("It")
            if kind is not None:
                g.it = object() if kind == "object" else kind

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{type(g.get('it')).__name__} {counter()}"

        client = app.test_client()
        sent = [{}, {"It": "a"}, {"It": "object"}, {"It": "a"}, {"It": "object"}, {}]
        assert [client.get("/x", headers=h).text for h in sent] == [
            "NoneType 1", "str 2", "object 3", "str 2", "object 4", "NoneType 1",
        ]  # fmt: skip

    def test_the_first_caller_may_have_the_object(self, app, manager):
        """A cold view whose caller has an object in g passes, and answers him at once."""

        @app.before_request
        def hook():
            g.it = object()

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return type(g.it).__name__

        response = app.test_client().get("/x")
        assert (response.status_code, response.text) == (200, "object")

    def test_iterating_g_learns_all_of_it(self, app, manager, counter):
        """A view that lists g has an entry for each set of simple values."""

        @app.before_request
        def hook():
            for name in request.headers.get("Names", ""):
                setattr(g, name, 1)

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{sorted(g)} {counter()}"

        client = app.test_client()
        sent = [{}, {"Names": "ab"}, {"Names": "a"}, {"Names": "ba"}]
        assert [client.get("/x", headers=h).text for h in sent] == [
            "[] 1", "['a', 'b'] 2", "['a'] 3", "['a', 'b'] 2",
        ]  # fmt: skip

    def test_what_the_render_sets_itself_is_no_input(self, app, manager, counter):
        """A view that writes a name before it reads it does not depend on a hook's value."""

        @app.before_request
        def hook():
            g.it = request.headers.get("It")

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            g.it = "mine"
            return f"{g.it} {counter()}"

        client = app.test_client()
        assert [client.get("/x", headers={"It": it}).text for it in "ab"] == ["mine 1"] * 2

    def test_inputs_that_hooks_read_in_renders_are_learned(self, app, manager, counter):
        """run_before_request=True: what the hooks read is part of the key."""

        @app.before_request
        def hook():
            g.tenant = [request.headers.get("X-Tenant")]

        @app.route("/x")
        @manager.cacher(timeout=20, run_before_request=True)
        async def view():
            return f"{g.tenant[0]} {counter()}"

        client = app.test_client()
        sent = [{"X-Tenant": tenant} for tenant in ("a", "b", "a")]
        assert [client.get("/x", headers=h).text for h in sent] == ["a 1", "b 2", "a 1"]

    def test_a_hook_that_looks_for_its_own_name_may_run_in_renders(self, app, manager, counter):
        """run_before_request=True: a hook that connects unless g.db is there is no input."""

        @app.before_request
        def connect():
            if "db" not in g:
                g.db = object()

        @app.route("/x")
        @manager.cacher(timeout=20, run_before_request=True)
        async def view():
            assert g.db
            return counter()

        assert texts(app.test_client(), "/x", "/x") == ["1", "1"]

    def test_a_hook_that_reads_the_session_in_renders_is_personal(self, app, manager, counter):
        """run_before_request=True: who has a session that a hook reads passes; others share."""

        @app.before_request
        def load_user():
            g.user = {"name": session.get("user")}

        @app.route("/x")
        @manager.cacher(timeout=20, run_before_request=True)
        async def view():
            return f"{g.user['name']} {counter()}"

        client = app.test_client()
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        assert texts(app.test_client(), "/x", "/x") == ["None 1", "None 1"]
        assert texts(client, "/x", "/x") == ["ann 2", "ann 3"]

    def test_hooks_run_in_renders_for_the_whole_app(self, clock, counter):
        """ASWR_RUN_BEFORE_REQUEST gives every view's render its hooks."""
        app = Flask("shop")
        app.config["ASWR_RUN_BEFORE_REQUEST"] = True
        manager = CacheManager(app, clock=clock)

        @app.before_request
        def config():
            g.config = {"title": "shop"}

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{g.config['title']} {counter()}"

        assert texts(app.test_client(), "/x", "/x") == ["shop 1", "shop 1"]
        manager.close()


class TestNormalising:
    def test_spellings_of_a_list_are_one_variant(self, app, manager, counter):
        """What the key normalises, the render sees normalised: one entry for all spellings."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{request.headers['Accept-Language']} {counter()}"

        client = app.test_client()
        sent = ["de-DE, en;q=0.80", " DE-de,en;q=0.8 ", "de-DE;q=1.0 ,en ; q=0.8,"]
        found = {client.get("/x", headers={"Accept-Language": text}).text for text in sent}
        assert found == {"de-de,en;q=0.8 1"}

    def test_best_match_learns_its_result(self, app, manager, counter):
        """Of accept_languages.best_match the result is learned, whatever visitors prefer else."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            best = request.accept_languages.best_match(["de", "en"], "en")
            return f"{best} {counter()}"

        client = app.test_client()
        sent = ["de", "fr, de;q=0.5", "en-US,en;q=0.9", "fr", "", "de-AT,de;q=0.9"]
        found = [client.get("/x", headers={"Accept-Language": text}).text for text in sent]
        assert found == ["de 1", "de 1", "en 2", "en 2", "en 2", "de 1"]

    def test_best_match_of_media_types(self, app, manager, counter):
        """accept_mimetypes.best_match: two representations, two entries."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            kinds = ["text/html", "application/json"]
            return f"{request.accept_mimetypes.best_match(kinds)} {counter()}"

        client = app.test_client()
        sent = ["application/json", "text/html,*/*;q=0.8", "text/html", "application/json;q=1"]
        found = [client.get("/x", headers={"Accept": text}).text for text in sent]
        assert found == ["application/json 1", "text/html 2", "text/html 2", "application/json 1"]

    def test_a_refresh_renews_a_learned_result(self, app, manager, counter):
        """A variant known by the result of best_match is renewed with that result."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            return f"{request.accept_languages.best_match(['de', 'en'])} {counter()}"

        client = app.test_client()
        for _ in range(2):
            client.get("/x", headers={"Accept-Language": "fr,de;q=0.3"})
        manager.refresh("/x")
        assert manager.join(5)
        assert client.get("/x", headers={"Accept-Language": "de"}).text.startswith("de ")
        assert client.get("/x", headers={"Accept-Language": "de"}).text != "de 1"


class TestLearning:
    def test_reads_that_depend_on_data(self, app, manager, counter):
        """A header that is read only where another has a value splits those requests."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            if request.headers.get("X-A") == "1":
                return f"b={request.headers.get('X-B')} {counter()}"
            return f"a {counter()}"

        client = app.test_client()

        def get(**headers):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            return client.get("/x", headers=sent).text

        assert get(X_B="7") == "a 1"
        assert get(X_B="8") == "a 1"
        assert get(X_A="1", X_B="7") == "b=7 2"
        assert get(X_A="1", X_B="8") == "b=8 3"
        assert get(X_A="1", X_B="7") == "b=7 2"

    def test_a_nested_views_inputs_are_inputs_of_the_outer(self, app, manager, counter):
        """What an inner view's answer depends on, the outer one's does too, on a hit as well."""

        @app.route("/inner")
        @manager.cacher(timeout=50)
        async def inner():
            return f"{request.headers.get('X-A')} {counter()}"

        @app.route("/outer")
        @manager.cacher(timeout=50)
        async def outer():
            return "outer " + (await inner()).get_data(as_text=True)

        client = app.test_client()

        def get(url, value):
            return client.get(url, headers={"X-A": value}).text

        assert get("/outer", "1") == "outer 1 1"
        assert get("/outer", "2") == "outer 2 2"
        assert get("/outer", "1") == "outer 1 1"

    def test_a_nested_views_hit_is_a_read_of_the_outer(self, app, manager, counter):
        """An inner view that answers from its store has its inputs noted by the outer render."""

        @manager.cacher(timeout=50)
        async def inner():
            return f"{request.headers.get('X-A')} {counter()}"

        @app.route("/outer")
        @manager.cacher(timeout=50, refresh_margin=0)
        async def outer():
            return "outer " + (await inner()).get_data(as_text=True)

        client = app.test_client()
        client.get("/outer", headers={"X-A": "1"})
        outer.invalidate()
        for value, text in (("1", "outer 1 2"), ("2", "outer 2 3"), ("1", "outer 1 2")):
            assert client.get("/outer", headers={"X-A": value}).text == text

    def test_a_nested_views_personal_input_makes_the_outer_pass(self, app, manager, counter):
        """An inner view that was seen to read the session is personal to the outer one's caller."""

        @app.route("/inner")
        @manager.cacher(timeout=50)
        async def inner():
            return f"{session.get('user')} {counter()}"

        @app.route("/outer")
        @manager.cacher(timeout=50)
        async def outer():
            return "outer " + (await inner()).get_data(as_text=True)

        client = app.test_client()
        assert client.get("/outer").text == "outer None 1"
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        assert client.get("/outer").text == "outer ann 2"
        assert app.test_client().get("/outer").text == "outer None 1"

    def test_a_stored_page_gives_way_when_its_url_reads_more(self, app, manager, counter):
        """An entry from before an input was learned answers nobody any more."""
        reads = []

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            language = request.headers.get("Accept-Language") if reads else None
            return f"{language} {counter()}"

        client = app.test_client()
        assert client.get("/x", headers=PAGE[0]).text == "None 1"
        reads.append(1)
        manager.refresh("/x")
        assert [client.get("/x", headers=h).text for h in PAGE] == ["de 3", "en 4"]

    def test_concurrent_waiters_who_differ_get_their_own(
        self, app, manager, gate, background, counter
    ):
        """Waiters of a cold URL who differ in what it turns out to read start their own loads."""

        @app.route("/x")
        @manager.cacher(timeout=20)
        async def view():
            if not counter.count:
                counter()
                await gate.ahold()
            return request.headers["X-A"]

        calls = [
            background(lambda a=a: app.test_client().get("/x", headers={"X-A": a}).text)
            for a in "121233"
        ]
        gate.await_arrival()
        while manager.stats()["waiting"] < 6:
            pass
        gate.open()
        assert [call.result() for call in calls] == list("121233")
        assert manager.stats()["loads"] == 3


class TestBounds:
    @pytest.fixture
    def small(self, clock, counter):
        """An app whose URLs have four variants at most, with a view by X-Id at /x."""
        app = Flask("shop")
        app.config["ASWR_MAX_VARIANTS"] = 4
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=1000)
        async def view():
            return f"{request.headers.get('X-Id')} {counter()}"

        yield app, manager, counter
        manager.close()

    def test_a_flood_never_costs_a_known_variant_its_hit(self, small):
        """Random header values are answered, and a variant in use goes on hitting."""
        app, manager, _ = small
        client = app.test_client()
        for _ in range(3):
            client.get("/x", headers={"X-Id": "known"})
        for number in range(300):
            flood = client.get("/x", headers={"X-Id": f"random {number}"})
            assert flood.text.startswith(f"random {number} ")
            if number % 30 == 0:
                assert is_hit(client.get("/x", headers={"X-Id": "known"}))
        assert is_hit(client.get("/x", headers={"X-Id": "known"}))
        assert manager.stats()["entries"] <= 5  # four variants, and what the URL reads

    def test_past_the_bound_a_variant_is_stored_when_it_is_asked_for_twice(self, small):
        """A new variant past the bound is answered, then stored at its second request."""
        app, _, counter = small
        client = app.test_client()
        for number in range(4):
            for _ in range(3):
                client.get("/x", headers={"X-Id": str(number)})
        said = [status(client.get("/x", headers={"X-Id": "new"})) for _ in range(3)]
        assert said[0] == "aswr; fwd=vary-miss"
        assert said[1] == "aswr; fwd=vary-miss; stored"
        assert said[2].startswith("aswr; hit")
        assert counter.count == 6

    def test_a_flood_of_queries_is_bounded_where_they_are_learned(self, clock):
        """query="read" of the whole query: random queries are variants, and so bounded."""
        app = Flask("shop")
        app.config["ASWR_MAX_VARIANTS"] = 4
        manager = CacheManager(app, clock=clock)

        @app.route("/x")
        @manager.cacher(timeout=1000, query="read")
        async def view():
            return request.query_string

        client = app.test_client()
        texts(client, *["/x?known"] * 3)
        texts(client, *[f"/x?{number}" for number in range(50)])
        assert is_hit(client.get("/x?known"))
        assert manager.stats()["entries"] <= 5
        manager.close()

    def test_a_view_that_reads_very_many_inputs_passes(self, app, manager, counter):
        """Inputs whose names visitors choose do not pile up: past the bound the URL passes."""

        @app.route("/x")
        @manager.cacher(timeout=20, query="read")
        async def view():
            names = request.args.get("names", "").split(",")
            return f"{[request.headers.get(name) for name in names if name]} {counter()}"

        client = app.test_client()
        for start in range(0, 100, 10):
            names = ",".join(f"X-{number}" for number in range(start, start + 10))
            assert client.get(f"/x?names={names}").status_code == 200
        last = client.get("/x?names=X-1", headers={"X-1": "seen"})
        assert last.text.startswith("['seen'] ")


class TestPassingAsAWhole:
    @pytest.fixture
    def view(self, app, manager):
        """A view at /<n> that reads the address while ``personal`` has something in it."""
        personal = [True]

        @app.route("/<int:n>")
        @manager.cacher(timeout=60)
        async def view(n):
            return request.remote_addr if personal else str(n)

        return personal

    def test_three_urls_make_the_view_pass(self, app, manager, view):
        """A view of which three URLs passed for everyone is not rendered at every other."""
        client = app.test_client()
        for n in range(4):
            assert client.get(f"/{n}").text == "127.0.0.1"
            assert manager.join(5)
        loads = manager.stats()["loads"]
        for n in range(4, 10):
            passed = client.get(f"/{n}")
            assert status(passed) == 'aswr; fwd=bypass; detail="reads remote address"'
        assert manager.stats()["loads"] == loads

    def test_clear_lets_it_be_tried_again(self, app, manager, view):
        """After clear() the view is rendered again, and cached if it may be."""
        client = app.test_client()
        for n in range(5):
            client.get(f"/{n}")
            assert manager.join(5)
        view.clear()
        assert "bypass" in status(client.get("/5"))
        manager.clear()
        assert [client.get("/5").text for _ in range(2)] == ["5", "5"]
        assert is_hit(client.get("/5"))

    def test_time_lets_it_be_tried_again(self, app, manager, clock, view):
        """Now and then a load is tried; once one can be shared, the view is cached again."""
        client = app.test_client()
        for n in range(5):
            client.get(f"/{n}")
            assert manager.join(5)
        view.clear()
        clock.tick(61)
        assert [client.get("/5").text for _ in range(2)] == ["5", "5"]
        assert is_hit(client.get("/5"))
        assert client.get("/6").text == "6"
        assert is_hit(client.get("/6"))

    def test_what_is_stored_is_served_all_the_same(self, app, manager):
        """URLs that everybody must pass do not cost the others of the view their hits."""

        @app.route("/<int:n>")
        @manager.cacher(timeout=60)
        async def view(n):
            return str(n) if n == 0 else request.remote_addr

        client = app.test_client()
        for n in range(8):
            client.get(f"/{n}")
            assert manager.join(5)
        assert is_hit(client.get("/0"))

    def test_other_views_are_not_concerned(self, app, manager, view, counter):
        """That one view passes as a whole is nothing to the others."""

        @app.route("/other")
        @manager.cacher(timeout=20)
        async def other():
            return counter()

        client = app.test_client()
        texts(client, "/1", "/2", "/3")
        assert manager.join(5)
        assert texts(client, "/other", "/other") == ["1", "1"]

    def test_urls_that_pass_for_some_do_not_count(self, app, manager):
        """URLs that pass only for who brings a cookie never make the view pass for others."""

        @app.route("/<int:n>")
        @manager.cacher(timeout=60)
        async def view(n):
            return request.cookies.get("user", "nobody")

        ann = app.test_client()
        ann.set_cookie("user", "ann")
        assert texts(ann, *[f"/{n}" for n in range(6)]) == ["ann"] * 6
        assert texts(app.test_client(), "/1", "/1") == ["nobody"] * 2
        assert is_hit(app.test_client().get("/1"))


class TestRenewal:
    @pytest.fixture
    def view(self, app, manager, counter):
        """A view at /x by Accept-Language, host and g.site."""

        @app.before_request
        def hook():
            g.site = request.headers.get("X-Site", "main")

        @app.route("/x")
        @manager.cacher(timeout=100)
        async def view():
            language = request.headers.get("Accept-Language")
            return f"{language} {request.host} {g.get('site')} {counter()}"

        return view

    def test_refresh_renews_variants_in_use_with_the_values_of_their_keys(
        self, app, manager, view, counter
    ):
        """refresh() loads what was read since, each variant with its own values."""
        client = app.test_client()
        one = {"headers": {"Accept-Language": "de", "X-Site": "b"}, "base_url": "http://a.com/"}
        two = {"headers": {"Accept-Language": "en"}, "base_url": "https://b.com:8443/"}
        for _ in range(2):
            client.get("/x", **one)
            client.get("/x", **two)
        assert manager.refresh("/x").value.body == b"None localhost None 3"
        assert manager.join(5)
        assert counter.count == 5
        assert client.get("/x", **one).text.startswith("de a.com b ")
        assert client.get("/x", **two).text.startswith("en b.com:8443 main ")
        assert {client.get("/x", **kwargs).text[-1] for kwargs in (one, two)} == {"4", "5"}
        assert counter.count == 5

    def test_what_nobody_read_since_is_left(self, app, manager, view, counter):
        """A variant that was stored and never asked for again is not renewed."""
        client = app.test_client()
        client.get("/x", headers=PAGE[0])
        manager.refresh("/x")
        assert manager.join(5)
        assert counter.count == 2

    def test_jobs_renew_variants_in_use(self, app, manager, counter):
        """A job renews its path and every variant of it in use."""
        ran = threading.Semaphore(0)

        @app.route("/x")
        @manager.cacher(timeout=100)
        async def view():
            text = f"{request.headers.get('Accept-Language')} {counter()}"
            ran.release()
            return text

        client = app.test_client()
        for _ in range(2):
            client.get("/x", headers=PAGE[0])
        assert ran.acquire(timeout=10)
        manager.schedule_periodic_refresh("/x", 50)
        manager.start()
        for _ in range(2):
            assert ran.acquire(timeout=10)
        assert manager.join(5)
        assert client.get("/x", headers=PAGE[0]).text in ("de 2", "de 3")
        assert client.get("/x").text in ("None 2", "None 3")

    def test_an_invalidation_takes_every_variant(self, app, manager, view):
        """invalidate(path) purges all variants of it."""
        client = app.test_client()
        for headers in PAGE:
            client.get("/x", headers=headers)
        manager.invalidate("/x")
        assert [is_hit(client.get("/x", headers=headers)) for headers in PAGE] == [False, False]

    def test_in_the_margin_a_variant_is_renewed_for_its_caller(self, app, manager, clock, counter):
        """A stale variant is refreshed with the inputs of whoever found it stale."""

        @app.route("/x")
        @manager.cacher(timeout=20, refresh_margin=10)
        async def view():
            return f"{request.headers.get('Accept-Language')} {counter()}"

        client = app.test_client()
        for headers in PAGE:
            client.get("/x", headers=headers)
        clock.tick(12)
        assert [client.get("/x", headers=headers).text for headers in PAGE] == ["de 1", "en 2"]
        assert manager.join(5)
        found = [client.get("/x", headers=headers).text.split() for headers in PAGE]
        assert [language for language, _ in found] == ["de", "en"]
        assert {number for _, number in found} == {"3", "4"}


class TestSharedStore:
    def make(self, clock, backend, counter, read, **options):
        app = Flask("shop")
        app.secret_key = "secret"
        manager = CacheManager(app, cache=backend, clock=clock)

        @app.before_request
        def hook():
            if "X-Site" in request.headers:
                g.site = request.headers["X-Site"]

        @app.route("/x")
        @manager.cacher(timeout=100, **options)
        async def view():
            return f"{read()} {counter()}"

        return app, manager

    READS = {
        "header": (
            lambda: request.headers.get("X-A"), {},
            [{"headers": {"X-A": "1"}}, {"headers": {"X-A": "2"}}],
        ),
        "host": (lambda: request.host, {}, [{"base_url": "http://a"}, {"base_url": "http://b"}]),
        "g": (
            lambda: g.get("site"), {}, [{"headers": {"X-Site": "1"}}, {"headers": {"X-Site": "2"}}],
        ),
        "query": (
            lambda: request.args.get("a"), {"query": "read"},
            [{"query_string": "a=1&j=1"}, {"query_string": "a=2"}],
        ),
        "cookie": (
            lambda: request.cookies.get("t"), {"vary": ["cookie:t"]},
            [{"headers": {"Cookie": "t=1"}}, {"headers": {"Cookie": "t=2"}}],
        ),
        "vary": (
            lambda: request.headers.get("X-A"), {"vary": "response"},
            [{"base_url": "http://a"}, {"base_url": "http://b"}],
        ),
    }  # fmt: skip

    @pytest.mark.parametrize("what", READS)
    def test_a_second_process_hits_the_variants_of_the_first(self, clock, counter, what):
        """What a URL was seen to read survives a restart where the store does."""
        read, options, requests = self.READS[what]
        backend = SimpleMemoryCache(namespace=f"variants-{what}")
        app, manager = self.make(clock, backend, counter, read, **options)
        client = app.test_client(use_cookies=False)
        first = [client.get("/x", **kwargs).text for kwargs in requests]
        assert manager.join(5)
        manager.close()
        app, manager = self.make(clock, backend, counter, read, **options)
        client = app.test_client(use_cookies=False)
        again = [client.get("/x", **kwargs) for kwargs in requests]
        assert [response.text for response in again] == first
        assert all(is_hit(response) for response in again)
        assert counter.count == 2
        manager.close()

    def test_a_second_process_knows_who_must_pass(self, clock, counter):
        """A personal input learned by one process makes its bearers pass in the next."""
        backend = SimpleMemoryCache(namespace="variants-personal")
        app, manager = self.make(clock, backend, counter, lambda: session.get("user"))
        app.test_client().get("/x")
        assert manager.join(5)
        manager.close()
        app, manager = self.make(clock, backend, counter, lambda: session.get("user"))
        client = app.test_client()
        with client.session_transaction() as stored:
            stored["user"] = "ann"
        passed = client.get("/x")
        assert (passed.text, "bypass" in status(passed)) == ("ann 2", True)
        assert app.test_client().get("/x").text == "None 1"
        manager.close()

    def test_processes_that_learn_different_inputs_learn_both(self, clock, counter):
        """Two processes over one store that saw different reads end up agreeing."""
        backend = SimpleMemoryCache(namespace="variants-both")

        def read():
            name = "X-A" if request.headers.get("X-Which") == "a" else "X-B"
            return request.headers.get(name)

        one, first = self.make(clock, backend, counter, read)
        two, second = self.make(clock, backend, counter, read)
        one.test_client().get("/x", headers={"X-Which": "a", "X-A": "1"})
        assert first.join(5)
        two.test_client().get("/x", headers={"X-B": "2"})
        assert second.join(5)
        for app in (one, two):
            client = app.test_client()
            for which, name, value in (("a", "X-A", "1"), ("a", "X-A", "3"), ("b", "X-B", "2")):
                headers = {"X-Which": which, name: value}
                assert client.get("/x", headers=headers).text.split()[0] == value
        first.close()
        second.close()


def test_a_failing_teardown_is_logged_once(app, manager, caplog, counter):
    """A teardown function that fails in renders fails nothing, and is one log line of the view."""

    @app.teardown_request
    def request_over(error):
        if flask.has_request_context() and "REMOTE_ADDR" not in dict(request.environ):
            raise ValueError("request")

    @app.route("/<n>")
    @manager.cacher(timeout=20, refresh_margin=0)
    def view(n):
        return counter()

    client = app.test_client()
    assert texts(client, "/a", "/b", "/a") == ["1", "2", "1"]
    assert manager.refresh("/a").value.body == b"3"
    assert len([r for r in caplog.records if "teardown" in r.getMessage()]) == 1
    assert manager.stats()["load_failures"] == 0
