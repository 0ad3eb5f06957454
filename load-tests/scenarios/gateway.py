"""What the gateway costs: single enqueues, an upload of 200 MB, and the requests that a page of batches takes.

Enqueues go to two replicas over connections that each wait for their answer, and to two processes of a bare Starlette
endpoint that only publishes, on the same broker. The gateway authenticates an API key and checks the request. Uploads
and lists are in `gateway_uploads` and `gateway_listing`.
"""

import asyncio
import json
import statistics
from collections.abc import Sequence

from measuring.figures import Bound, Check, Figures
from measuring.http_load import post, send_all
from measuring.pairs import Measured, Pair, Side, interleaved
from measuring.part import Part
from measuring.servers import servers
from scenarios.gateway_listing import PAGE_BATCH_COUNT, list_batches
from scenarios.gateway_sides import REPLICA_COUNT, Sides, both_sides
from scenarios.gateway_uploads import upload

GOAL_RATIO = 0.6
UPLOAD_GOAL_RATIO = 0.7
MEMORY_GOAL_MB = 64.0
"""Memory that an upload may take beyond what the gateway has before it."""
CONNECTION_COUNT = 128
UPLOAD_BYTES = 200 * 1000 * 1000
_PATH = "/v1/async/chat/completions"
_PROMPT = "x" * 350
_ACCEPTED_STATUS = 202


def gateway(pairs: int, requests: int, uploads: int, batches: int, *, quick: bool = False) -> Figures:
    """Run pairs of so many enqueues and of uploads, and list so many batches. The ratio is of enqueues a second."""
    size = UPLOAD_BYTES // 10 if quick else UPLOAD_BYTES
    with servers("fake", durable=False), both_sides() as sides:
        enqueued = _enqueue(sides, pairs, requests)
        uploaded = upload(sides, uploads, size)
    listing = asyncio.run(list_batches(batches))
    waited = statistics.median(pair.baseline.extra["p99_s"] / pair.ours.extra["p99_s"] for pair in enqueued)
    growth = max(pair.ours.extra["grown_mb"] for pair in uploaded)
    print(f"list of {batches:,} batches: {listing}", flush=True)
    return Figures.of_pairs(
        "gateway",
        enqueued,
        ("bare Starlette", "gateway"),
        goal=GOAL_RATIO,
        against=f"a bare Starlette endpoint that only publishes, {REPLICA_COUNT} replicas of either",
        settings={
            "requests": requests,
            "connections": CONNECTION_COUNT,
            "upload_bytes": size,
            "batches": batches,
            "page": PAGE_BATCH_COUNT,
        },
        details={
            "uploads": [
                {"bare_seconds": pair.baseline.seconds, "seconds": pair.ours.seconds, **pair.ours.extra}
                for pair in uploaded
            ],
            "list_page_seconds": listing.page_seconds,
        },
        checks=[
            Check.of("p99 of a bare enqueue over the gateway's", waited, GOAL_RATIO),
            Check.of(
                f"speed of an upload of {size / 1e6:.0f} MB",
                statistics.median(pair.speed for pair in uploaded),
                UPLOAD_GOAL_RATIO,
                against="a bare PUT that is piped to the same store",
            ),
            Check.of("MB more while it is uploaded", growth, MEMORY_GOAL_MB, bound=Bound.AT_MOST),
            Check.of("LISTs for a page of batches", listing.lists, 1, bound=Bound.AT_MOST),
            Check.of("GETs for a batch that is shown", listing.reads, 2, bound=Bound.AT_MOST),
        ],
        quick=quick,
    )


def _enqueue(sides: Sides, pairs: int, requests: int) -> list[Pair]:
    bodies = [
        json.dumps({"model": "fake", "messages": [{"role": "user", "content": f"{number} {_PROMPT}"}]}).encode()
        for number in range(requests)
    ]
    with_key = [post(_PATH, body, authorization=f"Bearer {sides.key}") for body in bodies]

    def side(name: str, parts: Sequence[Part], ports: Sequence[int]) -> Side:
        # Both sides get the same bytes; the bare one looks at no key.
        return Side(name, lambda _: _send(parts, ports, with_key))

    bare = side("bare Starlette", sides.bare, [one.port for one in sides.bare])
    ours = side("gateway", sides.gateways, sides.ports)
    for one in (bare, ours):
        one.run(-1)
    return interleaved(pairs, bare, ours, check=_report)


def _send(parts: Sequence[Part], ports: Sequence[int], requests: Sequence[bytes]) -> Measured:
    cpu = sum(one.cpu_seconds() for one in parts)
    load = asyncio.run(send_all(ports, requests, connections=CONNECTION_COUNT, status=_ACCEPTED_STATUS))
    spent = sum(one.cpu_seconds() for one in parts) - cpu
    return Measured(load.seconds, spent, len(requests), {"p99_s": load.p99})


def _report(pair: Pair) -> None:
    for name, side in (("bare", pair.baseline), ("gateway", pair.ours)):
        each = side.cpu_seconds / side.work * 1e6
        print(
            f"{name}: {side.rate:,.0f} requests/s, p99 {side.extra['p99_s'] * 1000:.1f} ms, {each:.0f} µs of CPU each"
        )
