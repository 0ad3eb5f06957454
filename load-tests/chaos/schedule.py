"""Which faults come, in which order, for how long: a pure function of the seed. Nothing is injected here."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of faults."""

    KILL_WORKER = "kill worker"
    """SIGKILL of a worker, its engine included; its supervisor starts it again."""
    KILL_ENGINE = "kill engine"
    """SIGKILL of an engine's process; its worker ends by itself and is started again."""
    KILL_BROKER = "kill broker"
    """SIGKILL of the broker, which comes back after some seconds."""
    KILL_STORE = "kill store"
    """SIGKILL of the object store, which comes back after some seconds; an embedded broker stands on it."""
    STOP_WORKER = "stop worker"
    """SIGSTOP of a worker for longer than its session or visibility, then SIGCONT."""
    TERM_WORKER = "term worker"
    """SIGTERM of a worker; it drains, ends and is started again."""
    JOIN = "join"
    """One more worker."""
    LEAVE = "leave"
    """That one drains and leaves for good."""
    POISON = "poison"
    """A request that kills every engine that runs it."""
    POISON_WORKER = "poison worker"
    """A request that kills every worker that runs it."""
    STOP_BROKER = "stop broker"
    """SIGSTOP of the broker for some seconds, then SIGCONT."""
    RESTART_BROKERS = "restart brokers"
    """Every broker in turn ends in order and comes back, as in an upgrade."""
    MOVE_LEADERS = "move leaders"
    """Every partition of the pool gets another of its replicas as its leader."""
    MOVE_COORDINATOR = "move coord."
    """The groups' coordinators move to other brokers."""
    KILL_GATEWAY = "kill gateway"
    """SIGKILL of the gateway; its supervisor starts it again."""
    STOP_GATEWAY = "stop gateway"
    """SIGSTOP of the gateway for some seconds, then SIGCONT."""
    TERM_GATEWAY = "term gateway"
    """SIGTERM of the gateway, which finishes what is under way; it is started again."""
    KILL_DISPATCHER = "kill disp."
    """SIGKILL of a dispatcher; another takes over its jobs, or itself once it is started again."""
    STOP_DISPATCHER = "stop disp."
    """SIGSTOP of a dispatcher until its claims are long another's, then SIGCONT."""
    TERM_DISPATCHER = "term disp."
    """SIGTERM of a dispatcher, which hands its jobs back; it is started again."""
    BROKER_PAUSED = "broker paused"
    BROKER_RESET = "broker reset"
    BROKER_SLOW = "broker slow"
    BROKER_DARK = "broker dark"
    STORE_PAUSED = "store paused"
    STORE_RESET = "store reset"
    STORE_SLOW = "store slow"
    STORE_DARK = "store dark"


BROKER_LINKS = (Kind.BROKER_PAUSED, Kind.BROKER_RESET, Kind.BROKER_SLOW, Kind.BROKER_DARK)
"""What the proxy does to everybody's connections with one broker."""
STORE_LINKS = (Kind.STORE_PAUSED, Kind.STORE_RESET, Kind.STORE_SLOW, Kind.STORE_DARK)
"""The same with the object store; the broker reaches it directly."""
SERVICE_FAULTS = (
    Kind.KILL_GATEWAY,
    Kind.STOP_GATEWAY,
    Kind.TERM_GATEWAY,
    Kind.KILL_DISPATCHER,
    Kind.STOP_DISPATCHER,
    Kind.TERM_DISPATCHER,
)
"""Faults of the gateway, or of one dispatcher."""
WORKER_FAULTS = frozenset({Kind.KILL_WORKER, Kind.KILL_ENGINE, Kind.STOP_WORKER, Kind.TERM_WORKER, Kind.LEAVE})
"""Faults of one worker, after which what ran again is counted."""

_MIN_AWAY_SECONDS, _MAX_AWAY_SECONDS = 1.5, 4.0
"""Seconds that something stays away."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    number: int
    """From 1."""
    kind: Kind
    pick: float
    """Which of several workers, brokers or dispatchers, from 0 up to 1."""
    seconds: float
    """How long it lasts, for those that last."""


def schedule(seed: int, count: int, kinds: Sequence[Kind]) -> list[Fault]:
    """So many faults of these kinds. Every kind comes before any comes again, each round in an order of its own.

    A `JOIN` and a `LEAVE` take turns.
    """
    dice = random.Random(seed)
    faults: list[Fault] = []
    waiting: list[Kind] = []
    joined = False
    while len(faults) < count:
        waiting = waiting or dice.sample(list(kinds), len(kinds))
        kind = waiting.pop(0)
        if kind in {Kind.JOIN, Kind.LEAVE}:
            kind = Kind.LEAVE if joined else Kind.JOIN
            joined = not joined
        seconds = round(dice.uniform(_MIN_AWAY_SECONDS, _MAX_AWAY_SECONDS), 1)
        faults.append(Fault(len(faults) + 1, kind, dice.random(), seconds))
    return faults
