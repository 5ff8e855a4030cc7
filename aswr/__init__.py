"""Asyncio-native stale-while-revalidate cache for Flask."""

from .codec import Answer, Entry
from .errors import AswrError, LoadCycle, LoadError, LoadTimeout, UnkeyedInput, WaitTimeout
from .events import Cause, Event
from .jobs import JobInfo
from .manager import CacheManager

__all__ = [
    "Answer",
    "AswrError",
    "CacheManager",
    "Cause",
    "Entry",
    "Event",
    "JobInfo",
    "LoadCycle",
    "LoadError",
    "LoadTimeout",
    "UnkeyedInput",
    "WaitTimeout",
]
