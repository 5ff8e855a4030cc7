"""The known attacks on web caches, as data; to be mounted on any cache for Flask.

An `Attack` is about two people and one shop. What the first sends must make no difference to what
the second gets: not another answer (poisoned), not the first one's own (leaks), not an error in its
place (denied), and it must not take a stored answer away (slow). What the second should get is what
the app says without any cache and without the first.

Attacks by number are in `drills`.

Sources: Kettle, "Practical Web Cache Poisoning" (2018), "Web Cache Entanglement" (2020), "Gotta
cache 'em all" (2024); Gil, "Web Cache Deception" (2017); Nguyen, Lo Iacono, Federrath, "Your Cache
Has Fallen" (CPDoS, 2019); Mirheidari et al., "Cached and Confused" (2020).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from .attacked import EVIL, HOST, Ask, Build, Got, Send, Subject, essence, header, opened
from .shops import (
    READERS,
    accounts,
    behind_proxy,
    cases,
    chosen,
    files,
    hooked,
    late,
    links,
    reading,
    rewriting,
    search,
    separators,
    storefront,
    trusting,
)


@dataclass(frozen=True)
class Attack:
    """What the first person sends, and what the second, who must not notice.

    ``secret`` is a pattern of what is the first one's own. ``shared``: the second's answer is one
    that people share, so it is stored and stays so. ``wire``: bytes that only a server reads.
    ``normalised``: the second writes something in a way that no key keeps, and may be shown the
    usual one. ``relearns``: the first makes the view read something more, and it is stored anew.
    ``loose``: the answers tell objects of the server's, so only the secret counts.
    """

    group: str
    name: str
    build: Build
    first: tuple[Ask, ...]
    second: tuple[Ask, ...] = (Ask("/"),)
    harm: str = "poisoned"
    secret: str = ""
    shared: bool = True
    wire: bool = False
    normalised: bool = False
    relearns: bool = False
    loose: bool = False

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


# Mounting.


def mount(attack: Attack, make: Callable[[], Subject], send: Send) -> str:
    """The harm that an attack does; empty if none."""
    with opened(make() if attack.normalised else Subject(), attack.build, send) as shop:
        expected = shop.person().ask_all(attack.second)
    return _cold(attack, make, send, expected) or _warm(attack, make, send, expected)


def _cold(attack: Attack, make: Callable[[], Subject], send: Send, expected: list[Got]) -> str:
    """Nothing is stored when the first comes."""
    with opened(make(), attack.build, send) as shop:
        theirs = shop.person().ask_all(attack.first)
        shop.subject.settle()
        for _ in range(2):
            if harm := judge(attack, theirs, shop.person().ask_all(attack.second), expected):
                return harm
    return ""


def _warm(attack: Attack, make: Callable[[], Subject], send: Send, expected: list[Got]) -> str:
    """The second was there already, and comes again."""
    with opened(make(), attack.build, send) as shop:
        for _ in range(2):
            shop.person().ask_all(attack.second)
        renders = shop.renders
        shop.person().ask_all(attack.second)
        if attack.shared and shop.renders != renders:
            return "never stored"
        theirs = shop.person().ask_all(attack.first)
        shop.subject.settle()
        ours = shop.person().ask_all(attack.second) if attack.relearns else []
        renders = shop.renders
        ours = ours or shop.person().ask_all(attack.second)
        if harm := judge(attack, theirs, ours, expected):
            return harm
        return "slow" if attack.shared and shop.renders != renders else ""


def judge(attack: Attack, theirs: list[Got], ours: list[Got], expected: list[Got]) -> str:
    """What is wrong with the second person's answers."""
    if attack.secret:
        own = {found for got in theirs for found in re.findall(attack.secret, got.text)}
        if any(secret in got.text for secret in own for got in ours):
            return "leaks"
    for got, wanted in zip(ours, expected, strict=True):
        if got.status >= 400 > wanted.status:
            return "denied"
        if not attack.loose and essence(got, attack.secret) != essence(wanted, attack.secret):
            return attack.harm
    return ""


# The table.


def logged_in(*asks: Ask, name: str = "alice") -> tuple[Ask, ...]:
    """Log in, and ask for something."""
    return (Ask(f"/login/{name}"), *asks)


FORM = ("Content-Type", "application/x-www-form-urlencoded")


def _headers() -> Iterator[Attack]:
    for name, value in (
        ("X-Forwarded-Host", EVIL), ("X-Forwarded-Proto", "evil"), ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Port", "666"), ("X-Forwarded-Scheme", "evil"), ("X-Host", EVIL),
        ("X-Forwarded-Server", EVIL), ("X-Original-URL", "/evil"), ("X-Rewrite-URL", "/evil"),
        ("X-HTTP-Method-Override", "POST"), ("Forwarded", f"host={EVIL}"), ("Referer", EVIL),
        ("User-Agent", "<script>evil</script>"), ("Origin", f"https://{EVIL}"),
        ("Accept-Language", "evil"), ("Accept", "evil/evil"),
    ):  # fmt: skip
        yield Attack("unkeyed header", name, storefront, (header(name, value),))
    yield Attack(
        "unkeyed header", "two of them", storefront,
        (Ask(headers=(("X-Forwarded-Host", EVIL), ("X-Forwarded-Proto", "evil"))),),
    )  # fmt: skip
    for name, value in (("Origin", f"https://{EVIL}"), ("Origin", "null, null")):
        ask = header(name, value, "/cors")
        yield Attack("unkeyed header", f"CORS, {value}", storefront, (ask,), (Ask("/cors"),))
    yield Attack(
        "unkeyed header", "any, of a page that lists them", storefront,
        (header("X-Anything", "evil", "/all"),), (Ask("/all"),),
    )  # fmt: skip
    proxied = (
        ("X-Forwarded-Host", EVIL), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Port", "666"),
    )  # fmt: skip
    for name, value in proxied:
        for target in ("/", "/old"):
            ask = header(name, value, target)
            title = f"{name} by ProxyFix, {target}"
            yield Attack("unkeyed header", title, behind_proxy, (ask,), (Ask(target),))
    for name in ("X-Original-URL", "X-Rewrite-URL"):
        ask = header(name, "/admin")
        yield Attack("unkeyed header", f"{name} by middleware", rewriting, (ask,))
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        ask = header(name, "DELETE")
        yield Attack("unkeyed header", f"{name} by middleware", rewriting, (ask,), harm="denied")
    twice = (("X-Forwarded-Host", HOST), ("X-Forwarded-Host", EVIL))
    for title, headers in (
        ("sent twice", twice),
        ("sent twice, other case", (("x-forwarded-host", HOST), ("X-FORWARDED-HOST", EVIL))),
        ("with an underscore", (("X_Forwarded_Host", EVIL),)),
        ("folded", (("X-Forwarded-Host", f"{HOST}\r\n {EVIL}"),)),
        ("with a line feed", (("X-Forwarded-Host", f"{HOST}\n{EVIL}"),)),
    ):
        yield Attack(
            "unkeyed header", f"X-Forwarded-Host {title}", storefront,
            (Ask("/cloned", headers=headers),), (header("X-Forwarded-Host", HOST, "/cloned"),),
            wire=True, relearns="underscore" in title,
        )  # fmt: skip


def _parameters() -> Iterator[Attack]:
    for first, second in (
        ("q=evil&q=a", "q=a&q=evil"), ("q=a&q=evil", "q=evil&q=a"), ("q=a;q=evil", "q=a"),
        ("q=a;q=evil", "q=a&q=evil"),
        ("q=1%26x=2", "q=1&x=2"), ("q=1%3Dx", "q%3D1=x"), ("q=%2527", "q=%27"), ("q=%ff", "q=%fe"),
        ("q=%ff", "q=%EF%BF%BD"), ("q=%ff", "q=%25ff"), ("q=%C0%AF", "q=/"), ("q=%ED%A0%80", "q="),
        ("q=a%00evil", "q=a"), ("q=a%0d%0aevil", "q=a"), ("q=+", "q=%2B"), ("q=%u0061", "q=a"),
        ("q[]=evil", "q=a"), ("Q=evil", "q=a"), ("q=", "x="), ("q=a#evil", "q=a"),
        ("q=a%23", "q=a"), ("q=evil&", "q=evil&x"), ("?q=evil", "q=evil"),
        ("q=é", "q=%E9"), ("q=evil", ""),
        ("utm_source=evil", ""), ("q=a&q[]=evil", "q=a"), ("&&q=evil", "q=a"), ("=evil", "q=a"),
        ("q=%28%27a%27%2C%27b%27%29", "b&q=a"), ("q=a%1fevil", "evil=&q=a"), ("q=%E2%84%AA", "q=K"),
    ):  # fmt: skip
        asks = [Ask(f"/search?{query}" if query else "/search") for query in (first, second)]
        odd = not first.isascii() or "#" in first or " " in first
        title = f"{first} for {second or 'none'}"
        yield Attack("parameter", title, search, (asks[0],), (asks[1],), wire=odd)
    for first in (
        "q=a&utm=x;q=evil",
        "q=a;q=evil",
        "utm=x%26q=evil&q=a",
        "q=a&q=evil",
        "Q=evil&q=a",
    ):
        yield Attack(
            "parameter", f"cloaked, {first}", search, (Ask(f"/one?{first}"),), (Ask("/one?q=a"),),
        )  # fmt: skip
    fat = (
        ("/search?q=a", b"q=evil", (FORM,)), ("/form", b"q=evil", (FORM,)), ("/data", b"evil", ()),
        ("/json", b'["evil"]', (("Content-Type", "application/json"),)),
        ("/search?q=a", b"q=evil", (FORM, ("X-HTTP-Method-Override", "POST"))),
        ("/form", b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\nevil\r\n--x--\r\n',
         (("Content-Type", "multipart/form-data; boundary=x"),)),
    )  # fmt: skip
    for target, body, headers in fat:
        title = f"{target}, {headers[-1][1] if headers else 'no type'}"
        ask = Ask(target, headers=headers, body=body)
        yield Attack("fat GET", title, search, (ask,), (Ask(target),))
    chunked = Ask(
        "/form", headers=(FORM, ("Transfer-Encoding", "chunked")), body=b"6\r\nq=evil\r\n0\r\n\r\n"
    )
    yield Attack("fat GET", "chunked", search, (chunked,), (Ask("/form"),), wire=True)
    head = Ask("/search?q=a", method="HEAD", headers=(FORM,), body=b"q=evil")
    yield Attack("fat GET", "HEAD", search, (head,), (Ask("/search?q=a"),))


PATHS = (
    ("/a%2fb", "/a/b"), ("/a%2Fb", "/a/b"), ("/a/./b", "/a/b"), ("/a/../b", "/b"),
    ("/a%2e%2e/b", "/a../b"), ("/a/%2e%2e/b", "/b"), ("/a/..%2fb", "/b"),
    ("/x%3Fq=evil", "/x?q=evil"), ("/x%23evil", "/x"),
    ("/x%00evil", "/x"), ("/x%0aevil", "/x"), ("/x%0d%0aevil", "/x"), ("/x;evil", "/x"),
    ("/X", "/x"), ("/%78", "/x"), ("/x%20", "/x"), ("/x/", "/x"), ("/x%5cevil", "/x/evil"),
    ("/%E2%84%AA", "/K"),
    ("/%ff", "/%fe"), ("/%C0%AE", "/."), ("/a%252fb", "/a%2fb"), ("/x%3f", "/x"), ("/x?", "/x"),
    ("/e%CC%81", "/%C3%A9"),
)  # fmt: skip
RAW_PATHS = (
    ("//x", "/x"), ("///x", "/x"), (f"//{EVIL}/x", f"/{EVIL}/x"), ("/a//b", "/a/b"),
    (f"http://{EVIL}/x", "/x"),
    (f"http://{HOST}@{EVIL}/x", "/x"), (f"https://{HOST}/x", "/x"), ("/x#evil", "/x"),
    ("/é", "/%C3%A9"),
    ("/\x01", "/"), ("http://[::1]/x", "/x"), (f"http://{EVIL}", "/"), ("/x\\evil", "/x/evil"),
    ("*", "/"), ("x", "/x"),
)  # fmt: skip


def _paths() -> Iterator[Attack]:
    for wire, pairs in ((False, PATHS), (True, RAW_PATHS)):
        for first, second in pairs:
            title = f"{first!r} for {second}"[:60]
            yield Attack(
                "path confusion",
                title,
                files,
                (Ask(first),),
                (Ask(second),),
                wire=wire,
                normalised=second in ("/%fe", "/a%2fb"),
            )
    yield Attack(
        "path confusion", "target and Host of two minds", links,
        (Ask(f"http://{EVIL}/url", headers=(("Host", HOST),)),), (Ask("/url"),), wire=True,
    )  # fmt: skip


def _deception() -> Iterator[Attack]:
    for target in (
        "/account", "/account/x.css", "/account/x.css?v=1", "/account;x.css", "/account%3Bx.css",
        "/account%2fx.css", "/account/%2e%2e/x.css", "/account%00.css", "/account%09.css",
        "/account%3fx.css", "/account%23x.css", "/account?x.css", "/styles/..%2faccount",
        "/account/..%2fx.css", "/account/favicon.ico", "/robots.txt/../account", "/account/x.CSS",
        "/account/", "/ACCOUNT/x.js",
    ):  # fmt: skip
        yield Attack(
            "deception", target, accounts, logged_in(Ask(target)), (Ask(target),), "leaks",
            secret=r"secret-\w+",
        )  # fmt: skip
    for target in (
        "//account/x.css",
        "/account//x.css",
        f"http://{HOST}/account/x.css",
        "/account#x",
    ):
        yield Attack(
            "deception", target, accounts, logged_in(Ask(target)), (Ask(target),), "leaks",
            secret=r"secret-\w+", wire=True,
        )  # fmt: skip
    for title, headers in (
        ("odd host", (("Host", "x.css.shop.example"),)),
        ("host with a port", (("Host", f"{HOST}:81"),)),
    ):
        yield Attack(
            "deception", title, accounts, logged_in(Ask("/account/x.css", headers=headers)),
            (Ask("/account/x.css"),), "leaks", secret=r"secret-\w+",
        )  # fmt: skip


def _denial() -> Iterator[Attack]:
    for title, ask in (
        ("oversized header", header("X-Oversized", "x" * 9000)),
        ("control character", header("X-Metadata", "a\x01b")),
        ("bell", header("X-Metadata", "\x07")),
        ("bytes over 126", header("X-Metadata", "\xff\xfe")),
        ("method override", header("X-HTTP-Method-Override", "POST")),
        ("Expect", header("Expect", "evil")),
        ("Max-Forwards", header("Max-Forwards", "0")),
        ("Upgrade", header("Upgrade", "evil")),
        ("Accept nothing", header("Accept", "application/nothing")),
        ("Authorization", header("Authorization", "evil")),
        ("redirect to itself", header("X-Forwarded-Proto", "http")),
        ("an exception", header("X-Crash", "1")),
        ("503", header("X-Down", "1")),
        ("a method of the view", Ask(method="PUT")),
        ("an unsupported method", Ask(method="DELETE")),
        ("an unknown method", Ask(method="EVIL")),
        ("PURGE", Ask(method="PURGE")),
        ("HEAD", Ask(method="HEAD")),
        ("OPTIONS", Ask(method="OPTIONS")),
        ("many headers", Ask(headers=tuple((f"X-{n}", "evil") for n in range(99)))),
    ):
        yield Attack("cached error", title, cases, (ask,), harm="denied")
    for title, ask in (
        ("header with a line feed", header("X-Trace", "a\nSet-Cookie: evil=1")),
        ("header with NUL", header("X-Metadata", "a\0b")),
        ("very long header", header("X-Oversized", "x" * 40_000)),
        ("HTTP/1.0", Ask(version="HTTP/1.0", method="HEAD")),
    ):
        yield Attack(
            "cached error", f"{title}, on the wire", cases, (ask,), harm="denied", wire=True
        )
    for title, name, value in (
        ("Range", "Range", "bytes=0-9"), ("Range from the end", "Range", "bytes=-5"),
        ("unsatisfiable Range", "Range", "bytes=5000-"), ("malformed Range", "Range", "bytes=9-0"),
        ("many ranges", "Range", "bytes=0-1," + ",".join(f"{n}-{n + 1}" for n in range(2, 90, 3))),
        ("another unit", "Range", "lines=1-2"), ("If-None-Match", "If-None-Match", '"v1"'),
        ("If-None-Match *", "If-None-Match", "*"), ("If-Match", "If-Match", '"other"'),
        ("If-Modified-Since", "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),
    ):  # fmt: skip
        ask = header(name, value, "/big")
        yield Attack("Range and conditions", title, cases, (ask,), (Ask("/big"),), harm="denied")
    both = Ask("/big", headers=(("Range", "bytes=0-0"), ("If-Range", '"v1"')))
    yield Attack("Range and conditions", "If-Range", cases, (both,), (Ask("/big"),))
    bare = Ask("/big", method="HEAD", headers=(("Range", "bytes=0-9"),))
    yield Attack("Range and conditions", "HEAD with Range", cases, (bare,), (Ask("/big"),))


HOSTS = (
    EVIL, f"{HOST}:1337", f"{HOST}.{EVIL}", f"{HOST}.", "SHOP.EXAMPLE:81", f"evil@{HOST}", "[::1]",
    "127.0.0.1", "evil_host", "", f"{HOST}:evil", f"{HOST}:", f"{HOST},{EVIL}", f"{HOST}/evil",
    f"{HOST}?evil", f"{HOST}#evil", "xn--evil-", "évil.example", f"{HOST} {EVIL}", "'><script>",
)  # fmt: skip


def _hosts() -> Iterator[Attack]:
    for host in HOSTS:
        for target in ("/", "/go") if host != EVIL else ("/", "/url", "/go", "/reset", "/slash"):
            yield Attack(
                "Host and port", f"{host!r} at {target}", links, (header("Host", host, target),),
                (Ask(target),), shared=target != "/slash",
            )  # fmt: skip
    for host in (EVIL, f"{HOST}:1337", "", f"{HOST}/evil"):
        yield Attack(
            "Host and port", f"{host!r}, hosts are checked", trusting, (header("Host", host),),
            harm="denied",
        )  # fmt: skip
    for title, ask in (
        ("sent twice", Ask(headers=(("Host", HOST), ("Host", EVIL)))),
        ("sent twice, the other way", Ask(headers=(("Host", EVIL), ("Host", HOST)))),
        ("none", Ask(version="HTTP/1.0")),
        ("in the target", Ask(f"http://{EVIL}/")),
        ("in the target, with a port", Ask(f"http://{HOST}:1337/")),
        ("with a tab", header("Host", f"{HOST}\t{EVIL}")),
        ("folded", header("Host", f"{HOST}\r\n {EVIL}")),
        ("with a space before the colon", Ask(headers=(("Host ", EVIL), ("Host", HOST)))),
        ("with a line feed", header("Host", f"{HOST}\nX-Forwarded-Host: {EVIL}")),
    ):
        yield Attack("Host and port", f"{title}, on the wire", links, (ask,), wire=True)


def _leaks() -> Iterator[Attack]:
    secret = r"secret-[\w-]+"
    alone = frozenset({"/form", "/cookie", "/late-cookie", "/flashed"})
    for target in ("/", "/flashed", "/form", "/cookie", "/late-cookie", "/tagged", "/gone"):
        yield Attack(
            "cookies and sessions", f"logged in, {target}", accounts, logged_in(Ask(target)),
            (Ask(target),), "leaks", secret, shared=target not in alone | {"/gone"},
        )  # fmt: skip
    for target in ("/form", "/cookie", "/late-cookie"):
        yield Attack(
            "cookies and sessions", f"anonymous, {target}", accounts, (Ask(target),) * 3,
            (Ask(target),), "leaks", secret, shared=False,
        )  # fmt: skip
    other = logged_in(Ask("/"), name="bob")
    yield Attack(
        "cookies and sessions", "two who are logged in", accounts, logged_in(Ask("/")), other,
        "leaks", secret, shared=False,
    )  # fmt: skip
    yield Attack(
        "cookies and sessions", "logged in, for one whose session is garbage", accounts,
        logged_in(Ask("/")), (header("Cookie", "session=evil"),), "leaks", secret, shared=False,
    )  # fmt: skip
    for title, ask, second in (
        ("a preference", header("Cookie", "theme=evil", "/theme"), Ask("/theme")),
        ("escaped", header("Cookie", 'theme="ev\\151l"', "/theme"), Ask("/theme")),
        ("sent twice", header("Cookie", "theme=evil; theme=plain", "/theme"), Ask("/theme")),
        ("listed", header("Cookie", "theme=evil", "/cookies"), Ask("/cookies")),
    ):
        yield Attack("cookies and sessions", f"cookie, {title}", accounts, (ask,), (second,))
    for title, headers, target in (
        ("Basic", (("Authorization", "Basic c2VjcmV0LWFsaWNlOng="),), "/basic"),
        ("X-Api-Key", (("X-Api-Key", "secret-key"),), "/key"),
        ("X-User-Id", (("X-User-Id", "secret-7"),), "/key"),
        ("a token of the load balancer's", (("X-Amzn-Oidc-Jwt-Data", "secret-jwt"),), "/key"),
        ("X-Forwarded-For", (("X-Forwarded-For", "198.51.100.7"),), "/address"),
        ("the address", (("X-Forwarded-For", "198.51.100.7"),), "/route"),
    ):
        ask = Ask(target, headers=headers)
        yield Attack(
            "credentials", title, accounts, (ask,), (Ask(target),), "leaks",
            secret + r"|198\.51\.100\.7", shared=target != "/route",
        )  # fmt: skip
    for name in ("SSL_CLIENT_S_DN", "REMOTE_USER"):
        ask = Ask("/certificate", server=((name, "secret-alice"),))
        yield Attack(
            "credentials", f"{name} of the server's", accounts, (ask,), (Ask("/certificate"),),
            "leaks", secret,
        )  # fmt: skip
    for target in ("/", "/attribute", "/template"):
        ask = header("Cookie", "who=alice", target)
        yield Attack(
            "cookies and sessions", f"by a hook, {target}", hooked, (ask,), (Ask(target),), "leaks",
            secret, shared=target != "/attribute",
        )  # fmt: skip
    yield Attack(
        "cookies and sessions", "cookie by after_request", hooked, (Ask("/tracked"),) * 2,
        (Ask("/tracked"),), "leaks", secret, shared=False,
    )  # fmt: skip


# They read another part of the environ.
OF_ONE = {
    "environ-cookie", "environ-user", "environ-input", "environ-host",
}  # fmt: skip


def _readers() -> Iterator[Attack]:
    """However a view gets at what it was sent."""
    headers = (
        ("Host", "evil-host.example"), ("X-Sent", "evil-header"), ("Cookie", "who=evil-cookie"),
        ("User-Agent", "evil-agent"), ("Accept-Language", "evil-language"),
        ("Authorization", "Bearer evil-token"), ("X-Forwarded-For", "evil-address"),
        ("If-None-Match", '"evil-etag"'), ("Traceparent", "evil-trace"),
    )  # fmt: skip
    server = (("REMOTE_USER", "evil-user"), ("REMOTE_ADDR", "198.51.100.66"))
    for name, (_, shared) in READERS.items():
        ask = Ask(f"/{name}", headers=(*headers, FORM), body=b"who=evil-form", server=server)
        yield Attack(
            "ways to read", name, reading, logged_in(ask), (Ask(f"/{name}"),), "leaks",
            r"evil-\w+|198\.51\.100\.66", shared=shared, loose=True,
        )  # fmt: skip
        if name.startswith(("headers-", "environ-")) and name not in OF_ONE:
            ask = header("X-Sent", "evil-header", f"/{name}")
            yield Attack(
                "ways to read", f"{name}, of one header more", reading, (ask,), (Ask(f"/{name}"),),
                "leaks", r"evil-\w+", shared=shared, loose=True,
            )  # fmt: skip
    for target in ("/streamed", "/threaded", "/lazy", "/handled"):
        yield Attack(
            "ways to read", target, late, (header("Cookie", "who=alice", target),),
            (Ask(target),), "leaks", r"secret-\w+", shared=target != "/handled",
        )  # fmt: skip
        ask = header("X-Sent", "secret-header", target)
        yield Attack(
            "ways to read", f"a header, {target}", late, (ask,), (Ask(target),), "leaks",
            r"secret-\w+", shared=target != "/handled",
        )  # fmt: skip


def _collisions() -> Iterator[Attack]:
    def two(first: str | None, second: str | None) -> Ask:
        pairs = (("X-A", first), ("X-B", second))
        return Ask("/two", headers=tuple((name, v) for name, v in pairs if v is not None))

    for first, second in (
        (two("1, X-B=2", None), two("1", "2")), (two("1,2", None), two("1", "2")),
        (two("1\x1f2", ""), two("1", "2")), (two("None", None), two(None, None)),
        (two("", None), two(None, "")), (two("1", "2"), two("2", "1")),
        (two("", ""), two(None, None)),
        (two("('a',)", None), two("a", None)), (two("1'", "'2"), two("1", "'2")),
    ):  # fmt: skip
        title = f"headers {first.headers} for {second.headers}"
        yield Attack("key collision", title, separators, (first,), (second,))
    for first, second in (
        ("/a%26b/c", "/a/b%26c"), ("/a%7Cb/c", "/a/b%7Cc"), ("/a%3Ab/c", "/a/b%3Ac"),
        ("/a/b%3Fx=1", "/a/b?x=1"), ("/a/b?x=1%26y=2", "/a/b?x=1&y=2"), ("/a/b%00", "/a/b"),
        ("/a/b%27%2C%27", "/a/b"), ("/a%20/b", "/a/%20b"),
    ):  # fmt: skip
        yield Attack(
            "key collision", f"{first} for {second}", separators, (Ask(first),), (Ask(second),)
        )
    german = header("Accept-Language", "de", "/languages")
    pairs = (
        (german, Ask("/languages")),
        (header("Accept-Language", "DE;q=0", "/languages"), german),
    )  # fmt: skip
    for one, other in pairs:
        yield Attack("key collision", f"languages {one.headers}", separators, (one,), (other,))
    for name in (
        "X-Evil\r\nSet-Cookie: evil=1",
        'X"; hit',
        "X, *",
        "*",
        "",
        "\x00",
        "é",
        "x" * 900,
    ):
        ask = Ask(f"/?name={quote(name)}", headers=(("X-Evil", "1"), ("Cookie", "evil=1")))
        yield Attack("key collision", f"a name of the visitor's, {name[:20]!r}", chosen, (ask,))


ATTACKS: tuple[Attack, ...] = tuple(
    attack
    for table in (
        _headers, _parameters, _paths, _deception, _denial, _hosts, _leaks, _readers, _collisions,
    )
    for attack in table()
)  # fmt: skip
