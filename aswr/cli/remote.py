"""The admin JSON API of a running server, asked as a `Desk` is.

Owns no state but an address and a token. Standard library alone; each question has a limit of time.
The token goes to the host that was named and to no other, and over plain http only within a host.
"""

import http.client
import ipaddress
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ..events import Because
from .screen import clean

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
        if token and parts.scheme == "http" and not insecure and not _is_here(parts.hostname):
            raise RemoteError(
                f"the token would go to {parts.hostname} in the clear: use https, or a tunnel to "
                "this host; --insecure sends it all the same", wrong=True,
            )  # fmt: skip
        self.url = parts._replace(query="", fragment="").geturl().rstrip("/")
        self.host = parts.netloc
        self._token = token
        self._opener = urllib.request.build_opener(_Stay)

    # Looking.

    def about(self) -> dict[str, Any]:
        return self._dict(self._get("about"))

    def stats(self) -> dict[str, Any]:
        return self._dict(self._get("stats"))

    @property
    def in_fleet(self) -> bool:
        return bool(self.about().get("fleet"))

    def entries(self, **asked: Any) -> dict[str, Any]:
        asked["shared"] = "1" if asked.get("shared") else ""
        return self._dict(self._get("entries", **asked))

    def show(self, url: str) -> dict[str, Any]:
        return self._dict(self._get("show", url=url))

    def entry(self, id: str) -> dict[str, Any]:
        return self._dict(self._get(f"entry/{quote(id, safe='')}"))

    def latest(self, count: int = 50) -> list[dict[str, Any]]:
        return self._list(self._get("latest", count=count))

    def why(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self._dict(self._post("why", {"url": url, "headers": dict(headers or {})}))

    def jobs(self) -> list[dict[str, Any]]:
        return self._list(self._get("jobs"))

    def flights(self) -> list[dict[str, Any]]:
        return self._list(self._get("flights"))

    def workers(self) -> list[dict[str, Any]]:
        return self._list(self._get("workers"))

    def routes(self) -> list[str]:
        return [str(one) for one in self._list(self._get("routes"))]

    def tags(self) -> list[str]:
        return [str(one) for one in self._list(self._get("tags"))]

    def doctor(self) -> list[dict[str, str]]:
        return self._list(self._get("doctor"))

    # Acting.

    def refresh(self, url: str) -> dict[str, Any]:
        results = self._list(self._post("refresh", {"urls": [url]}))
        return self._dict(results[0] if results else None)

    def load(self, url: str, *, force: bool, why: Because) -> dict[str, Any]:
        return self._dict(self._post("load", {"url": url, "force": force, "why": why}))

    def purge(
        self, *, urls: Iterable[str] = (), tags: Iterable[str] = (), ids: Iterable[str] = (),
        everything: bool = False, stale: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        given = {"urls": urls, "tags": tags, "ids": ids}
        names = [(kind, name) for kind, each in given.items() for name in each]
        whole: dict[str, Any] = {"purged": [], "unknown": [], "everybody": True, "stale": stale}
        workers: list[Any] = []  # each question is answered by whoever takes it
        for batch in _batches(names, everything):
            asked = {kind: [name for one, name in batch if one == kind] for kind in given}
            done = self._dict(
                self._post("purge", {**asked, "everything": everything, "stale": stale})
            )
            for name in ("purged", "unknown"):
                whole[name] += done.get(name, [])
            whole["everybody"] &= bool(done.get("everybody"))
            whole.update({name: done[name] for name in ("alone", "reason") if name in done})
            if done.get("partial"):
                whole["partial"] = done["partial"]
            if "worker" in done and done["worker"] not in workers:
                workers.append(done["worker"])
        return {**whole, "workers": workers}

    def settle(self, seconds: float = LIMIT) -> bool:
        """What a server loaded it saves, whoever asked for it."""
        return True

    # Asking.

    def _get(self, name: str, **asked: Any) -> Any:
        given = {key: value for key, value in asked.items() if value not in ("", None)}
        return self._ask(name + (f"?{urlencode(given)}" if given else ""), None, LIMIT)

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
            with self._opener.open(request, timeout=limit) as response:
                data = response.read(MOST_BYTES + 1)
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

    def _dict(self, found: Any) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise self._no_api("what answers there is not aswr's API")
        return found

    def _list(self, found: Any) -> list[Any]:
        if not isinstance(found, list):
            raise self._no_api("what answers there is not aswr's API")
        return found


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


def _is_here(host: str) -> bool:
    """Is it this very machine? Nobody listens in on the way."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
