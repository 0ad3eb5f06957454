"""Notices that a machine is taken back: what each service says, and what is made of it."""

import asyncio
import datetime as dt
import json
import math

import httpx2
import pytest
from metadata_server import MetadataServer
from waiting import until

from backburner.kubernetes import KubernetesApi
from backburner_schemas.errors import SettingsError
from backburner_worker.reclaim.aws import AwsNotices
from backburner_worker.reclaim.azure import AzureNotices
from backburner_worker.reclaim.factory import open_notice_sources
from backburner_worker.reclaim.gcp import GcpNotices
from backburner_worker.reclaim.node import NodeNotices
from backburner_worker.reclaim.notice import NoticeKind, NoticeUnavailable, ReclaimNotice
from backburner_worker.reclaim.watcher import ReclaimWatcher, drain_within
from backburner_worker.settings import WorkerSettings

NOW = dt.datetime(2026, 11, 28, 12, 0, 0, tzinfo=dt.UTC)
ACTION = ("GET", "/latest/meta-data/spot/instance-action")
TOKEN = ("PUT", "/latest/api/token")
PREEMPTED = ("GET", "/computeMetadata/v1/instance/preempted")
EVENTS = ("GET", "/metadata/scheduledevents")
VM = ("GET", "/metadata/instance/compute/name")


@pytest.fixture
def server():
    with MetadataServer() as running:
        yield running


@pytest.fixture
async def look(server):
    """Looks once, or again, at a source of that kind on the server."""
    sources = {}

    async def once(kind):
        if kind not in sources:
            sources[kind] = kind(server.url) if kind is GcpNotices else kind(server.url, now=lambda: NOW)
        return await sources[kind].look()

    yield once
    for source in sources.values():
        await source.close()


# --- AWS ---


async def test_an_interruption_of_a_spot_instance_is_a_notice_with_its_time(server, look):
    server.answers = {
        TOKEN: (200, "secret-token"),
        ACTION: (200, '{"action": "terminate", "time": "2026-11-28T12:01:50Z"}'),
    }
    assert await look(AwsNotices) == ReclaimNotice(NoticeKind.AWS, "spot instance-action terminate", 110.0)
    (put, get) = server.asked
    assert put[2]["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"
    assert get[2]["x-aws-ec2-metadata-token"] == "secret-token"


async def test_a_slow_clock_leaves_no_more_time_than_the_cloud_gives(server, look):
    server.answers = {TOKEN: (200, "t"), ACTION: (200, '{"action": "stop", "time": "2026-11-28T13:00:00Z"}')}
    assert (await look(AwsNotices)).seconds == 120.0


async def test_an_instance_that_is_not_interrupted_has_no_notice_and_its_token_is_kept(server, look):
    server.answers = {TOKEN: (200, "secret-token")}
    assert await look(AwsNotices) is None
    assert await look(AwsNotices) is None
    assert server.counted("PUT") == 1


async def test_a_token_that_ended_is_asked_for_anew(server, look):
    server.answers = {TOKEN: (200, "old")}
    await look(AwsNotices)
    server.answers[ACTION] = (401, "")
    with pytest.raises(NoticeUnavailable, match="refuses the token"):
        await look(AwsNotices)
    assert server.counted("PUT") == 2
    del server.answers[ACTION]
    assert await look(AwsNotices) is None


async def test_a_token_that_cannot_be_had_names_the_hop_limit(server, look):
    with pytest.raises(NoticeUnavailable, match="hop limit to 2"):
        await look(AwsNotices)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"action": "stop", "time": "soon"}', '{"action": 1, "time": 2}'])
async def test_an_instance_action_that_is_not_understood_is_no_notice(server, look, text):
    server.answers = {TOKEN: (200, "t"), ACTION: (200, text)}
    with pytest.raises(NoticeUnavailable, match="not understood"):
        await look(AwsNotices)


# --- Google Cloud ---


async def test_a_preemption_is_a_notice(server, look):
    server.answers = {PREEMPTED: (200, "FALSE\n")}
    assert await look(GcpNotices) is None
    server.answers = {PREEMPTED: (200, "TRUE\n")}
    assert await look(GcpNotices) == ReclaimNotice(NoticeKind.GCP, "preempted", 28.0)
    assert server.asked[0][2]["metadata-flavor"] == "Google"
    server.answers = {PREEMPTED: (200, "<html>")}
    with pytest.raises(NoticeUnavailable, match="not understood"):
        await look(GcpNotices)


# --- Azure ---


def event(kind, name="gpu_1", due="Sat, 28 Nov 2026 12:00:30 GMT"):
    return {"EventId": "1", "EventType": kind, "ResourceType": "VirtualMachine", "Resources": [name], "NotBefore": due}


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        ([], None),
        ([event("Preempt")], 30.0),
        ([event("Terminate", due="Sat, 28 Nov 2026 12:05:00 GMT"), event("Preempt")], 30.0),
        ([event("Preempt", due="")], 0.0),
        ([event("Freeze"), event("Reboot"), event("Redeploy")], None),
        ([event("Preempt", name="gpu_10")], None),
    ],
)
async def test_an_eviction_of_this_vm_is_a_notice(server, look, events, seconds):
    server.answers = {VM: (200, "gpu_1"), EVENTS: (200, json.dumps({"DocumentIncarnation": 1, "Events": events}))}
    notice = await look(AzureNotices)
    assert (notice and notice.seconds) == seconds
    assert all(headers["metadata"] == "true" for _, _, headers in server.asked)


@pytest.mark.parametrize("text", ["", "[]", '{"Events": [1]}', '{"Events": [{"EventType": "Preempt"}]}'])
async def test_events_that_are_not_understood_are_no_notice(server, look, text):
    server.answers = {VM: (200, "gpu_1"), EVENTS: (200, text)}
    with pytest.raises(NoticeUnavailable, match="not understood"):
        await look(AzureNotices)


async def test_an_answer_without_end_is_not_read_to_it(server, look):
    server.answers = {PREEMPTED: (200, "x" * 1_000_000)}
    with pytest.raises(NoticeUnavailable, match="over 65536 bytes"):
        await look(GcpNotices)


async def test_a_service_that_is_not_there_is_named():
    source = GcpNotices("http://127.0.0.1:1")
    with pytest.raises(NoticeUnavailable, match=r"127\.0\.0\.1:1 does not answer"):
        await source.look()
    await source.close()


# --- the Kubernetes node ---


@pytest.fixture
def node(tmp_path):
    """Looks at a node with those taints, or at what the API server answers."""
    (tmp_path / "token").write_text("token")
    asked = []

    async def look(*keys, answer=None):
        def respond(request):
            asked.append(request.url)
            taints = [{"key": key, "effect": "NoSchedule"} for key in keys]
            return answer or httpx2.Response(200, json={"spec": {"taints": taints} if keys else {}})

        api = KubernetesApi("https://10.96.0.1", account=tmp_path, transport=httpx2.MockTransport(respond))
        source = NodeNotices(api, "gpu-1.internal")
        try:
            return await source.look()
        finally:
            await source.close()

    look.asked = asked
    return look


@pytest.mark.parametrize(
    ("taints", "seconds"),
    [
        (["aws-node-termination-handler/spot-itn"], 110.0),
        (["cloud.google.com/impending-node-termination"], 13.0),
        (["karpenter.sh/disrupted"], 110.0),
        (["nvidia.com/gpu", "ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"], 110.0),
    ],
)
async def test_a_taint_that_announces_the_nodes_end_is_a_notice(node, taints, seconds):
    notice = await node(*taints)
    assert notice.seconds == seconds
    assert notice.reason.removeprefix("taint ") in taints


async def test_a_node_that_is_emptied_by_evictions_sets_no_bound(node):
    assert (await node("ToBeDeletedByClusterAutoscaler")).seconds is None


async def test_a_cordon_and_a_candidate_are_no_notices(node):
    assert await node() is None
    assert await node("node.kubernetes.io/unschedulable", "DeletionCandidateOfClusterAutoscaler") is None


async def test_the_node_is_read_from_the_api_servers_memory(node):
    await node()
    assert str(node.asked[0]).endswith("/api/v1/nodes/gpu-1.internal?resourceVersion=0")


@pytest.mark.parametrize("status", [403, 500])
async def test_a_node_that_cannot_be_read_names_the_right_that_is_needed(node, status):
    with pytest.raises(NoticeUnavailable, match="right to get nodes"):
        await node(answer=httpx2.Response(status, json={}))


@pytest.mark.parametrize("body", [{}, {"spec": None}, {"spec": {"taints": "x"}}, {"spec": {"taints": [1, {"key": 2}]}}])
async def test_a_node_without_taints_in_their_form_has_no_notice(node, body):
    assert await node(answer=httpx2.Response(200, json=body)) is None


# --- the watcher ---


class Scripted:
    """A source that gives one answer after the other, and the last one for ever."""

    kind = NoticeKind.NODE
    poll_seconds = 0.0

    def __init__(self, *answers):
        self.answers = list(answers)
        self.looks = 0

    async def look(self):
        self.looks += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self):
        pass


NOTICE = ReclaimNotice(NoticeKind.NODE, "taint x", 100.0)


@pytest.fixture
async def watch():
    tasks = []

    def start(*sources):
        seen = []
        watcher = ReclaimWatcher(sources, poll_seconds=0.001)
        tasks.append(asyncio.create_task(watcher.run(seen.append)))
        return watcher, seen

    yield start
    for task in tasks:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))


async def test_a_notice_is_told_once_however_long_it_stands(watch):
    source = Scripted(None, NOTICE)
    watcher, seen = watch(source)
    await until(lambda: source.looks > 10)
    assert seen == [NOTICE]
    assert watcher.noticed


async def test_a_failing_look_is_logged_once_and_never_ends_the_watch(watch, caplog):
    source = Scripted(NoticeUnavailable("away"), KeyError("odd"), NoticeUnavailable("away"), None, NOTICE)
    caplog.set_level("INFO")
    _, seen = watch(source)
    await until(lambda: seen)
    assert caplog.text.count("cannot be read") == 1
    assert caplog.text.count("can be read again") == 1


async def test_a_notice_that_goes_is_withdrawn_after_several_looks_without_it(watch):
    source = Scripted(NOTICE, None, NOTICE, None, None, NoticeUnavailable("away"), NOTICE, None)
    watcher, seen = watch(source)
    await asyncio.wait_for(watcher.withdrawn(), 60)
    assert seen == [NOTICE]
    assert source.looks >= 10
    assert watcher.noticed


async def test_a_notice_that_comes_again_is_not_withdrawn_any_more(watch):
    watcher, seen = watch(Scripted(NOTICE, None, None, None, NOTICE))
    async with asyncio.timeout(60):
        while len(seen) < 2:  # noqa: ASYNC110 - the watch tells of it by a plain call
            await asyncio.sleep(0)
    again = asyncio.ensure_future(watcher.withdrawn())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


async def test_where_nothing_is_to_be_looked_at_the_watch_is_over_at_once():
    watcher = ReclaimWatcher([])
    await watcher.run(lambda _: None)
    assert not watcher.noticed


@pytest.mark.parametrize(("seconds", "drain"), [(110.0, 98.0), (13.0, 1.0), (5.0, 0.0), (None, None)])
def test_a_drain_leaves_time_to_store_what_is_done(seconds, drain):
    assert drain_within(ReclaimNotice(NoticeKind.AWS, "", seconds)) == drain
    assert drain is None or drain < math.inf


# --- settings ---


def test_sources_are_opened_in_the_order_of_the_setting(tmp_path):
    opened = open_notice_sources(WorkerSettings.load(reclaim_notices="gcp, aws,azure,gcp"), {})
    assert [source.kind for source in opened] == [NoticeKind.GCP, NoticeKind.AWS, NoticeKind.AZURE]
    assert open_notice_sources(WorkerSettings.load(), {}) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reclaim_notices": "aws,digitalocean"}, "'digitalocean' is unknown; use one or several of node, aws"),
        ({"reclaim_notices": "node"}, "needs BACKBURNER_NODE_NAME"),
        ({"reclaim_notices": "node", "node_name": "gpu-1"}, "no pod of a Kubernetes cluster"),
    ],
)
def test_notices_that_cannot_be_looked_for_name_the_remedy(given, message):
    with pytest.raises(SettingsError, match=message):
        open_notice_sources(WorkerSettings.load(**given), {})


def test_a_name_that_is_no_nodes_is_refused():
    with pytest.raises(SettingsError, match=r"spec\.nodeName"):
        NodeNotices(None, "../secrets")
