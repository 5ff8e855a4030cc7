"""Asyncio-native stale-while-revalidate cache for Flask."""

from .codec import Answer, Entry
from .errors import AswrError, LoadCycle, LoadError, LoadTimeout, UnkeyedInput, WaitTimeout
from .jobs import JobInfo
from .manager import CacheManager
from .memory import MemoryCache

__all__ = [
    "Answer",
    "AswrError",
    "CacheManager",
    "Entry",
    "JobInfo",
    "LoadCycle",
    "LoadError",
    "LoadTimeout",
    "MemoryCache",
    "UnkeyedInput",
    "WaitTimeout",
]
