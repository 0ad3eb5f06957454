"""Starlette and nothing else. A POST to `/v1/async/…` puts its body onto the queue, a PUT pipes it to the store.

It authenticates nobody, checks nothing and keeps no record; what it sends is a plain line of a batch. It listens on the
port of BACKBURNER_HTTP_PORT, where it has a `/readyz` as the parts of the product have.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import obstore
import uvicorn
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backburner.local.programs.ports import LOOPBACK
from backburner.publishers.kafka.publisher import kafka_connection
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas.names import Lane
from backburner_schemas.routing import topic

_LINGER_MS = 5
_BATCH_BYTES = 256 * 1024
"""Both as the client's own publisher has them."""


def application(settings: Settings) -> Starlette:
    """The endpoint."""
    chosen = topic(settings.prefix, "fake", Lane.NORMAL)
    storage = Storage.open(settings)
    sent = 0

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.producer = AIOKafkaProducer(
            **kafka_connection(settings),
            acks="all",
            enable_idempotence=False,
            linger_ms=_LINGER_MS,
            max_batch_size=_BATCH_BYTES,
        )
        await app.state.producer.start()
        yield
        await app.state.producer.stop()

    async def publish(request: Request) -> Response:
        nonlocal sent
        sent += 1
        name = f"{os.getpid()}-{sent}"
        url = request.url.path.replace("/async", "", 1)
        body = await request.body()
        value = b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}' % (name.encode(), url.encode(), body)
        await request.app.state.producer.send_and_wait(chosen, value, name.encode())
        return JSONResponse({"id": name}, 202)

    async def pipe(request: Request) -> Response:
        # The client's own store, and nothing of the client around it.
        writer = obstore.open_writer_async(storage._store, storage._root + request.url.path[1:])  # noqa: SLF001
        async with writer:
            async for piece in request.stream():
                if piece:
                    await writer.write(piece)
        return JSONResponse({}, 200)

    async def ready(_request: Request) -> Response:
        return Response()

    routes = [
        Route("/readyz", ready),
        Route("/v1/async/{endpoint:path}", publish, methods=["POST"]),
        Route("/{key:path}", pipe, methods=["PUT"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings.load()
    uvicorn.run(
        application(settings),
        host=LOOPBACK,
        port=int(os.environ["BACKBURNER_HTTP_PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
