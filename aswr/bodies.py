"""A response's body as bytes, whole, with the response left whole and closed.

Executor threads only: reading a stream may block. Must not know entries, keys or renders.
"""

import time

from flask import Response

from . import http
from .flight import Flight

STREAM_LIMIT = 5.0  # seconds a streamed body may take before its URL passes


class StreamTooLong(Exception):
    """A streamed body that is no candidate for storing."""


def freeze(response: Response, max_body: int, flight: Flight) -> bytes:
    """The whole body, with the response left whole and closed.

    Raises `StreamTooLong` for event streams, and for streams over ``max_body`` bytes or
    `STREAM_LIMIT` seconds; those are closed.
    """
    try:
        if http.media_type(response.headers) == "text/event-stream":
            raise StreamTooLong("streams events")
        if response.is_sequence and not response.direct_passthrough:
            return response.get_data()
        body = _collect(response, max_body, flight)
        response.direct_passthrough = False
        response.set_data(body)
        return body
    finally:
        response.close()


def _collect(response: Response, max_body: int, flight: Flight) -> bytes:
    calm = flight.release_in(STREAM_LIMIT, "streams for too long")
    until = time.monotonic() + STREAM_LIMIT
    chunks: list[bytes] = []
    length = 0
    try:
        stream = iter(response.iter_encoded())
        while True:
            with flight.runtime.executor.blocking():  # it may hang: another thread works meanwhile
                chunk = next(stream, None)
            if chunk is None:
                break
            chunks.append(chunk)
            length += len(chunk)
            if length > max_body:
                raise StreamTooLong("streams more than max_body")
            if time.monotonic() > until:
                raise StreamTooLong("streams for too long")
    finally:
        calm()
        if hasattr(response.response, "close"):
            response.response.close()
    return b"".join(chunks)
