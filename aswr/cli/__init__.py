"""``flask aswr``: what is in the cache, why, and what to do about it, from a command line.

Leaf: nobody imports it; Flask finds it by its entry point. What it shows and does is the desk's, of
a running server or of the store that all of them share.
"""

from . import acting, looking
from .options import aswr

__all__ = ["acting", "aswr", "looking"]
