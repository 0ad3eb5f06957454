"""Kubernetes' API as a pod calls it."""

from pathlib import Path

import httpx2
import pytest

from backburner.kubernetes import KubernetesApi
from backburner_schemas.errors import KubernetesRefused, KubernetesUnavailable, SettingsError

SECRETS = "/api/v1/namespaces/llm/secrets"


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first-token\n")
    return tmp_path


def api(account: Path, answer) -> KubernetesApi:
    return KubernetesApi("https://10.96.0.1:443", account=account, transport=httpx2.MockTransport(answer))


async def test_an_object_is_read_with_the_token_that_the_pod_has_now(account):
    seen = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["Authorization"])
        return httpx2.Response(200, json={"kind": "Secret"})

    async with api(account, answer) as cluster:
        assert await cluster.get(f"{SECRETS}/key") == {"kind": "Secret"}
        (account / "token").write_text("second-token")
        await cluster.get(f"{SECRETS}/key")
    assert seen == ["Bearer first-token", "Bearer second-token"]


async def test_an_object_that_is_not_there_is_none(account):
    async with api(account, lambda _: httpx2.Response(404, json={"reason": "NotFound"})) as cluster:
        assert await cluster.get(f"{SECRETS}/key") is None


@pytest.mark.parametrize(("status", "created"), [(201, True), (409, False)])
async def test_creating_says_whether_there_was_one_already(account, status, created):
    async with api(account, lambda _: httpx2.Response(status, json={"kind": "Secret"})) as cluster:
        assert await cluster.create(SECRETS, {"kind": "Secret"}) is created


@pytest.mark.parametrize("status", [401, 403, 422])
async def test_a_refusal_names_the_call_and_the_remedy(account, status):
    async with api(account, lambda _: httpx2.Response(status, text="secrets is forbidden")) as cluster:
        with pytest.raises(KubernetesRefused, match=rf"POST {SECRETS}: {status}.*rights.*forbidden"):
            await cluster.create(SECRETS, {})


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_cannot_answer_now_may_be_asked_again(account, status):
    async with api(account, lambda _: httpx2.Response(status)) as cluster:
        with pytest.raises(KubernetesUnavailable):
            await cluster.get(SECRETS)


async def test_a_server_that_is_not_there_may_be_asked_again(account):
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    async with api(account, answer) as cluster:
        with pytest.raises(KubernetesUnavailable, match="refused"):
            await cluster.get(SECRETS)


def test_outside_of_a_cluster_the_error_says_so(account):
    with pytest.raises(SettingsError, match="no pod of a Kubernetes cluster"):
        KubernetesApi.in_cluster({}, account=account)


def test_a_pod_without_a_token_learns_what_to_set(tmp_path):
    with pytest.raises(SettingsError, match="automountServiceAccountToken: true"):
        KubernetesApi.in_cluster(
            {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}, account=tmp_path
        )


async def test_an_answer_without_end_is_read_up_to_a_bound(account):
    pieces = []

    async def endless():
        while True:
            pieces.append(1)
            yield b" " * 1_000_000

    async with api(account, lambda _: httpx2.Response(200, content=endless())) as cluster:
        with pytest.raises(KubernetesRefused, match="over 8388608 bytes"):
            await cluster.get(SECRETS)
    assert len(pieces) < 20


@pytest.mark.parametrize("answer", ["[]", '"text"', "<html>", ""])
async def test_an_answer_that_is_no_object_is_refused(account, answer):
    async with api(account, lambda _: httpx2.Response(200, text=answer)) as cluster:
        with pytest.raises(KubernetesRefused, match="no object"):
            await cluster.get(SECRETS)
