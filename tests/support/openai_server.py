"""A server with OpenAI's HTTP API on the fake engine, as vLLM has it, which can misbehave as servers elsewhere do.

In the loop of a test it is an `OpenAiServer`; as a program, `openai_server.py --port 8000`, it serves until it ends.
`--host 0.0.0.0` lets other machines in.
"""

import argparse
import asyncio
import contextlib
import json

from aiohttp import web

from backburner_schemas.errors import BackburnerError, EngineLost
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.fake.engine import FakeEngine

MAX_BODY_BYTES = 64 * 1024 * 1024


class OpenAiServer:
    """One server. `answers` takes the place of the engine: a function of the request, or None to ask the engine."""

    def __init__(
        self,
        model="fake",
        *,
        adapters=(),
        latency=0.0,
        token=None,
        tls=None,
        port=0,
        host="127.0.0.1",
        endpoints=Endpoint,
    ):
        self.model, self.adapters, self.token, self.tls, self.port = model, adapters, token, tls, port
        self.host = host
        self.engine = FakeEngine(model, latency, adapters=adapters)
        self.endpoints = frozenset(endpoints)
        self.answers = lambda request: None
        self.streams = None
        """Writes the answer piece by piece, given the HTTP request."""
        self.frozen = False
        """Whether it takes connections and says nothing at all, as a process that was stopped."""
        self.healthy = True
        self.in_flight = 0
        self.most_in_flight = 0
        self.served = 0
        self.bodies = []
        self._runner = None

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self):
        await self.engine.start()
        await self.listen()
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def listen(self):
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        for endpoint in self.endpoints:
            app.router.add_post(endpoint, self._run)
        # As uvicorn does: whoever hangs up has its request aborted.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self.tls, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self):
        """Die: all connections end, and nobody listens any more. `listen` is a new start."""
        runner, self._runner = self._runner, None
        if runner is not None:
            for protocol in [*runner.server.connections]:
                protocol.force_close()
                if protocol.transport is not None:
                    protocol.transport.abort()
            await runner.cleanup()

    def _denied(self, request):
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        return None

    async def _health(self, _request):
        if self.frozen:
            await asyncio.Event().wait()
        return web.Response(status=200 if self.healthy else 503)

    async def _version(self, _request):
        return web.json_response({"version": "0.0.1"})

    async def _models(self, request):
        if self.frozen:
            await asyncio.Event().wait()
        cards = [{"id": self.model, "object": "model", "root": f"/models/{self.model}", "max_model_len": 4096}]
        cards += [{"id": name, "object": "model", "root": f"/{name}", "parent": self.model} for name in self.adapters]
        return self._denied(request) or web.json_response({"object": "list", "data": cards})

    async def _run(self, request):
        if (denied := self._denied(request)) is not None:
            return denied
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.streams is not None:
                return await self.streams(request)
            if (answer := self.answers(body)) is not None:
                return answer if not asyncio.iscoroutine(answer) else await answer
            body = {name: value for name, value in body.items() if name not in ("cache_salt", "store")}
            given = EngineRequest(request.headers["X-Request-Id"], Endpoint(request.path), body)
            response = await self.engine.run(given)
        except EngineLost:
            asyncio.get_running_loop().create_task(self.stop())
            await asyncio.Event().wait()
        except BackburnerError as error:
            failure = {"message": error.message, "type": error.code, "param": error.param, "code": error.http_status}
            return web.json_response({"error": failure}, status=error.http_status)
        finally:
            self.in_flight -= 1
        self.served += 1
        return web.json_response(response.body)


async def serve(arguments):
    server = OpenAiServer(arguments.model, latency=arguments.latency, host=arguments.host, port=arguments.port)
    async with server:
        print(server.url, flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="fake")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
