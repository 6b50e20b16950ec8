"""How the system's allocator treats memory that torch frees."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for reuse. Returns whether that could be set, which only glibc allows.

    By default glibc returns every block above 32 MB to the system at once and requests it again, and the system zeroes
    it page by page: at batch 32 that is half a million page faults a step, and a third of the time of training on a CPU
    (docs/performance.md). Peak memory grows by about a tenth.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, -1))
