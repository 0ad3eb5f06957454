"""Groups of a worker's settings: each returns one object that has the values which were set."""

import pytest

from backburner_schemas.codec import Rules
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import SettingsError
from backburner_schemas.names import Lane
from backburner_worker.engine.adapters import Adapter
from backburner_worker.engine.fake.model import Pace
from backburner_worker.engine.openai_http.options import OpenAiHttpOptions
from backburner_worker.engine.options import EngineOptions, FakeOptions
from backburner_worker.intervals import SweepIntervals
from backburner_worker.policy import RetryRules
from backburner_worker.requests.limits import DATA_URLS, BodyLimits
from backburner_worker.settings import WorkerSettings
from backburner_worker.settlement.segments import SegmentLimits
from backburner_worker.sources.kafka.membership import Membership
from backburner_worker.sources.sqs.times import SqsTimes


@pytest.mark.parametrize(
    ("group", "given", "expected"),
    [
        (
            "segment_limits",
            {
                "segment_max_bytes": 2048,
                "segment_max_records": 3,
                "segment_min_age_seconds": 0.5,
                "segment_max_age_seconds": 4.0,
            },
            SegmentLimits(max_bytes=2048, max_records=3, min_age=0.5, max_age=4.0),
        ),
        (
            "retry_rules",
            {"max_attempts": 2, "retry_base_seconds": 0.5, "retry_max_seconds": 7.0},
            RetryRules(max_attempts=2, base=0.5, longest=7.0),
        ),
        (
            "body_limits",
            {"allowed_media_domains": "a.example, data:"},
            BodyLimits(media_domains=frozenset({"a.example", DATA_URLS})),
        ),
        (
            "body_limits",
            {"allowed_media_domains": "DATA, CDN.Example,"},
            BodyLimits(media_domains=frozenset({"cdn.example", DATA_URLS})),
        ),
        ("extra_parameters", {"allowed_parameters": "top_a,min_p"}, frozenset({"top_a", "min_p"})),
        (
            "message_rules",
            {"tenant": "acme", "allowed_tenants": "acme,zeta", "max_body_bytes": 2048},
            Rules(tenant="acme", allowed_tenants=frozenset({"acme", "zeta"}), max_body_bytes=2048),
        ),
        (
            "sweep_intervals",
            {"sweep_seconds": 5.0, "freeze_grace_seconds": 200.0, "topic_retention_seconds": 9.0},
            SweepIntervals(sweep=5.0, grace=200.0, marker_life=9.0),
        ),
        (
            "kafka_membership",
            {
                "kafka_session_seconds": 6.0,
                "kafka_rebalance_seconds": 8.0,
                "kafka_leave_group": False,
                "worker_id": "w1",
            },
            Membership(session_seconds=6.0, rebalance_seconds=8.0, leave_group=False, instance_id="w1"),
        ),
        (
            "sqs_times",
            {"sqs_visibility_seconds": 30, "sqs_wait_seconds": 2},
            SqsTimes(visibility_seconds=30, wait_seconds=2),
        ),
        ("weights", {"lane_weights": "high=3"}, {Lane.HIGH: 3, Lane.NORMAL: 1, Lane.RETRY: 1, Lane.LOW: 1}),
        (
            "fake_options",
            {
                "fake_latency_seconds": 0.5,
                "fake_pace": "sequences=2,kv=100",
                "fake_process": True,
                "fake_journal": "/journal",
                "fake_load_seconds": 3,
            },
            FakeOptions(0.5, Pace(sequences=2, kv=100), process=True, journal="/journal", load_seconds=3),
        ),
        (
            "engine_options",
            {
                "engine": "vllm",
                "model": "/models/m",
                "served_name": "m",
                "engine_args": "--max-model-len 8",
                "adapters": "legal=/models/legal",
                "allowed_media_domains": "a.example",
                "compile_cache_dir": "/cache",
                "fake_latency_seconds": 0.5,
                "concurrency": 7,
                "engine_urls": "http://a:8000/v1",
            },
            EngineOptions(
                EngineKind.VLLM,
                model="/models/m",
                served_name="m",
                engine_args="--max-model-len 8",
                adapters=(Adapter("legal", "/models/legal"),),
                media_domains=frozenset({"a.example"}),
                cache_dir="/cache",
                fake=FakeOptions(0.5),
                concurrency=7,
                openai_http=OpenAiHttpOptions(("http://a:8000",)),
            ),
        ),
        (
            "openai_http_options",
            {
                "engine_urls": "http://a:8000,https://b",
                "engine_token_file": "/token",
                "engine_ca_file": "/ca",
                "engine_cert_file": "/cert",
                "engine_key_file": "/key",
                "engine_http_start_seconds": 7.0,
                "engine_http_answer_seconds": 9.0,
            },
            OpenAiHttpOptions(
                urls=("http://a:8000", "https://b"),
                token_file="/token",
                ca_file="/ca",
                cert_file="/cert",
                key_file="/key",
                start_seconds=7.0,
                answer_seconds=9.0,
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_group_returns_what_was_set(group, given, expected):
    assert getattr(WorkerSettings.load(**given), group) == expected


@pytest.mark.parametrize(
    ("group", "default"),
    [
        ("segment_limits", SegmentLimits()),
        ("retry_rules", RetryRules()),
        ("body_limits", BodyLimits()),
        ("message_rules", Rules()),
        ("sweep_intervals", SweepIntervals()),
        ("kafka_membership", Membership()),
        ("sqs_times", SqsTimes()),
        ("fake_options", FakeOptions()),
        ("engine_options", EngineOptions()),
        ("openai_http_options", OpenAiHttpOptions()),
    ],
)
def test_settings_and_their_objects_have_the_same_defaults(group, default):
    assert getattr(WorkerSettings.load(), group) == default


def test_a_pace_that_means_nothing_is_refused_by_its_variable_before_an_engine_is_created(monkeypatch):
    monkeypatch.setenv("BACKBURNER_FAKE_PACE", "fast")
    with pytest.raises(SettingsError, match="BACKBURNER_FAKE_PACE: 'fast'"):
        WorkerSettings.load()


def test_a_pool_is_named_after_the_model_unless_it_is_set():
    assert WorkerSettings.load().pool_for("fake") == "fake"
    assert WorkerSettings.load(pool="mine").pool_for("fake") == "mine"


@pytest.mark.parametrize("pool", ["Qwen/Qwen3-8B", "a" * 41, "a\n"])
def test_a_pool_that_is_set_for_a_worker_is_a_slug(monkeypatch, pool):
    monkeypatch.setenv("BACKBURNER_POOL", pool)
    with pytest.raises(SettingsError, match=r"BACKBURNER_POOL cannot be used: .*`backburner pools` lists"):
        WorkerSettings.load()
