"""The errors that a caller may want to catch. Programmer mistakes are stdlib exceptions.

Pure: no threads, no clock, no I/O. Any module may import it.
"""

from werkzeug.exceptions import GatewayTimeout, ServiceUnavailable


class AswrError(Exception):
    """Base of every error that aswr raises for a caller to catch."""


class LoadError(AswrError, RuntimeError):
    """A load ended in something that must not travel into a request.

    ``SystemExit``, ``KeyboardInterrupt`` or a cancellation out of user code; the original is the
    ``__cause__``.
    """

    @classmethod
    def of(cls, name: str, error: BaseException) -> "LoadError":
        """What becomes of ``error``, which the code of ``name`` raised."""
        try:
            text = repr(error)
        except BaseException:
            text = type(error).__qualname__
        made = cls(f"{name} raised {text}")
        made.__cause__ = error
        return made


def as_exception(name: str, error: BaseException) -> Exception:
    """``error``, or the `LoadError` that it becomes where no request may see it as it is."""
    return error if isinstance(error, Exception) else LoadError.of(name, error)


class LoadCycle(AswrError, RuntimeError):
    """Loads that would wait for each other for ever; the text names the cycle."""


class LoadTimeout(AswrError, GatewayTimeout):
    """A load outlasted its ``load_timeout``. As a response: 504 (RFC 9110 §15.6.5)."""


class WaitTimeout(AswrError, ServiceUnavailable):
    """A caller waited ``wait_timeout`` for a load that goes on. As a response: 503, Retry-After.

    ``retry_after`` is in seconds (RFC 9110 §10.2.3).
    """


class UnkeyedInput(AswrError, RuntimeError):
    """A view reads an input that can never be shared; raised in the request under ``ASWR_STRICT``.

    The text says which input, in which file and line, and the cures by name.
    """
