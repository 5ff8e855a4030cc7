"""Names of inputs: the classes of what a request may bring, and how it is spelt.

An input name is a string: "header Accept-Language", "cookie session", "g.locale", "host". Pure: no
async, no threads, no clock; knows no framework.
"""

import enum
import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache

_OTEL = "opentelemetry.instrumentation.flask"
# Functions of extensions whose reads make no difference to an answer.
PRESET_FUNCTIONS = frozenset(
    {
        "flask_login.utils:_create_identifier",
        f"{_OTEL}:_wrapped_before_request.<locals>._before_request",
        f"{_OTEL}:_wrapped_teardown_request.<locals>._teardown_request",
    }
)
# Names in ``g`` in which an extension keeps whom it made of the request: to be nobody is to be
# absent, as in a render, where the extension makes it anew of what it reads.
PERSONS = frozenset({"_login_user"})

# Always in the key, or the same for everybody.
KEYED = frozenset(
    "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING REQUEST_URI RAW_URI SERVER_PROTOCOL".split()
)
_QUERY = frozenset({"QUERY_STRING", "REQUEST_URI", "RAW_URI"})
# Absent in every render and not recorded: they change what is sent, not what the answer is
# (conditions, ranges), or only label the request (tracing).
BLANK = frozenset(
    f"HTTP_{name.upper().replace('-', '_')}"
    for name in """
        If-Match If-None-Match If-Modified-Since If-Unmodified-Since If-Range Range
        Traceparent Tracestate Baggage B3 X-B3-TraceId X-B3-SpanId X-B3-ParentSpanId X-B3-Sampled
        X-B3-Flags X-Request-Id X-Correlation-Id X-Amzn-Trace-Id X-Cloud-Trace-Context
        Sentry-Trace Uber-Trace-Id
    """.split()
)
# Who is asking, where he asks from, and what he may do; patterns of header names.
PERSONAL = tuple(
    """
    cookie authorization proxy-authorization x-api-key api-key x-auth* *-jwt-* *-jwt x-token
    x-access-token x-amz-security-token x-csrf-token x-csrftoken x-xsrf-token x-session x-session-*
    dpop remote-user x-remote-user x-webauth-* x-user x-user-* x-consumer-*
    x-forwarded-user x-forwarded-email x-forwarded-groups x-forwarded-preferred-username
    x-forwarded-access-token x-goog-authenticated-* x-goog-iap-* x-ms-client-principal* x-ms-token-*
    cf-access-* tailscale-user-*
    client-cert client-cert-chain x-client-cert* x-ssl-client-* ssl-client-* x-forwarded-client-cert
    x-forwarded-tls-client-* x-arr-clientcert
    x-forwarded-for forwarded x-real-ip x-client-ip client-ip true-client-ip cf-connecting-ip*
    fastly-client-ip x-cluster-client-ip x-appengine-user-ip x-original-forwarded-for
    x-envoy-external-address fly-client-ip x-azure-clientip x-azure-socketip x-remote-ip
    x-remote-addr x-proxyuser-ip
    *-token token *apikey *-api-key *-subscription-key *-secret *-secret-key *-access-key
    *-authorization x-amzn-oidc-* remote-* x-vouch-* x-pomerium-* x-email* x-session* session-id
    *-client-dn x-ssl-cert x-username
    """.split()
)
BODY = frozenset(
    """
    CONTENT_TYPE CONTENT_LENGTH HTTP_CONTENT_TYPE HTTP_CONTENT_LENGTH HTTP_TRANSFER_ENCODING
    wsgi.input wsgi.input_terminated
    """.split()
)
_NAMED = {
    "HTTP_HOST": "host",
    "SERVER_NAME": "host",
    "SERVER_PORT": "host",
    "wsgi.url_scheme": "scheme",
    "HTTP_COOKIE": "cookies",
    "REMOTE_ADDR": "remote address",
    "REMOTE_PORT": "remote address",
}
_MACHINERY = frozenset(
    """
    wsgi.version wsgi.errors wsgi.multithread wsgi.multiprocess wsgi.run_once wsgi.file_wrapper
    werkzeug.request werkzeug.debug.preserve_context
    """.split()
)
_ADDRESS = re.compile(r"FORWARDED(_FOR)?$|_IP(V6)?$|CLIENTIP|SOCKETIP|REMOTE_ADDR|EXTERNAL_ADDRESS")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SPELLINGS = "write a header's name ('Accept-Language'), 'cookie:NAME' or 'remote_addr'"
_COOKIE_NAME = re.compile(r'[^\x00-\x20\x7f=,;"]+')


class Kind(enum.Enum):
    """What reading an input means for sharing."""

    LEARNED = "learned"  # requests that agree on it share
    PERSONAL = "personal"  # requests without it share
    NEVER = "never"  # everybody has one of his own


def input_of(environ_key: str) -> str:
    """What an environ key says, for any view; empty for the key's own and what is blank."""
    if environ_key in _QUERY:
        return "query"
    if environ_key in KEYED or environ_key in BLANK or environ_key in _MACHINERY:
        return ""
    if environ_key in _NAMED:
        return _NAMED[environ_key]
    if environ_key in BODY:
        return "body"
    if environ_key.startswith("HTTP_"):
        return f"header {name_of(environ_key)}"
    return f"environ {environ_key}"


def name_of(environ_key: str) -> str:
    return environ_key.removeprefix("HTTP_").replace("_", "-").title()


def key_of(header: str) -> str:
    key = header.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


@lru_cache(64)
def _pattern(more: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, PERSONAL + more)))


@lru_cache(256)
def is_personal(header: str, more: tuple[str, ...]) -> bool:
    return _pattern(more).match(header.lower()) is not None


@lru_cache(256)
def is_address(environ_key: str) -> bool:
    """Is this a header in which proxies say where a request comes from?"""
    return _ADDRESS.search(environ_key) is not None


def input_name(spec: str) -> str:
    """The input name of an option's text: a header, ``cookie:NAME``, ``remote_addr``, ``g.NAME``.

    Raises `ValueError` with the cure for anything else.
    """
    if not isinstance(spec, str) or not spec.isascii():
        raise ValueError(f"{spec!r} names no input; {_SPELLINGS}")
    kind, colon, cookie = spec.partition(":")
    if colon and kind.lower() == "cookie" and _COOKIE_NAME.fullmatch(cookie):
        return f"cookie {cookie}"
    if spec.startswith("g.") and spec[2:].isidentifier():
        return spec
    if spec.lower() in ("remote_addr", "scheme"):
        return {"remote_addr": "remote address"}.get(spec.lower(), "scheme")
    if "_" in spec and not colon:
        name = name_of(spec.upper())
        raise ValueError(f"{spec!r} is no header's name; write it as HTTP does: {name!r}")
    if not _TOKEN.fullmatch(spec) or spec == "*":
        raise ValueError(f"{spec!r} names no input; {_SPELLINGS}")
    return input_of(key_of(spec)) or f"header {name_of(key_of(spec))}"


def names_of_vary(fields: Iterable[str]) -> tuple[str, ...]:
    """The input names for the field names of a response's ``Vary``; blank ones have none."""
    names = ("all headers" if name == "*" else input_of(key_of(name)) for name in fields)
    return tuple(dict.fromkeys(filter(None, names)))


def explained(field: str, names: Iterable[str]) -> bool:
    """Do these inputs cover a field name of a response's ``Vary`` already?"""
    names = tuple(names)
    if field == "*":
        return False
    wanted = names_of_vary((field,))
    if not wanted or wanted[0] in names or "all headers" in names:
        return True
    if wanted[0] == "cookies":
        return any(name.startswith("cookie ") for name in names)
    best = wanted[0].replace("header ", "best ", 1) + " of "
    return any(name.startswith(best) for name in names)


def describe(names: Iterable[str]) -> str:
    """Names for the log and for ``Cache-Status``: ``reads cookie session, g.user``."""
    names = tuple(names)
    reads = ", ".join(name for name in names if name != "writes session")
    texts = [f"reads {reads}"] if reads else []
    return "; ".join(texts + ["writes session"] * ("writes session" in names))


def inputs_in(reason: str) -> list[str]:
    """What a reason says that is read, or written, as `describe` writes it."""
    names: list[str] = []
    for part in reason.split("; "):
        if part.startswith("reads ") and not part.startswith("reads over "):
            names += part.removeprefix("reads ").split(", ")
        elif part.startswith("writes "):
            names.append(part)
    return names
