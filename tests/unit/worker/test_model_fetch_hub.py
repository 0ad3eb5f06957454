"""Models of the Hugging Face hub, from a server that answers in the hub's forms: commits, sums, redirects that end."""

import hashlib
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("huggingface_hub", reason="huggingface_hub comes with vLLM")

from backburner_schemas.errors import ModelChecksumWrong, ModelSourceRefused, ModelSourceUnavailable
from backburner_worker.model_fetch import file_download
from backburner_worker.model_fetch.fetch import ModelFetch
from backburner_worker.model_fetch.file_download import PartLimits
from backburner_worker.model_fetch.folder import ModelFolder
from backburner_worker.model_fetch.hub_source import HubModel, HubSource
from backburner_worker.settings import WorkerSettings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 20
CONFIG = b'{"model_type": "llama"}'
OTHERS = ("original/consolidated.00.pth", "pytorch_model.bin", "model.Q4.gguf")


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    """Whoever loaded a model in this process before has told the library to ask nobody."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub(ThreadingHTTPServer):
    """The model org/name, whose weights another address gives out, each address for three reads."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.weights = WEIGHTS
        self.reads_left = 0
        self.seen = []
        self.status = 200
        self.elsewhere = ""
        self.gone = None
        """How an address ends that had its three reads; None: it says so."""
        self.files = {"config.json": CONFIG, "model.safetensors": WEIGHTS, **dict.fromkeys(OTHERS, b"none")}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        hub = self.server
        path, token = self.path.partition("?")[0], self.headers.get("Authorization")
        hub.seen.append((path, token, self.headers.get("Range")))
        if hub.status != 200:
            return self._answer(hub.status, b"{}", {"X-Error-Code": "GatedRepo"} if hub.status == 403 else {})
        if path.startswith("/api/models/org/name"):
            siblings = [
                {
                    "rfilename": name,
                    "size": len(data),
                    "blobId": blob(data),
                    **(
                        {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}
                        if "." in name and not name.endswith(".json")
                        else {}
                    ),
                }
                for name, data in hub.files.items()
            ]
            return self._answer(200, json.dumps({"id": "org/name", "sha": COMMIT, "siblings": siblings}).encode())
        if path == f"/org/name/resolve/{COMMIT}/config.json":
            return self._part(CONFIG)
        if path == f"/org/name/resolve/{COMMIT}/model.safetensors":
            hub.reads_left = 3
            # Another name of the same machine, so that it is another origin.
            elsewhere = hub.elsewhere or f"http://localhost:{hub.server_port}/cdn/weights?signed=1"
            return self._answer(302, b"", {"Location": elsewhere})
        if path == "/cdn/weights":
            hub.reads_left -= 1
            if hub.reads_left < 0 and hub.gone is not None:
                self.close_connection = True
                return self._answer(206, b"", {}) if hub.gone == "short" else None
            return self._part(hub.weights) if hub.reads_left >= 0 else self._answer(403, b"expired")
        return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _part(self, data):
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        return self._answer(206, data[first : last + 1])

    def _answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with Hub() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def fetch(hub, tmp_path):
    async def run(url="hf://org/name@main"):
        settings = WorkerSettings.load(model=str(tmp_path / "chat"), model_source=url)
        folder = ModelFolder.named(settings.model, source=url, checksum="")
        source = HubSource(HubModel.parse(url), endpoint=hub.url)
        try:
            # One at a time, so that the order of what the hub saw is known.
            await ModelFetch(folder, source, settings, limits=PartLimits(512, 1)).run()
        finally:
            await source.close()
        return tmp_path / "chat"

    return run


async def test_a_commit_of_the_hub_is_fetched_without_what_vllm_passes_over(hub, fetch):
    folder = await fetch()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."} == {
        "config.json": CONFIG,
        "model.safetensors": WEIGHTS,
    }
    assert hub.seen[0][0] == "/api/models/org/name/revision/main"


async def test_the_token_goes_to_the_hub_alone_and_the_hub_is_asked_again_when_an_address_ends(hub, fetch):
    await fetch()
    assert {token for path, token, _ in hub.seen if path.startswith("/cdn")} == {None}
    assert {token for path, token, _ in hub.seen if not path.startswith("/cdn")} == {"Bearer hf_secret"}
    asked = [path for path, _, _ in hub.seen if path.endswith("resolve/" + COMMIT + "/model.safetensors")]
    # Ten parts, three from each address.
    assert len(asked) == 4


@pytest.mark.parametrize("gone", ["broken off", "short"])
async def test_an_address_that_does_not_answer_any_more_is_forgotten(hub, fetch, gone, monkeypatch):
    monkeypatch.setattr(file_download, "_WAIT", lambda _: 0)
    hub.gone = gone
    folder = await fetch()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
async def test_what_the_hub_gives_is_held_against_its_sums(hub, fetch, name, tmp_path):
    data = hub.files[name]
    hub.files[name] = bytes(len(data))
    with pytest.raises(ModelChecksumWrong, match=name):
        await fetch()
    assert not (tmp_path / "chat").exists()


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, ModelSourceRefused, "HF_TOKEN"),
        (403, ModelSourceRefused, "HF_TOKEN"),
        (404, ModelSourceRefused, "no model org/name@main"),
        (500, ModelSourceUnavailable, "does not tell of"),
    ],
)
async def test_a_hub_that_does_not_answer_with_a_model_is_told(hub, fetch, status, error, message):
    hub.status = status
    with pytest.raises(error, match=message):
        await fetch()


@pytest.mark.parametrize("elsewhere", ["http://[bad", "http://host:port/", "file:///etc/passwd", "http://a\tb/"])
async def test_a_hub_that_sends_to_no_address_may_be_asked_again(hub, fetch, elsewhere, monkeypatch):
    monkeypatch.setattr(file_download, "_WAIT", lambda _: 0)
    hub.elsewhere = elsewhere
    with pytest.raises(ModelSourceUnavailable):
        await fetch()


async def test_a_hub_that_is_away_may_be_asked_again(hub, fetch):
    source = HubSource(HubModel.parse("hf://org/name"), endpoint="http://127.0.0.1:1")
    with pytest.raises(ModelSourceUnavailable):
        await source.files()
    await source.close()
