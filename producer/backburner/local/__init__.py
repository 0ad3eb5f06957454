"""The embedded stack: a queue, an object store and our own parts as supervised child processes on this machine.

For a laptop, a demo and tests; the same servers' protocols, and the same code, as in a cluster. `broker.start`,
`emulator.start` and `store.start` give the tests each server alone. Importing this package imports nothing of the
`local` extra.
"""

from backburner.local.control.commands import run_down, run_up, run_up_detached, stack_variables
from backburner.local.model import prepare_auto_model
from backburner.local.options import EnsurePool, Preparation, Say, UpOptions

__all__ = [
    "EnsurePool",
    "Preparation",
    "Say",
    "UpOptions",
    "prepare_auto_model",
    "run_down",
    "run_up",
    "run_up_detached",
    "stack_variables",
]
