"""Garbage collection of a long-lived process: what stays for good is not looked through again and again."""

import gc

_THRESHOLD_OBJECTS = 50_000


def freeze_gc() -> None:
    """Exempt what is loaded by now from garbage collection, none of which goes away again; collect less often."""
    gc.freeze()
    gc.set_threshold(_THRESHOLD_OBJECTS)
    gc.enable()
