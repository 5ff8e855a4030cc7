"""Asyncio-native stale-while-revalidate cache for Flask."""

from .codec import Answer, Entry
from .errors import AswrError, LoadCycle, LoadError, LoadTimeout, UnkeyedInput, WaitTimeout
from .jobs import JobInfo
from .manager import CacheManager

__all__ = [
    "Answer",
    "AswrError",
    "CacheManager",
    "Entry",
    "JobInfo",
    "LoadCycle",
    "LoadError",
    "LoadTimeout",
    "UnkeyedInput",
    "WaitTimeout",
]
