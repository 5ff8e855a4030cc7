"""The admin JSON API of a running server, asked as a `Desk` is.

Owns no state but an address and a token. Each question has a limit of time, and each answer must be
of the shape that commands count on. The token goes to the host that was named and to no other, not
even a proxy, and over plain http only within a host.
"""

import http.client
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ..events import Because
from . import shapes
from .screen import clean
from .web import is_here, opener, whole

LIMIT = 15.0  # seconds for an answer to a question
LOAD_LIMIT = 120.0  # and for one that a load is waited for
MOST_BYTES = 64 * 2**20  # of an answer
MOST_URLS = 100  # in one question
_ELSEWHERE = (301, 302, 303, 307, 308)


class RemoteError(Exception):
    """The server gave no answer; its text says why, and what would help.

    ``wrong`` where asking again does not help: the address, the token or the question is wrong.
    """

    def __init__(self, text: str, *, wrong: bool = False) -> None:
        super().__init__(text)
        self.wrong = wrong


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the token is for this address, and a POST would become a GET."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Remote:
    """A running server. ``url`` is where its admin blueprint is mounted.

    Raises `RemoteError` for an address that is none, or to which a token must not be sent.
    """

    def __init__(self, url: str, token: str = "", *, insecure: bool = False) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RemoteError(
                f"{clean(url)!r} is no address of a server: write all of it, such as "
                "https://www.example.com/admin/cache", wrong=True,
            )  # fmt: skip
        if parts.username is not None or parts.password is not None:
            raise RemoteError(
                "leave name and password out of the address; the token is in ASWR_ADMIN_TOKEN",
                wrong=True,
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise RemoteError("ASWR_ADMIN_TOKEN has characters that no token has", wrong=True)
        if token and parts.scheme == "http" and not insecure and not is_here(url):
            raise RemoteError(
                f"the token would go to {parts.hostname} in the clear: use https, or a tunnel to "
                "this host; --insecure sends it all the same", wrong=True,
            )  # fmt: skip
        self.url = parts._replace(query="", fragment="").geturl().rstrip("/")
        self.host = parts.netloc
        self._token = token
        self._opener = opener(_Stay())

    # Looking.

    def about(self) -> dict[str, Any]:
        return self._dict(self._get("about"), shapes.About)

    def stats(self) -> dict[str, Any]:
        return self._dict(self._get("stats"), shapes.Stats)

    @property
    def in_fleet(self) -> bool:
        return bool(self.about().get("fleet"))

    def entries(self, **asked: Any) -> dict[str, Any]:
        asked["shared"] = "1" if asked.get("shared") else ""
        return self._dict(self._get("entries", **asked), shapes.Entries)

    def show(self, url: str, *, everything: bool = False) -> dict[str, Any]:
        asked = {"url": url, "everything": everything}
        return self._dict(self._post("show", asked), shapes.Shown)

    def entry(self, id: str) -> dict[str, Any]:
        return self._dict(self._get(f"entry/{quote(id, safe='')}"), dict[str, Any])

    def latest(self, count: int = 50) -> list[dict[str, Any]]:
        return self._list(self._get("latest", count=count), shapes.Happening)

    def why(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        asked = {"url": url, "headers": dict(headers or {})}
        return self._dict(self._post("why", asked), shapes.Why)

    def jobs(self) -> list[dict[str, Any]]:
        return self._list(self._get("jobs"), shapes.Job)

    def flights(self) -> list[dict[str, Any]]:
        return self._list(self._get("flights"), shapes.Flight)

    def workers(self) -> list[dict[str, Any]]:
        return self._list(self._get("workers"), shapes.Described)

    def routes(self) -> list[str]:
        return self._list(self._get("routes"), str)

    def tags(self) -> list[str]:
        return self._list(self._get("tags"), str)

    def doctor(self) -> list[dict[str, str]]:
        found = self._list(self._get("doctor"), shapes.Line)
        if not found:
            raise self._misfit("it has checked nothing")
        return found

    # Acting.

    def refresh(self, url: str = "", *, id: str = "") -> dict[str, Any]:
        asked = {"ids": [id]} if id else {"urls": [url]}
        results = self._list(self._post("refresh", asked), shapes.Outcome)
        return self._dict(results[0] if results else None, shapes.Outcome)

    def load(self, url: str, *, force: bool, why: Because) -> dict[str, Any]:
        asked = {"url": url, "force": force, "why": why}
        return self._dict(self._post("load", asked), shapes.Outcome)

    def purge(
        self, *, urls: Iterable[str] = (), tags: Iterable[str] = (), ids: Iterable[str] = (),
        everything: bool = False, stale: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        given = {"urls": urls, "tags": tags, "ids": ids}
        names = [(kind, name) for kind, each in given.items() for name in each]
        total: dict[str, Any] = {"purged": [], "unknown": [], "everybody": True, "stale": stale}
        workers: list[Any] = []  # each question is answered by whoever takes it
        for batch in _batches(names, everything):
            asked: dict[str, Any] = {
                kind: [name for one, name in batch if one == kind] for kind in given
            }
            asked.update(everything=everything, stale=stale)
            done = self._dict(self._post("purge", asked), shapes.Purged)
            for name in ("purged", "unknown"):
                total[name] += done[name]
            total["everybody"] &= done["everybody"]
            total.update({name: done[name] for name in ("alone", "reason") if name in done})
            if done.get("partial"):
                total["partial"] = done["partial"]
            if done["worker"] not in workers:
                workers.append(done["worker"])
        return {**total, "workers": workers}

    def settle(self, seconds: float = LIMIT) -> bool:
        """What a server loaded it saves, whoever asked for it."""
        return True

    # Asking.

    def _get(self, name: str, **asked: Any) -> Any:
        given = {key: value for key, value in asked.items() if value not in ("", None)}
        query = urlencode(given, errors="surrogateescape")
        return self._ask(f"{name}?{query}" if query else name, None, LIMIT)

    def _post(self, name: str, asked: Mapping[str, Any]) -> Any:
        return self._ask(name, json.dumps(asked).encode(), LOAD_LIMIT)

    def _ask(self, name: str, body: bytes | None, limit: float) -> Any:
        where = f"{self.url}/api/{name}"
        fields = {"Accept": "application/json", "User-Agent": "aswr"}
        if body is not None:
            fields["Content-Type"] = "application/json"
        if self._token:
            fields["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(where, data=body, headers=fields)
        try:
            data = whole(self._opener, request, limit, MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except urllib.error.URLError as error:
            raise self._unreached(error.reason, limit) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unreached(error, limit) from None
        if len(data) > MOST_BYTES:
            raise RemoteError(f"{self.host} answers more than {MOST_BYTES >> 20} MiB", wrong=True)
        return self._parsed(data)

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise self._no_api("what answers there is no JSON") from None

    def _no_api(self, what: str) -> RemoteError:
        return RemoteError(
            f"{what}: is aswr.admin's blueprint mounted at {self.url}? Write its address as the "
            "browser shows it, into --server or ASWR_ADMIN_URL", wrong=True,
        )  # fmt: skip

    def _refused(self, error: urllib.error.HTTPError) -> RemoteError:
        said = _said(error)
        if error.code in (401, 403) or (error.code in _ELSEWHERE and not self._token):
            says = f"{self.host} does not let this command in ({error.code}{said})"
            if not self._token:
                says += ": put the server's token into ASWR_ADMIN_TOKEN"
            elif not said:
                says += ": is the token in ASWR_ADMIN_TOKEN the server's?"
            return RemoteError(says, wrong=True)
        if error.code == 404:
            if said:
                return RemoteError(f"{self.host} says 404{said}", wrong=True)
            return self._no_api("404")
        if error.code in _ELSEWHERE:
            where = clean(error.headers.get("Location", "nowhere"))
            return self._no_api(f"{error.code}, it redirects to {where}, which is not followed")
        wrong = 400 <= error.code < 500 and error.code not in (408, 425, 429)
        return RemoteError(f"{self.host} says {error.code}{said}", wrong=wrong)

    def _unreached(self, reason: object, limit: float) -> RemoteError:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return RemoteError(
                f"the certificate of {self.host} is not to be trusted ({reason.verify_message}): "
                "name the host as the certificate does; for an authority of your own set "
                "SSL_CERT_FILE", wrong=True,
            )  # fmt: skip
        if isinstance(reason, ssl.SSLError):
            return RemoteError(
                f"{self.host} does not speak TLS ({reason.reason or reason}): is it http://?",
                wrong=True,
            )
        if isinstance(reason, ConnectionRefusedError):
            return RemoteError(f"nobody listens at {self.host}: does the server run, and there?")
        if isinstance(reason, socket.gaierror):
            return RemoteError(f"no host {clean(urlsplit(self.url).hostname)} is known")
        if isinstance(reason, TimeoutError):
            return RemoteError(f"{self.host} does not answer within {limit:g} s")
        return RemoteError(f"{self.host} cannot be asked: {clean(reason)}")

    def _dict(self, found: Any, shape: Any) -> dict[str, Any]:
        self._check(found, shape)
        return dict(found)

    def _list(self, found: Any, shape: Any) -> list[Any]:
        self._check(found, list[shape])
        return list(found)

    def _check(self, found: Any, shape: Any) -> None:
        if misfit := shapes.misfit(found, shape):
            raise self._misfit(misfit)

    def _misfit(self, misfit: str) -> RemoteError:
        return RemoteError(
            f"{self.url}: this is not an aswr admin API, or one of another version "
            f"({clean(misfit)})", wrong=True,
        )  # fmt: skip


def _batches(names: list[tuple[str, str]], everything: bool) -> list[list[tuple[str, str]]]:
    """What goes into one question each; everything is one, whatever else there is."""
    if everything:
        return [[]]
    return [names[first : first + MOST_URLS] for first in range(0, len(names), MOST_URLS)]


def _said(error: urllib.error.HTTPError) -> str:
    try:
        said = json.loads(error.read(2**16))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return ""
    text = said.get("error") if isinstance(said, dict) else None
    return f", {clean(text)}" if isinstance(text, str) and text else ""
