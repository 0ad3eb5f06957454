"""Asks a cloud's metadata service, which answers on an address of the machine's own. It knows no cloud."""

from collections.abc import Mapping

import httpx2

from backburner_worker.reclaim.notice import NoticeUnavailable

POLL_SECONDS = 5.0
"""What clouds recommend, or more seldom; the shortest notice that one gives is 30 s."""
_CALL_SECONDS = 2.0
_MAX_ANSWER_BYTES = 64 * 1024


class MetadataService:
    """One such service."""

    def __init__(self, url: str) -> None:
        """`url` is what its paths are below. Proxies of the environment are not asked: they cannot reach it."""
        self._url = url
        self._client = httpx2.AsyncClient(base_url=url, timeout=_CALL_SECONDS, trust_env=False)

    async def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        accepted: tuple[int, ...] = (),
    ) -> tuple[int, str]:
        """Status and text of the answer, which has that status, or is a success. Raises `NoticeUnavailable`."""
        data = bytearray()
        try:
            async with self._client.stream(method, path, headers=headers) as response:
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > _MAX_ANSWER_BYTES:
                        raise NoticeUnavailable(f"{path}: the answer has over {_MAX_ANSWER_BYTES} bytes")
        except httpx2.HTTPError as error:
            raise NoticeUnavailable(f"{self._url} does not answer: {type(error).__name__}") from error
        if not response.is_success and response.status_code not in accepted:
            raise NoticeUnavailable(f"{self._url}{path} answers {response.status_code}")
        return response.status_code, data.decode(errors="replace").strip()

    async def close(self) -> None:
        """End the connection."""
        await self._client.aclose()
