"""HTTP as commands speak it: an answer arrives whole, within a time and a size, or is an error.

Standard library alone. The time is that of all of an answer, however slowly its bytes drip in.
"""

import http.client
import io
import ipaddress
import socket
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit


class _Timed(io.RawIOBase):
    """What arrives at a socket until a time; after it reading raises `TimeoutError`."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, until: float) -> None:
        self._raw = raw
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return cast(int | None, self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


def _response(until: float, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(sock, **options)
    response.fp.close()
    raw = cast(io.RawIOBase, sock.makefile("rb", buffering=0))
    response.fp = io.BufferedReader(_Timed(raw, sock, until))
    return response


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_timed(http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_timed(http.client.HTTPSConnection), req)


def _timed(kind: type[http.client.HTTPConnection]) -> Any:
    """How connections are made whose timeout is that of a whole answer, its fields too."""

    def made(host: str, *, timeout: float, **options: Any) -> http.client.HTTPConnection:
        connection = kind(host, timeout=timeout, **options)
        response: Callable[..., Any] = partial(_response, time.monotonic() + timeout)
        connection.response_class = cast(Any, response)
        return connection

    return made


def opener(
    *handlers: urllib.request.BaseHandler, proxies: bool = False
) -> urllib.request.OpenerDirector:
    """Who opens addresses; with ``proxies`` by those that the environment names."""
    direct = () if proxies else (urllib.request.ProxyHandler({}),)
    return urllib.request.build_opener(_Http, _Https, *direct, *handlers)


def whole(
    by: urllib.request.OpenerDirector, request: urllib.request.Request, limit: float, most: int
) -> bytes:
    """All of an answer, within so many seconds, or a byte more than ``most``; raises as urllib."""
    with by.open(request, timeout=limit) as response:
        data: bytes = response.read(most + 1)
        if len(data) <= most and response.length:
            raise http.client.IncompleteRead(data, response.length)
        return data


def is_here(url: str) -> bool:
    """Is it on this very machine? Nobody listens in on the way."""
    host = urlsplit(url).hostname or ""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
