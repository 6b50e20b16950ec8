"""What the system's allocator does with memory that torch gives back."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, to use it again. Whether it could be told so: only glibc can.

    By default glibc gives every block above 32 MB back to the system at once and asks for it anew, and the system fills
    it with zeros, page by page: at batch 32 that is half a million page faults a step, and a third of the time of
    training on a CPU (docs/performance.md). At its peak a training takes about a tenth more memory for it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, -1))
