"""What C's allocator does with memory that a network lets go of.

A forward pass on a CPU takes and frees hundreds of megabytes, layer after layer. glibc gives such pieces back to the
system at once and gets them again page by page, which costs a third to two thirds of the time: a photo through
`visnet` on one core takes 10.7 ms of its own and 5.6 to 7.9 of the system's in batches of 16, 19.8 of the system's in
batches of 64. Kept, it takes 9.7 and none.

A thread's own arena can't hold such pieces, whatever it is told, so all threads get the first one.
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 2**30
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
}
"""For processes that are started with it: Ray runs what it is given on threads that have an arena by then."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Let this process keep what it frees for its next use, up to a gibibyte; only glibc knows how.

    Threads that have used memory before keep the arena they have: call it first, or use `ENVIRONMENT`.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
    mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(_ARENA_MAX, 1)
