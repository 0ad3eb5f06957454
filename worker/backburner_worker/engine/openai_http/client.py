"""Calls to servers by HTTP, through aiohttp: bounded, without redirects, proxies or cookies. It judges no answer."""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from backburner_schemas.errors import RequestRefused
from backburner_worker.engine.openai_http.credentials import Credentials

MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""An answer at most: 2,048 vectors of 4,096 numbers are about 80 MiB."""
_MAX_ERROR_BYTES = 64 * 1024
"""What is read of an answer that is an error; more is cut off."""
_CONNECT_SECONDS = 10.0
_KEPT_SECONDS = 4.0
"""For a connection without requests. uvicorn, and so vLLM, closes them after 5 s: whoever sends just then loses it."""
_SPARE_FILE_COUNT = 256
"""Files that the process keeps for all else."""
_SUCCESS = range(200, 300)
_MAX_REASON_CHARACTERS = 300

_KEEPALIVE_IDLE_SECONDS, _KEEPALIVE_PAUSE_SECONDS, _KEEPALIVE_TRIES_COUNT = 15, 5, 3
"""A server that is gone without a word is missed after 30 s, however long its answer may take."""


class NotSent(Exception):
    """The server was not reached: it has not seen the request."""


class Broken(Exception):
    """The connection ended, or time ran out, before the answer was whole: the server may have begun."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answered, of a bounded size."""

    status: int
    body: bytes
    content_type: str = ""
    retry_after: str = ""
    server: str = ""
    """What the server calls itself."""
    location: str = ""
    token: str = field(default="", repr=False)
    """The worker's own, by which it was asked: what a server says may repeat it."""

    @property
    def ok(self) -> bool:
        """Whether the status says that it went well."""
        return self.status in _SUCCESS


Heard = Callable[[int], Awaitable[None]]
"""Awaited with the bytes of each piece of an answer, before the next is read."""


async def _unheard(_size: int) -> None:
    """Nobody asks."""


class HttpClient:
    """Calls servers, as many at once as anyone likes. Made on the loop that it is used on; `close` it at the end."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS, socket_factory=_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # Neither HTTP_PROXY nor .netrc: what leaves this process is what the settings name.
            trust_env=False,
            headers={"User-Agent": "backburner", "Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def get(self, url: str, seconds: float) -> HttpAnswer:
        """The answer to a GET. Raises `NotSent` and `Broken`."""
        return await self._call("GET", url, None, {}, seconds)

    async def post(
        self, url: str, body: bytes, request_id: str, seconds: float, *, heard: Heard = _unheard
    ) -> HttpAnswer:
        """The answer to a POST of JSON. Raises `NotSent`, `Broken`, and `RequestRefused` for an answer over the limit.

        `heard` is awaited with the size of each piece that comes, in bytes, before the next is read; 0 for the headers.
        Cancelling it closes the connection, by which servers know that nobody waits any more.
        """
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        return await self._call("POST", url, body, headers, seconds, heard=heard)

    async def close(self) -> None:
        """Close all connections, also those in use: their calls raise `Broken`."""
        await self._session.close()

    async def _call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
        *,
        heard: Heard = _unheard,
    ) -> HttpAnswer:
        # True stands for aiohttp's own context, which is not used where no server has TLS.
        tls = self._credentials.tls() or True
        timeout = aiohttp.ClientTimeout(total=seconds, connect=_CONNECT_SECONDS)
        token = self._credentials.token()
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers={**headers, "Authorization": f"Bearer {token}"} if token else headers,
                ssl=tls,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                await heard(0)
                return await self._read(response, heard, token)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(_reason(error, "no connection")) from error
        except TimeoutError as error:
            raise Broken(f"no answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Broken(_reason(error, "the connection ended before the answer was whole")) from error

    async def _read(self, response: aiohttp.ClientResponse, heard: Heard, token: str) -> HttpAnswer:
        headers = response.headers
        limit = MAX_ANSWER_BYTES if response.status in _SUCCESS else _MAX_ERROR_BYTES
        pieces: list[bytes] = []
        size = 0
        async for piece in response.content.iter_any():
            await heard(len(piece))
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                # What is left is not read.
                response.close()
                if limit == MAX_ANSWER_BYTES:
                    raise RequestRefused(f"the answer is over {MAX_ANSWER_BYTES >> 20} MiB; ask for less at once")
                break
        encoding = _plain(headers.get("Content-Encoding", "identity")).lower()
        body = b"".join(pieces)[:limit] if encoding == "identity" else b""
        return HttpAnswer(
            response.status,
            body,
            # A compressed body was not asked for, and would be bounded by nothing.
            _plain(response.content_type) + ("" if encoding == "identity" else f" ({encoding[:20]})"),
            headers.get("Retry-After", ""),
            headers.get("Server", ""),
            headers.get("Location", ""),
            token,
        )


def file_limit() -> int:
    """Connections that the process may have at once, with room for its other files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft - _SPARE_FILE_COUNT) if soft != resource.RLIM_INFINITY else 1 << 20


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # not on macOS
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_PAUSE_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_TRIES_COUNT)
    return made


def _plain(header: str) -> str:
    """A header's value as text that can be stored; what is no UTF-8 in it comes as half characters."""
    return header.encode(errors="replace").decode()


def _reason(error: BaseException, otherwise: str) -> str:
    said = _plain(" ".join(str(error).split()))[:_MAX_REASON_CHARACTERS]
    return f"{otherwise} ({said})" if said and not isinstance(error, asyncio.TimeoutError) else otherwise
