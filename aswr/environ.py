"""An ASGI scope as a WSGI environ: what a WSGI application gets to see of an ASGI request.

Pure: no async, no threads, no clock; imports nothing of aswr. Sources: the ASGI specification
(HTTP 2.5), PEP 3333, RFC 3875.
"""

import sys
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

Scope = MutableMapping[str, Any]
Environ = dict[str, Any]

MAX_REPEATS = 100  # header lines of one name that a request may carry
# In HTTP/2 and later nothing but its end says whether a request has a body (RFC 9113 §8.1).
MAYBE_BODY = "aswr.maybe_body"
THREADS = "aswr.threads"  # how many answer here; where it is missing, a WSGI server knows it
_REMEMBERED = 64  # characters of a header's name whose key is remembered


def build_environ(scope: Scope) -> Environ:
    """The WSGI environ of an HTTP scope, without ``wsgi.input``; `ValueError` on a bad request.

    Header names with an underscore are dropped (they would pose as those with a hyphen), and so is
    ``Proxy`` (CGI code would take it for the ``HTTP_PROXY`` setting).
    """
    return complete(request_environ(scope), scope)


def request_environ(scope: Scope) -> Environ:
    """The part of `build_environ` that says what is asked; `complete` adds the rest."""
    script_name, path_info = _split_path(scope["path"], scope.get("root_path") or "")
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script_name,
        "PATH_INFO": path_info,
        "QUERY_STRING": (scope.get("query_string") or b"").decode("latin-1"),
        "wsgi.url_scheme": scope.get("scheme", "http"),
    }
    _add_headers(environ, scope.get("headers", ()))
    if not scope.get("http_version", "1.1").startswith("1") and "CONTENT_LENGTH" not in environ:
        environ[MAYBE_BODY] = True
    return environ


def complete(environ: Environ, scope: Scope) -> Environ:
    """Add what an environ has besides: the server, the client, the target as it was sent."""
    query = scope.get("query_string") or b""
    raw_path = scope.get("raw_path") or quote(scope["path"], errors="surrogateescape").encode()
    target = (raw_path + b"?" + query if query else raw_path).decode("latin-1")
    environ |= {
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "wsgi.version": (1, 0),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.update(_addresses(scope))
    return environ


def _split_path(path: str, root_path: str) -> tuple[str, str]:
    """SCRIPT_NAME and PATH_INFO, as the latin-1 text of their UTF-8 bytes (PEP 3333)."""
    if not root_path and path.isascii():
        return "", path
    root = root_path.rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return _native(root), _native(path)


def _native(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _addresses(scope: Scope) -> Iterable[tuple[str, str]]:
    host, port = scope.get("server") or (None, None)
    if port is None:  # unknown, or a Unix socket, whose path is no name
        host, port = None, 443 if scope.get("scheme") == "https" else 80
    yield "SERVER_NAME", host or "localhost"
    yield "SERVER_PORT", str(port)
    client, client_port = scope.get("client") or (None, None)
    if client:
        yield "REMOTE_ADDR", client
    if client and client_port is not None:
        yield "REMOTE_PORT", str(client_port)


def _add_headers(environ: Environ, headers: Iterable[tuple[bytes, bytes]]) -> None:
    repeats: dict[str, int] = {}
    for name, value in headers:
        key = _key_of(name) if len(name) <= _REMEMBERED else _key_of.__wrapped__(name)
        text = value.decode("latin-1")
        if key in environ:
            repeats[key] = repeats.get(key, 1) + 1
            if repeats[key] > MAX_REPEATS:
                raise ValueError(f"more than {MAX_REPEATS} header lines of one name")
            # RFC 9113 §8.2.3, RFC 9110 §5.3
            environ[key] += f"; {text}" if key == "HTTP_COOKIE" else f",{text}"
        elif key:
            environ[key] = text


@lru_cache(512)
def _key_of(name: bytes) -> str:
    """The environ key of a header, which no other name has; empty for one that is dropped."""
    name = name.upper()
    if b"_" in name or name == b"PROXY":
        return ""
    key = name.decode("latin-1").replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
