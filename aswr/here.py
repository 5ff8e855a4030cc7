"""Which process this is, among those of a fleet. No I/O beyond asking the system once."""

import functools
import os
import socket


@functools.cache
def host() -> str:
    """The name that this machine gives itself."""
    return socket.gethostname()


def process() -> str:
    """This process, ``web1:4711``; another one in a forked child."""
    return f"{host()}:{os.getpid()}"
