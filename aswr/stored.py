"""Responses made of stored answers, less what Werkzeug would find out anew each time.

Werkzeug looks at every header field when it is set, copies and looks at all of them once more when
the response goes out, and parses the status. Of a stored answer all that is known. An app whose
response class has its own way of being made or of going out keeps it. Any thread. Must not know
entries or requests.
"""

from typing import Any

from flask import Response
from werkzeug.datastructures import Headers

from .recorded import named_like, per_class
from .replies import Fields

_WAYS = (
    "__init__", "__call__", "get_wsgi_response", "get_wsgi_headers", "get_app_iter",
    "iter_encoded", "close",
)  # fmt: skip
_REWRITTEN = frozenset({"location", "content-location"})


def response_of(base: type[Response], status: int, fields: Fields, body: bytes) -> Response:
    """A response of an app's class with exactly these fields, whose list becomes its own."""
    quick: type[Response] | None = _quick_class(base)
    if quick is None:
        response = base([body], status=status)
        response.headers = headers_of(fields)
        return response
    response = object.__new__(quick)
    vars(response).update(
        _pattern(quick, status), headers=headers_of(fields), response=[body], _on_close=[]
    )
    return response


def headers_of(fields: Fields) -> Headers:
    """Headers that have this list, as it is."""
    headers = Headers()
    headers._list = fields
    return headers


@per_class
def _pattern(quick: Any, status: int) -> Any:
    """What an empty response with this status has."""
    return vars(quick([], status=status))


@per_class
def _quick_class(base: Any) -> Any:
    if any(getattr(base, name) is not getattr(Response, name) for name in _WAYS):
        return None

    def get_wsgi_response(self: Any, environ: Any) -> Any:
        parts = self.response
        plain = type(parts) is list and len(parts) == 1 and type(parts[0]) is bytes
        if plain and self._status_code == 200 and environ["REQUEST_METHOD"] == "GET":
            fields = list(self.headers)
            names = [name.lower() for name, _ in fields]
            if "content-length" in names and _REWRITTEN.isdisjoint(names) and not self._on_close:
                return parts, self.status, fields
        return base.get_wsgi_response(self, environ)

    return named_like(base, {"get_wsgi_response": get_wsgi_response})
