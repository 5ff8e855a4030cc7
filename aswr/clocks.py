"""Which clock a manager has that is given none: the machine's, unless a test kit says otherwise.

Imports nothing of aswr.
"""

import time
from collections.abc import Callable

# Seconds since the epoch. Read once, when a manager is made: a hit pays for no indirection.
default: Callable[[], float] = time.time
