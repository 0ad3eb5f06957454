"""Where the CPU of one worker goes when the engine costs nothing, by layer."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from measuring.layers import LAYERS
from measuring.servers import Broker, servers
from scenarios.control_plane import fill, workers


def profile(
    rounds: int, requests: int, *, broker: Broker = Broker.TANSU, places: int = 0, saved: Path | None = None
) -> None:
    """Carry so many requests, so many times, and print microseconds a request and share of each layer.

    `places` asks for that many functions as well, the most expensive first. The first round only warms up. Written to
    `saved`, if that is given: microseconds a request, by layer.
    """
    layers: defaultdict[str, float] = defaultdict(float)
    functions: defaultdict[tuple[str, str], float] = defaultdict(float)
    with servers("fake", broker=broker) as settings, workers(settings) as worker:
        for number in range(rounds + 1):
            asyncio.run(fill(requests))
            found = worker.ask({"count": requests, "sample": True})
            print(
                f"round {number}: {requests / found['seconds']:,.0f} requests/s, "
                f"{found['cpu_seconds'] / requests * 1e6:.1f} µs of the worker's CPU each",
                flush=True,
            )
            if number:
                for layer, seconds in found["layers"].items():
                    layers[layer] += seconds
                for layer, place, seconds in found["places"]:
                    functions[layer, place] += seconds
    microseconds = {layer: layers[layer] / rounds / requests * 1e6 for layer in LAYERS}
    show_layers(microseconds, rounds * requests)
    for (layer, place), seconds in sorted(functions.items(), key=lambda item: item[1], reverse=True)[:places]:
        print(f"{seconds / rounds / requests * 1e6:6.2f} µs  {layer:10} {place}")
    if saved is not None:
        command = {"scenario": "profile", "requests": requests, "rounds": rounds, "broker": broker}
        text = json.dumps({"command": command, "microseconds": microseconds}, indent=2)
        saved.write_text(text + "\n", encoding="utf-8")


def show_layers(microseconds: Mapping[str, float], requests: int) -> None:
    """Print the table."""
    total = sum(microseconds.values())
    table = Table(title=f"worker CPU by layer, {requests:,} requests", title_justify="left")
    for name in ("layer", "what it does"):
        table.add_column(name)
    for name in ("µs a request", "share"):
        table.add_column(name, justify="right")
    for layer, what in LAYERS.items():
        table.add_row(layer, what, f"{microseconds[layer]:.2f}", f"{microseconds[layer] / total:.1%}")
    table.add_row("all", "", f"{total:.2f}", "", style="bold")
    Console().print(table)
