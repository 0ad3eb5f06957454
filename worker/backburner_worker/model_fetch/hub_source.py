"""A model in a repository of the Hugging Face hub: `hf://org/name@revision`.

`huggingface_hub`, which vLLM brings, finds the commit, the files and their sums. The contents are read as all sources
are, in parts, so that they are summed up and resumed alike. HF_TOKEN and HF_ENDPOINT mean what they mean to it.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

import httpx2

from backburner_schemas.errors import ModelSourceRefused, ModelSourceUnavailable, SettingsError
from backburner_worker.model_fetch.model_file import Digest, DigestKind, ModelFile
from backburner_worker.model_fetch.source import ModelSource

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_URL = re.compile(r"hf://(?P<repository>[\w.-]{1,96}/[\w.-]{1,96})(?:@(?P<revision>[\w./-]{1,200}))?")
_CALL_SECONDS = 30.0
_MAX_REDIRECTS = 5
_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_OTHER_WEIGHTS = re.compile(r"original/.*|.*\.(?:pth|pt|h5|msgpack|ot|onnx|onnx_data|gguf|tflite)|pytorch_model.*\.bin")
"""The same weights in forms that vLLM passes over where there are safetensors."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the hub, and one of its revisions."""

    repository: str
    revision: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """What the URL names. Raises `SettingsError`."""
        read = _URL.fullmatch(url)
        if read is None:
            raise SettingsError(
                f"BACKBURNER_MODEL_SOURCE {url!r} is no model of the hub; write hf://org/name@revision, with a "
                "commit as the revision"
            )
        return cls(read["repository"], read["revision"] or "main")


class HubSource(ModelSource):
    """The files of one commit."""

    def __init__(self, model: HubModel, *, endpoint: str | None = None) -> None:
        """`endpoint` is the hub's address; HF_ENDPOINT, or the public one, if None.

        Raises `SettingsError` where `huggingface_hub` is not installed.
        """
        try:
            from huggingface_hub import HfApi, constants, get_token
        except ImportError as error:
            raise SettingsError(
                "hf:// needs huggingface_hub, which is not installed; run `pip install huggingface_hub`, or copy the "
                "model to an object store"
            ) from error
        self._model = model
        self._endpoint: str = (endpoint or constants.ENDPOINT).rstrip("/")
        self._api = HfApi(endpoint=self._endpoint, library_name="backburner")
        token = get_token()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._commit = model.revision
        self._client = httpx2.AsyncClient(timeout=_CALL_SECONDS)
        self._locations: dict[str, str] = {}
        """Where the hub keeps what it does not serve itself, by file. Such an address ends after a while."""

    async def files(self) -> list[ModelFile]:
        """The files of the commit that the revision is now, but for weights in forms that no worker reads."""
        return await asyncio.to_thread(self._files)

    async def read(self, file: ModelFile, start: int, length: int) -> memoryview:
        """That part of the file."""
        try:
            known = self._locations.get(file.name)
            if known is not None:
                response, data = await self._ask(known, start, length)
                if response.is_success:
                    return self._checked(file, response, data, start, length)
                self._locations.pop(file.name, None)
            response, data = await self._from_hub(file, start, length)
            return self._checked(file, response, data, start, length)
        except ModelSourceUnavailable:
            # Whatever was at that address may be gone: the next attempt asks the hub for another.
            self._locations.pop(file.name, None)
            raise

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    def _files(self) -> list[ModelFile]:
        from huggingface_hub import errors

        named = f"{self._model.repository}@{self._model.revision}"
        try:
            found = self._api.model_info(
                self._model.repository, revision=self._model.revision, files_metadata=True, timeout=_CALL_SECONDS
            )
        except errors.OfflineModeIsEnabled as error:
            raise ModelSourceRefused("HF_HUB_OFFLINE is set, so that the hub is not asked; unset it") from error
        except (errors.HfHubHTTPError, httpx2.HTTPError, OSError) as error:
            answer = getattr(error, "response", None)
            if answer is not None and answer.status_code in _REFUSALS:
                raise ModelSourceRefused(
                    f"the hub has no model {named} for this user; check BACKBURNER_MODEL_SOURCE, and HF_TOKEN if the "
                    "model is private or gated"
                ) from error
            raise ModelSourceUnavailable(f"the hub does not tell of {named}: {_one_line(error)}") from error
        self._commit = found.sha or self._commit
        return [_file(one) for one in _needed(found.siblings or [])]

    async def _from_hub(self, file: ModelFile, start: int, length: int) -> tuple[httpx2.Response, bytearray]:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self._model.repository, file.name, revision=self._commit, endpoint=self._endpoint)
        for _ in range(_MAX_REDIRECTS):
            response, data = await self._ask(url, start, length)
            if not response.is_redirect:
                return response, data
            try:
                url = urljoin(url, response.headers.get("Location", ""))
                is_hubs = self._is_hubs(url)
            except ValueError as error:
                raise ModelSourceUnavailable(f"the hub sends to no address for {file.name}") from error
            if not is_hubs:
                self._locations[file.name] = url
        raise ModelSourceUnavailable(f"the hub sends from one address to the next for {file.name}; try again later")

    async def _ask(self, url: str, start: int, length: int) -> tuple[httpx2.Response, bytearray]:
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        if self._is_hubs(url):
            headers |= self._headers
        data = bytearray()
        try:
            async with self._client.stream("GET", url, headers=headers) as response:
                if response.is_success:
                    async for piece in response.aiter_raw():
                        data += piece
                        if len(data) > length:
                            break
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ModelSourceUnavailable(f"the hub's answer broke off: {_one_line(error)}") from error
        return response, data

    def _checked(
        self, file: ModelFile, response: httpx2.Response, data: bytearray, start: int, length: int
    ) -> memoryview:
        status = response.status_code
        if status in _REFUSALS:
            raise ModelSourceRefused(f"the hub answers {status} for {file.name}; check HF_TOKEN and its rights")
        whole = status == HTTPStatus.OK and start == 0 and length == file.size
        if not (status == HTTPStatus.PARTIAL_CONTENT or whole):
            raise ModelSourceUnavailable(f"the hub answers {status} for a part of {file.name}")
        if len(data) != length:
            raise ModelSourceUnavailable(
                f"the hub gave {len(data)} bytes of {file.name} where it has {length}; try again later"
            )
        return memoryview(data)

    def _is_hubs(self, url: str) -> bool:
        """Whether the token may be shown to whoever answers there."""
        return urlsplit(url)[:2] == urlsplit(self._endpoint)[:2]


def _needed(files: Sequence["RepoSibling"]) -> Iterable["RepoSibling"]:
    if not any(one.rfilename.endswith(".safetensors") for one in files):
        return files
    return [one for one in files if not _OTHER_WEIGHTS.fullmatch(one.rfilename)]


def _file(one: "RepoSibling") -> ModelFile:
    if one.size is None:
        raise ModelSourceUnavailable(f"the hub does not tell the size of {one.rfilename}")
    digest = Digest(DigestKind.GIT_BLOB, one.blob_id) if one.blob_id else None
    if one.lfs is not None:
        digest = Digest(DigestKind.SHA256, one.lfs.sha256)
    return ModelFile(one.rfilename, one.size, digest.hex if digest else None, digest)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
