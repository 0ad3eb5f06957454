"""A stand-in for Kubernetes' API server, in memory: Secrets of one namespace, and what a test makes it do.

It judges what the product sends as the real one does in what these tests need, no more. The cluster tests run the same
against the real one.
"""

import json
from pathlib import Path

import httpx2

from backburner.kubernetes import KubernetesApi

NAMESPACE = "llm"
COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/secrets"


def service_account(folder: Path) -> Path:
    """What a pod finds of its service account."""
    (folder / "token").write_text("pods-token\n")
    (folder / "namespace").write_text(NAMESPACE)
    return folder


class ApiServer:
    """Answers as the API server would."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict] = {}
        self.away = 0
        """How many calls go unanswered first."""
        self.answers_lost = 0
        """How many creations are done and not answered."""
        self.forbidden = False
        self.before_create = lambda: None

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.headers["Authorization"] != "Bearer pods-token":
            return httpx2.Response(401)
        if self.away > 0:
            self.away -= 1
            raise httpx2.ConnectError("refused", request=request)
        if self.forbidden:
            return httpx2.Response(403, text="secrets is forbidden")
        if request.method == "POST" and request.url.path == COLLECTION:
            return self._create(request)
        folder, _, name = request.url.path.rpartition("/")
        if request.method == "GET" and folder == COLLECTION:
            found = self.secrets.get(name)
            return httpx2.Response(200, json=found) if found else httpx2.Response(404)
        return httpx2.Response(405)

    def _create(self, request: httpx2.Request) -> httpx2.Response:
        self.before_create()
        body = json.loads(request.content)
        name = body["metadata"]["name"]
        if name in self.secrets:
            return httpx2.Response(409)
        self.secrets[name] = body
        if self.answers_lost > 0:
            self.answers_lost -= 1
            raise httpx2.ReadTimeout("no answer", request=request)
        return httpx2.Response(201, json=body)

    def connect(self, account: Path) -> KubernetesApi:
        """A connection as a pod with that service account has it."""
        transport = httpx2.MockTransport(self.answer)
        return KubernetesApi("https://10.96.0.1:443", account=account, transport=transport)
