"""The fake engine in a child process, so that an engine's death can be the real thing: a killed process.

Parent and child exchange JSON, one object a line: the first line that the child writes is what it offers, then
`{"call", "id", "endpoint", "body"}` goes down and `{"call", "response" | "error"}` comes up. `{"cancel": call}` aborts
one. A call has a number of its own, since a request that was aborted may be back before its abort is over. Beside them
`{"progress": number}` comes up a few times a second, so that a child that was stopped is seen to stand still.
The child ends when its input ends, so it cannot outlive the worker; `[[die]]` makes it kill itself,
and `[[kill]]` its worker.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backburner_schemas import errors
from backburner_schemas.errors import EngineError, EngineLost, GenerationAborted, RequestRefused
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineInfo, EngineRequest, EngineResponse, Usage
from backburner_worker.engine.fake.engine import FAKE_MODEL, FakeEngine
from backburner_worker.engine.vllm.parent_death import OWNER, child_environment, watch_parent

_LINE_LIMIT_BYTES = 64 * 1024 * 1024
"""Bytes in one line at most, well over the largest body."""

_PROGRESS_SECONDS = 0.2
"""Between two reports of progress."""

_ERRORS: dict[str, type[errors.BackburnerError]] = {
    kind.code: kind
    for kind in (
        errors.RequestRefused,
        errors.ModelNotFound,
        errors.EngineError,
        errors.EngineBusy,
        errors.GenerationAborted,
        errors.EngineLost,
    )
}


class FakeProcessEngine:
    """A `FakeEngine` that runs in a process of its own. Arguments as there."""

    def __init__(
        self,
        model: str = FAKE_MODEL,
        latency: float = 0.0,
        *,
        journal: str | Path | None = None,
        adapters: Sequence[str] = (),
        load_seconds: float = 0.0,
    ) -> None:
        kept = () if journal is None else ("--journal", str(journal))
        beside = [f"--adapter={name}" for name in adapters]
        times = ("--latency", str(latency), "--load", str(load_seconds))
        self._arguments = ("--model", model, *times, *kept, *beside)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._pending: dict[int, asyncio.Future[EngineResponse]] = {}
        self._calls = itertools.count()
        self._progress = 0
        self._lost = False
        self._closed = False

    @property
    def lost(self) -> bool:
        """Whether the child has died."""
        return self._lost

    @property
    def pid(self) -> int | None:
        """The child's process id, None before `start`."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> EngineInfo:
        """Start the child and wait for its first line."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backburner_worker.engine.fake.process", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **child_environment()},
            limit=_LINE_LIMIT_BYTES,
            # Ctrl-C in a terminal goes to the whole group; the worker decides when the engine ends.
            start_new_session=True,
        )
        line = await self._output.readline()
        if not line:
            self._lose()
            raise EngineError("the fake engine's process ended before it was ready; its errors are above")
        self._reader = asyncio.create_task(self._read(), name="fake-engine-reader")
        return _info(json.loads(line))

    async def run(self, request: EngineRequest) -> EngineResponse:
        """Send the request down and wait for its answer."""
        if self._lost:
            raise EngineLost
        if self._closed or self._process is None:
            raise EngineError("the engine is closed")
        future: asyncio.Future[EngineResponse] = asyncio.get_running_loop().create_future()
        call = next(self._calls)
        self._pending[call] = future
        try:
            self._send({"call": call, "id": request.id, "endpoint": request.endpoint, "body": request.body})
            return await future
        except asyncio.CancelledError:
            self._send({"cancel": call})
            raise
        finally:
            del self._pending[call]

    def progress(self) -> int:
        """What the child reported last."""
        return self._progress

    async def close(self, drain: float) -> None:
        """Wait for what runs, then end the child, at the latest by force."""
        self._closed = True
        if self._pending and drain > 0:
            await asyncio.wait(self._pending.values(), timeout=drain)
        self._fail_pending(GenerationAborted("the engine was closed before the answer was whole"))
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._reader is not None:
            await self._reader

    @property
    def _output(self) -> asyncio.StreamReader:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._lost or self._process is None or self._process.stdin is None or self._process.stdin.is_closing():
            return
        # Not drained: what is in flight is bounded by the worker, and a broken pipe shows at the reader.
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        try:
            # A line without its end is what a kill in the middle of a write leaves.
            while (line := await self._output.readline()).endswith(b"\n"):
                self._answer(json.loads(line))
        finally:
            self._lose()

    def _answer(self, message: Mapping[str, Any]) -> None:
        if (progress := message.get("progress")) is not None:
            self._progress = progress
            return
        future = self._pending.get(message["call"])
        if future is None or future.done():
            return
        if (response := message.get("response")) is not None:
            usage = Usage(*response["usage"])
            future.set_result(EngineResponse(response["body"], usage, response["status_code"]))
        else:
            error = message["error"]
            kind = _ERRORS.get(error["code"], EngineError)
            future.set_exception(kind(error["message"], param=error["param"]))

    def _lose(self) -> None:
        if not self._closed:
            self._lost = True
        self._fail_pending(EngineLost())

    def _fail_pending(self, error: EngineError) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(type(error)(error.message))


def _info(line: Mapping[str, Any]) -> EngineInfo:
    return EngineInfo(
        models=tuple(line["models"]),
        endpoints=frozenset(map(Endpoint, line["endpoints"])),
        version=line["version"],
        kv_tokens=line["kv_tokens"],
        max_sequences=line["max_sequences"],
        adapters=tuple(line["adapters"]),
    )


class _Child:
    """The child's side: reads requests, runs each as a task, writes answers."""

    def __init__(self, engine: FakeEngine, output: asyncio.StreamWriter) -> None:
        self._engine = engine
        self._output = output
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def serve(self, source: asyncio.StreamReader) -> None:
        info = dataclasses.asdict(await self._engine.start())
        self._write({**info, "endpoints": sorted(info["endpoints"])})
        reporting = asyncio.create_task(self._report())
        try:
            await self._read(source)
        finally:
            reporting.cancel()

    async def _report(self) -> None:
        while True:
            self._write({"progress": self._engine.progress()})
            await asyncio.sleep(_PROGRESS_SECONDS)

    async def _read(self, source: asyncio.StreamReader) -> None:
        while line := await source.readline():
            message = json.loads(line)
            if (cancelled := message.get("cancel")) is not None:
                if task := self._tasks.get(cancelled):
                    task.cancel()
                continue
            request = EngineRequest(message["id"], Endpoint(message["endpoint"]), message["body"])
            call: int = message["call"]
            task = asyncio.create_task(self._run(call, request))
            self._tasks[call] = task
            task.add_done_callback(functools.partial(self._forget, call))

    def _forget(self, call: int, _task: "asyncio.Task[None]") -> None:
        del self._tasks[call]

    async def _run(self, call: int, request: EngineRequest) -> None:
        try:
            response = await self._engine.run(request)
        except EngineLost:
            os.kill(os.getpid(), signal.SIGKILL)
        except (RequestRefused, EngineError) as error:
            failure = {"code": error.code, "message": error.message, "param": error.param}
            self._write({"call": call, "error": failure})
        else:
            usage = [response.usage.prompt_tokens, response.usage.completion_tokens]
            answer = {"body": response.body, "status_code": response.status_code, "usage": usage}
            self._write({"call": call, "response": answer})

    def _write(self, message: Mapping[str, Any]) -> None:
        self._output.write(json.dumps(message).encode() + b"\n")


async def _serve(engine: FakeEngine) -> None:
    loop = asyncio.get_running_loop()
    source = asyncio.StreamReader(limit=_LINE_LIMIT_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(source), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    output = asyncio.StreamWriter(transport, protocol, None, loop)
    await _Child(engine, output).serve(source)


def main() -> None:
    """Run the child's side until its input ends."""
    watch_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=FAKE_MODEL)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--load", type=float, default=0.0)
    parser.add_argument("--journal")
    parser.add_argument("--adapter", action="append", default=[])
    given = parser.parse_args()
    worker = int(os.environ.get(OWNER) or os.getppid())
    engine = FakeEngine(
        given.model,
        given.latency,
        journal=given.journal,
        worker_pid=worker,
        adapters=given.adapter,
        load_seconds=given.load,
    )
    asyncio.run(_serve(engine))


if __name__ == "__main__":
    main()
