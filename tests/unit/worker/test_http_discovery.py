"""What servers elsewhere offer, as they list it, and the URLs that lead to them."""

import pytest

from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import EngineError, SettingsError
from backburner_worker.engine.factory import create_engine
from backburner_worker.engine.openai_http.discovery import Model, Offer, Unusable, choose, models_of
from backburner_worker.engine.openai_http.options import OpenAiHttpOptions, parse_urls
from backburner_worker.engine.options import EngineOptions
from backburner_worker.settings import WorkerSettings

VLLM = {
    "object": "list",
    "data": [
        {"id": "chat", "root": "/models/chat", "parent": None, "max_model_len": 512},
        {"id": "chat-v2", "root": "/models/chat", "parent": None},
        {"id": "legal", "root": "/adapters/legal", "parent": "chat"},
    ],
}
TGI = {"object": "list", "data": [{"id": "HuggingFaceH4/zephyr-7b-beta", "object": "model", "owned_by": "x"}]}
SEVERAL = {"object": "list", "data": [{"id": "gpt-4o"}, {"id": "gpt-4o-mini"}, {"id": "embed"}]}


def test_the_only_model_is_taken_with_its_other_names_and_its_adapters():
    assert choose(models_of(VLLM), "") == Offer(("chat", "chat-v2"), ("legal",))
    assert choose(models_of(VLLM), "chat-v2") == Offer(("chat-v2", "chat"), ("legal",))
    assert choose(models_of(TGI), "") == Offer(("HuggingFaceH4/zephyr-7b-beta",), ())


def test_of_several_models_one_has_to_be_named():
    assert choose(models_of(SEVERAL), "gpt-4o-mini") == Offer(("gpt-4o-mini",), ())
    with pytest.raises(Unusable, match=r"set BACKBURNER_MODEL to one of embed, gpt-4o, gpt-4o-mini"):
        choose(models_of(SEVERAL), "")


@pytest.mark.parametrize("wanted", ["other", "legal"])
def test_a_model_that_is_not_there_or_is_an_adapter_is_refused_with_those_that_are(wanted):
    with pytest.raises(Unusable, match=r"chat, chat-v2"):
        choose(models_of(VLLM), wanted)


def test_adapters_of_another_model_are_not_taken():
    listed = [Model("chat", root="/chat"), Model("other", root="/other"), Model("legal", parent="other")]
    assert choose(listed, "chat") == Offer(("chat",), ())


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"id": "m"}}, {"error": "no"}])
def test_what_is_no_list_of_models_is_an_error(body):
    with pytest.raises(EngineError):
        models_of(body)


def test_what_has_no_name_is_passed_over():
    cards = [
        None,
        {"id": None},
        {"id": ""},
        {"id": 5},
        {"id": "x" * 513},
        {"id": "a\nb"},
        {"id": " "},
        {"id": "m", "parent": 7, "root": []},
    ]
    assert models_of({"data": cards}) == [Model("m")]


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", ()),
        ("http://a:8000", ("http://a:8000",)),
        (" http://a:8000/ , https://b/openai/v1,,http://a:8000", ("http://a:8000", "https://b/openai")),
        ("http://[::1]:8000", ("http://[::1]:8000",)),
    ],
)
def test_urls_are_read_up_to_before_v1_and_once_each(text, urls):
    assert parse_urls(text) == urls


@pytest.mark.parametrize(
    "text",
    [
        *("a:8000", "ftp://a", "http://", "http://a:b", "http://a b", "http://a:99999", "http://a\n/x"),
        *("http://user:secret@a", "http://a?key=secret", "http://a#x"),
        ",".join(f"http://a{number}" for number in range(257)),
    ],
)
def test_what_is_no_url_or_holds_a_secret_is_refused_by_its_variable(text):
    with pytest.raises(SettingsError, match="BACKBURNER_ENGINE_URLS") as caught:
        WorkerSettings.load(engine_urls=text)
    # What is shown goes into logs.
    assert "secret@" not in caught.value.message.partition("input_value")[0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "BACKBURNER_ENGINE_URLS"),
        ({"engine_args": "--max-num-seqs 8"}, "BACKBURNER_ENGINE_ARGS"),
        ({"adapters": ["a"]}, "BACKBURNER_ADAPTERS"),
        ({"openai_http": OpenAiHttpOptions(("http://a",), key_file="k")}, "BACKBURNER_ENGINE_CERT_FILE"),
    ],
)
def test_settings_that_suit_no_server_elsewhere_are_refused_before_anything_is_called(options, reason):
    with pytest.raises(SettingsError, match=reason):
        create_engine(EngineOptions(EngineKind.OPENAI_HTTP, **options))
