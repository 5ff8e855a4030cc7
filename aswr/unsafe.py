"""What an unsafe request makes out of date: its own URL, and what its response names.

RFC 9111 §4.4, RFC 9875 §3. Runs when a request of the app's has its response, on that request's
thread or loop; waits for nothing, and odd header text never raises. Must not know entries.
"""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from flask import Request, Response
from flask.globals import request_ctx

from .engine import Engine
from .http import string_list
from .site import Site, find_view, query_of

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 §9.2.1; others may be unsafe
_PORTS = {"http": 80, "https": 443}


def outdate(site: Site, request: Request, response: Response) -> None:
    """Purge what the request made out of date, if its method is unsafe and it was no error.

    That is its own URL, those of the same origin in ``Location`` and ``Content-Location``, and the
    groups in ``Cache-Group-Invalidation``, which are tags. Called in the request.
    """
    if request.method in SAFE or response.status_code >= 400 or not site.enabled:
        return
    for path, query_string in {(request.path, request.query_string), *_named(request, response)}:
        if site.knows(path) and (purge := _purge(site, path, query_string)) is not None:
            site.purge_soon(purge)
    if groups := string_list(response.headers.getlist("Cache-Group-Invalidation")):
        site.purge_soon(lambda engine: engine.purge_tags(groups, why="unsafe"))


def _purge(
    site: Site, path: str, query_string: bytes
) -> Callable[[Engine], Callable[[], Any]] | None:
    """The purge of a URL; None where nothing can be cached."""
    adapter = request_ctx.url_adapter
    if adapter is None:
        return None
    try:
        endpoint, _ = adapter.match(path, method="GET")
    except Exception:  # also out of a converter of the app's: then a GET fails, too
        return None
    view = find_view(site.app.view_functions.get(endpoint))
    # A cached view that is out of sight may have whatever it likes of the query in its key.
    query = None if view is None else query_of(site.plan_of(view).rules, query_string)
    return lambda engine: engine.purge_path(path, query, why="unsafe")


def _named(request: Request, response: Response) -> Iterator[tuple[str, bytes]]:
    """Path and query, as the app sees them, of the URLs that the response names."""
    for field in ("Location", "Content-Location"):
        for uri in response.headers.getlist(field):
            try:
                found = _in_app(request, uri)
            except ValueError:  # a port that is no number, half an IPv6 address, half a character
                continue
            if found is not None:
                yield found


def _in_app(request: Request, uri: str) -> tuple[str, bytes] | None:
    """Path and query of a URI reference; None where it is of another origin or another app."""
    target = urlsplit(urljoin(request.url, uri.strip(" \t")))
    # RFC 9111 §4.4: not of another origin, or anyone could purge anything.
    if _origin(target) != _origin(urlsplit(request.host_url)):
        return None
    # Resolved once more: in an absolute URI the dots are still there.
    path = urlsplit(urljoin("http://x/", "/" + target.path.lstrip("/"))).path
    path, root = unquote(path), request.root_path
    if path != root and not path.startswith(f"{root}/"):
        return None
    return "/" + path.removeprefix(root).lstrip("/"), target.query.encode()


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
