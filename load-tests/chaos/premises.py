"""A folder, servers and a report for one scenario; all gone afterwards, but for the logs of a broken promise."""

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.patience import NeverCame
from chaos.report import Report
from chaos.servers import Servers


@dataclass(frozen=True, slots=True)
class Scene:
    """What a scenario runs on."""

    folder: Path
    servers: Servers
    report: Report


def premises(
    command: Mapping[str, Any],
    start: Callable[[Path], AbstractContextManager[Servers]],
    play: Callable[[Scene], Awaitable[None]],
) -> Report:
    """Bring the servers up and run the scenario. Returns its report."""
    folder = Path(tempfile.mkdtemp(prefix="backburner-chaos-"))
    # What the client libraries log while servers are away.
    logging.basicConfig(filename=folder / "harness.log", level=logging.INFO, force=True)
    # A line a call, of which there are hundreds of thousands in a soak.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    report = Report(dict(command))
    began = time.monotonic()

    async def whole(servers: Servers) -> None:
        try:
            await play(Scene(folder, servers, report))
        except NeverCame as error:
            report.breaches.append(str(error))

    with start(folder) as servers:
        asyncio.run(whole(servers))
    report.seconds = time.monotonic() - began
    if report.kept:
        shutil.rmtree(folder)
    else:
        print(f"logs and journals are in {folder}", flush=True)
    return report
