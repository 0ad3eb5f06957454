"""The memory of a long-lived process: what stays is not looked through again, and free memory is given back."""

import asyncio
import ctypes
import gc

_THRESHOLD_OBJECTS = 50_000
_MAX_ARENAS = 2
_ARENA_MAX_CODE = -8
"""glibc's M_ARENA_MAX."""
_TRIM_SECONDS = 60.0


def freeze_gc() -> None:
    """Exempt what is loaded by now from garbage collection, none of which goes away again; collect less often."""
    gc.freeze()
    gc.set_threshold(_THRESHOLD_OBJECTS)
    gc.enable()


def keep_few_arenas() -> None:
    """Have the C library serve all threads from two arenas, where it is glibc: each has free pages of its own.

    It makes eight for each core, and the store's library has threads enough to use them. Call it before any begins.
    """
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
        set_option(_ARENA_MAX_CODE, _MAX_ARENAS)


async def trim_memory() -> None:
    """Give back what is free between what is used, each minute for ever; does nothing where the C library cannot."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(_TRIM_SECONDS)
        await asyncio.to_thread(trim, 0)
