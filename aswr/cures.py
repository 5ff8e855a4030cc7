"""What helps where an answer is not stored, or a request passes: a cure for each reason.

Pure. What is read of a request has its cures where it is read: `Notes.cause`.
"""

from typing import Final

from .freshness import storable_status
from .options import Plan

_BODY: Final = "raise max_body= ({size} bytes here), or take the decorator off"

# By what a reason begins with.
_CURES: Final = {
    "method": "only answers to GET and HEAD are stored: let the page answer one of these",
    "unless": "unless= says so of this request: let it say so of fewer, or leave it out",
    "no-store": "leave no-store out of the request, or write request_directives=False",
    "only-if-cached": "leave only-if-cached out of the request, or warm the page first",
    "closed": "manager.start() begins anew",
    "bypass": "remove ASWR_ENABLED = False",
    "an argument": (
        "call the view with what a key can stand for: text, numbers, and tuples or dicts of these"
    ),
    "sends credentials": (
        "an answer that says public, s-maxage or must-revalidate in Cache-Control may be given to "
        "who sends Cookie or Authorization (RFC 9111 section 3.5); or leave vary='response' out: "
        "then only what the view reads counts"
    ),
    "reads over": "read fewer, or name in vary=[...] those that matter: no others are seen then",
    "sets a cookie": (
        "set the cookie in an after_request hook, which runs around every answer, hits too; of a "
        "public page hooks are a part: set it on another page"
    ),
    "Cache-Control private": (
        "leave private out of Cache-Control where everybody may have the answer; for an answer per "
        "person there is scope="
    ),
    "Cache-Control no-store": "leave no-store out of the answer's Cache-Control",
    "Cache-Control must-understand": "leave must-understand out of the answer's Cache-Control",
    "Vary *": "name in Vary what the answer depends on, in place of *",
    "says no freshness": "write timeout=, or let the answer say Cache-Control: max-age=...",
    "is stale at once": (
        "let the answer live longer: its max-age (for caches s-maxage) must be above its Age"
    ),
    "body over max_body": _BODY,
    "streams more than max_body": _BODY,
    "streams for too long": (
        "let the answer end within seconds, or take the decorator off: a cache needs all of it"
    ),
    "streams events": "take the decorator off: a stream of events never ends",
    "store_if": "store_if= refuses this answer: let it refuse fewer, or leave it out",
    "body is not complete": "let the answer be as long as its Content-Length says",
    "answers one": "let the answer's Cache-Control say how long it may be kept, or write timeout=",
    "its error": "raise an error that can be copied, and holds no response",
}

UNKNOWN: Final = (
    "what runs before the view in a request, and what it would set, is not known here: ask with a "
    "real request and read Cache-Status in its answer"
)


def cure(reason: str, plan: Plan) -> str:
    """What helps against a reason; empty where it names what is read, or nobody knows."""
    kind, _, rest = reason.partition(" ")
    if kind == "status" and rest.isdecimal():
        return _of_status(int(rest), plan)
    found = next((text for begin, text in _CURES.items() if reason.startswith(begin)), "")
    return found.format(size=plan.max_body) if found is _BODY else found


def _of_status(status: int, plan: Plan) -> str:
    if status >= 500:
        return failing(plan)
    if not storable_status(status):
        return f"an answer with status {status} is never stored: let it have another, or leave it"
    return f"statuses={{{status}: 30}} stores it, for 30 s"


def slow(option: str, took: str) -> str:
    """What helps where loads take so long, which is longer than that option says."""
    if option == "load_timeout":
        return f"raise load_timeout= above {took}, or let the view be done sooner"
    return (
        f"raise wait_timeout= above {took}, or have it loaded before anybody asks: "
        "manager.schedule_periodic_refresh(path, interval), or flask aswr warm"
    )


def failing(plan: Plan) -> str:
    """What helps where loads fail; empty where that is done."""
    if plan.times.stale_if_error:
        return ""
    return "what fails is not stored; stale_if_error=600 serves the last good answer for so long"
