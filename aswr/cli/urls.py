"""The URLs that a list or a sitemap names: read, bounded, and of this app alone.

A sitemap (sitemaps.org) is XML, perhaps compressed, perhaps an index of others. Entities are
refused, which no sitemap needs, so none can grow into gigabytes; what is compressed is unpacked no
further than the protocol allows.
"""

import gzip
import http.client
import io
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.parsers import expat

from .screen import clean
from .web import is_here, opener, whole

MOST_BYTES = 50 * 2**20  # of a sitemap, unpacked, as the protocol has it
MOST_URLS = 1_000_000  # of all sitemaps together
MOST_SITEMAPS = 10_000
MOST_DEPTH = 3  # of indexes in indexes
LIMIT = 30.0  # seconds for a sitemap to arrive
GZIP = b"\x1f\x8b"

Read = Callable[[str], bytes]


class BadList(Exception):
    """What was read is no list of URLs; its text says why."""


@dataclass
class Found:
    """The paths to load, each once, in order; and how many URLs are of which other hosts."""

    paths: dict[str, None] = field(default_factory=dict)
    elsewhere: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # what is no URL
    unread: list[str] = field(default_factory=list)  # why sitemaps of an index were not

    def take(self, url: str, hosts: Iterable[str]) -> None:
        """Note one URL or path."""
        try:
            parts = urlsplit(url)
            host = _host(parts.scheme, parts.netloc)
        except ValueError:
            self.wrong.append(url)
            return
        if any(one.isspace() or not one.isprintable() for one in url):
            self.wrong.append(url)  # encoded, as in a URL, it would be one
        elif parts.scheme not in ("", "http", "https") or not (parts.netloc or url.startswith("/")):
            self.wrong.append(url)
        elif parts.netloc and host not in {_host(parts.scheme, one) for one in hosts}:
            self.elsewhere[host] += 1
        else:
            path = parts.path or "/"
            if path.startswith("//"):  # alone, its beginning would be taken for a host
                path = f"{parts.scheme or 'http'}://{host}{path}"
            self.paths[f"{path}?{parts.query}" if parts.query else path] = None
            if len(self.paths) > MOST_URLS:
                raise BadList(f"more than {MOST_URLS:,} URLs: give them in parts")


def _host(scheme: str, netloc: str) -> str:
    """A host as two that are the same are written the same."""
    host = netloc.rpartition("@")[2].lower()
    return host.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ":none"))


def read_all(source: str, read: Read, hosts: Iterable[str]) -> Found:
    """Everything that a file, "-" or URL names, of these hosts; raises `BadList` or `OSError`.

    Sitemaps that an index names are fetched if they are of these hosts, too; one that cannot be
    read is noted, and the others are.
    """
    own = {*hosts}
    if _is_url(source):
        own.add(urlsplit(source).netloc)
    found, seen, todo = Found(), {source}, [(source, 0)]
    while todo:
        where, depth = todo.pop(0)
        try:
            urls, sitemaps = parse(read(where), where)
        except BadList as error:
            if not depth:
                raise
            found.unread.append(str(error))
            continue
        for url in urls:
            found.take(url, own)
        for url in sitemaps:
            url = urljoin(where, url) if _is_url(where) else url
            parts = urlsplit(url)
            if not _is_url(url):
                found.wrong.append(url)
            elif parts.netloc not in own:
                found.elsewhere[parts.netloc] += 1
            elif url not in seen:
                if depth >= MOST_DEPTH or len(seen) >= MOST_SITEMAPS:
                    raise BadList(f"{clean(where)}: too many sitemaps in sitemaps")
                seen.add(url)
                todo.append((url, depth + 1))
    return found


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def reader(stdin: Callable[[], bytes]) -> Read:
    """How what is named by a command is read: a file, "-" or a URL."""

    def read(source: str) -> bytes:
        if source == "-":
            return _bounded(stdin(), "the standard input")
        if _is_url(source):
            return _fetched(source)
        try:
            with Path(source).open("rb") as file:
                return _bounded(file.read(MOST_BYTES + 1), source)
        except OSError as error:
            raise BadList(f"{clean(source)}: {error.strerror}") from None

    return read


class _SameHost(urllib.request.HTTPRedirectHandler):
    """A sitemap that has moved is read where it is, on its own host, within the same time."""

    def __init__(self, until: float) -> None:
        self._until = until

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).netloc != urlsplit(req.full_url).netloc or not _is_url(newurl):
            return None
        req.timeout = max(0.001, self._until - time.monotonic())
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetched(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "aswr"})
    try:
        here = opener(_SameHost(time.monotonic() + LIMIT), proxies=not is_here(url))
        return _bounded(whole(here, request, LIMIT, MOST_BYTES), url)
    except urllib.error.HTTPError as error:
        with error:
            raise BadList(f"{clean(url)}: the server says {error.code}") from None
    except urllib.error.URLError as error:
        raise BadList(f"{clean(url)}: {clean(error.reason)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BadList(f"{clean(url)}: {clean(error)}") from None


def _bounded(data: bytes, where: str) -> bytes:
    if len(data) > MOST_BYTES:
        raise BadList(f"{clean(where)}: more than {MOST_BYTES >> 20} MiB")
    return data


def parse(data: bytes, where: str) -> tuple[list[str], list[str]]:
    """The URLs, and the further sitemaps, that a file names; raises `BadList`.

    A sitemap, or a line each: blank lines and those that begin with "#" do not count.
    """
    if data.startswith(GZIP):
        data = _unpacked(data, where)
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<") or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _sitemap(data, where)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadList(f"{clean(where)}: neither a sitemap nor a list of URLs") from None
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")], []


def _unpacked(data: bytes, where: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:  # of any number of members
            return _bounded(file.read(MOST_BYTES + 1), where)
    except EOFError:
        raise BadList(f"{clean(where)}: its end is missing") from None
    except (OSError, zlib.error) as error:
        raise BadList(f"{clean(where)}: {clean(error)}") from None


def _sitemap(data: bytes, where: str) -> tuple[list[str], list[str]]:
    found: dict[str, list[str]] = {"url": [], "sitemap": []}
    path: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: object) -> None:
        path.append(name.rpartition(" ")[2])
        text.clear()

    def end(name: str) -> None:
        # <image:loc> and the like are in elements of their own
        if path[-1] == "loc" and len(path) == 3 and path[1] in found:
            found[path[1]].append("".join(text).strip())
        path.pop()

    def entity(*args: object) -> None:
        raise BadList(f"{clean(where)}: it declares entities, which no sitemap needs")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.EntityDeclHandler = entity
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadList(f"{clean(where)}: no sitemap ({error})") from None
    return [url for url in found["url"] if url], [url for url in found["sitemap"] if url]
