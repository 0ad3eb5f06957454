"""Two bootstraps at once on real broker and store, with a stand-in for the cluster's API; then a gateway before it."""

import asyncio
import base64

import httpx2
import pytest
from kubernetes_stand_in import ApiServer, service_account
from waiting import PATIENCE

from backburner.bootstrap import Bootstrap
from backburner.settings import Settings

pytestmark = [pytest.mark.broker, pytest.mark.store]


async def test_two_at_once_make_one_pool_and_one_key_that_works(stack, tmp_path):
    server, account = ApiServer(), service_account(tmp_path)

    async def run():
        made = Bootstrap(Settings.load(), stack.storage(), wait_seconds=PATIENCE)
        async with server.connect(account) as cluster:
            prepared = await made.prepare_pool("first-model", ["first-alias"])
            return prepared, await made.store_admin_key(cluster, "admin")

    (pool, key), (other_pool, other_key) = await asyncio.gather(run(), run())
    assert pool == other_pool
    assert len(pool.topics) == 4
    assert (key.key, {key.is_new, other_key.is_new}) == (other_key.key, {True, False})

    gateway = stack.gateway()
    await stack.warm(gateway)
    secret = base64.b64decode(server.secrets["admin"]["data"]["api-key"]).decode()
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers, timeout=PATIENCE) as http:
        models = (await http.get("/v1/models")).json()
    gateway.stop()
    assert {"first-model", "first-alias"} <= {one["id"] for one in models["data"]}
