"""Kubernetes' API, as a pod calls it with its own service account. It knows no object and decides nothing."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from backburner_schemas.errors import KubernetesRefused, KubernetesUnavailable, SettingsError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
_CALL_SECONDS = 10.0
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_MAX_SHOWN_CHARACTERS = 200


class KubernetesApi:
    """A connection to the API server. Leave it with `close`, or use it as a context manager."""

    def __init__(
        self, url: str, *, account: Path = SERVICE_ACCOUNT, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        """`account` is the folder with the token and, for https, the authority's certificate."""
        self._account = account
        authority = account / "ca.crt"
        verify = ssl.create_default_context(cafile=str(authority)) if authority.is_file() else True
        self._client = httpx2.AsyncClient(
            base_url=url, verify=verify, timeout=_CALL_SECONDS, trust_env=False, transport=transport
        )

    @classmethod
    def in_cluster(cls, environment: Mapping[str, str], *, account: Path = SERVICE_ACCOUNT) -> "KubernetesApi":
        """The API of the cluster that this pod runs in. Raises `SettingsError` outside of one, and without a token."""
        host, port = environment.get(_HOST), environment.get(_PORT)
        if not host or not port:
            raise SettingsError(f"this is no pod of a Kubernetes cluster: {_HOST} is not set")
        if not (account / "token").is_file():
            raise SettingsError(
                f"the pod has no service account's token at {account}; set automountServiceAccountToken: true"
            )
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", account=account)

    @property
    def namespace(self) -> str:
        """The namespace that this pod is in. Raises `SettingsError` where its service account does not tell."""
        try:
            return (self._account / "namespace").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"the pod's namespace cannot be read from {self._account / 'namespace'}; set "
                "automountServiceAccountToken: true"
            ) from error

    async def get(self, path: str) -> dict[str, Any] | None:
        """The object at that path, such as `/api/v1/nodes/gpu-1`; None if there is none. Raises as `create` does."""
        response = await self._call("GET", path)
        return None if response.status_code == httpx2.codes.NOT_FOUND else _parsed(response)

    async def create(self, path: str, body: Mapping[str, Any]) -> bool:
        """Create the object in that collection. Returns whether it did: False if there is one of that name.

        Raises `KubernetesUnavailable` and `KubernetesRefused`.
        """
        response = await self._call("POST", path, body)
        if response.status_code == httpx2.codes.CONFLICT:
            return False
        _parsed(response)
        return True

    async def close(self) -> None:
        """End the connection."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        # The kubelet renews the token about once an hour.
        token = (self._account / "token").read_text(encoding="ascii").strip()
        try:
            async with self._client.stream(
                method, path, json=body, headers={"Authorization": f"Bearer {token}"}
            ) as response:
                return await _bounded(response)
        except (httpx2.HTTPError, OSError) as error:
            raise KubernetesUnavailable(f"{method} {path}: {type(error).__name__}: {error}") from error


async def _bounded(response: httpx2.Response) -> httpx2.Response:
    """The answer with its body, which is no larger than an object of the API is."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _MAX_ANSWER_BYTES:
            raise KubernetesRefused(f"{response.request.url.path}: the answer has over {_MAX_ANSWER_BYTES} bytes")
    return httpx2.Response(response.status_code, content=bytes(body), request=response.request)


def _parsed(response: httpx2.Response) -> dict[str, Any]:
    asked = f"{response.request.method} {response.request.url.path}"
    if response.is_server_error or response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
        raise KubernetesUnavailable(f"{asked}: {response.status_code}; the call can be made again")
    if not response.is_success:
        said = " ".join(response.text.split())[:_MAX_SHOWN_CHARACTERS]
        raise KubernetesRefused(f"{asked}: {response.status_code}; check the service account's rights ({said})")
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise KubernetesRefused(f"{asked}: the answer is no object")
    return found
