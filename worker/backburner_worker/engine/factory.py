"""Makes the engine that the settings name, so that the composition root stays short."""

from collections.abc import Sequence

from backburner_schemas.errors import SettingsError
from backburner_worker.engine.adapters import Adapter, check_names
from backburner_worker.engine.base import Engine
from backburner_worker.engine.fake import FAKE_MODEL, FakeEngine
from backburner_worker.engine.fake_process import FakeProcessEngine
from backburner_worker.engine.vllm import VllmEngine

KINDS = ("vllm", "fake")
"""What BACKBURNER_ENGINE may be."""


def create_engine(
    kind: str,
    *,
    model: str | None = None,
    engine_args: str | Sequence[str] = (),
    fake_latency: float = 0.0,
    fake_process: bool = False,
    fake_journal: str | None = None,
    served_name: str | None = None,
    media_domains: frozenset[str] = frozenset(),
    adapters: Sequence[Adapter] = (),
    cache_dir: str = "",
) -> Engine:
    """An engine that is not started yet. Imports nothing heavy: vLLM is loaded by `start`.

    Args:
        kind: One of `KINDS`.
        model: A folder or a name that vLLM can load; the fake serves it by this name, `fake` if none is given.
        engine_args: vLLM's own arguments, as one line for a shell or as a list.
        fake_latency: Seconds that a request takes on the fake.
        fake_process: Whether the fake runs in a process of its own.
        fake_journal: A file to which the fake adds a line for each request that it begins.
        served_name: The name that requests use; a folder's own name if none is given.
        media_domains: Where vLLM may fetch media from, as in `BodyLimits`.
        adapters: LoRA adapters on the model; the fake takes their names alone.
        cache_dir: Where vLLM keeps compiled code from start to start; its own places if empty.

    Raises `SettingsError` for an unknown kind, for vLLM without a model, and for an adapter with the model's name.
    """
    if kind == "fake":
        name = served_name or model or FAKE_MODEL
        check_names(adapters, name)
        make = FakeProcessEngine if fake_process else FakeEngine
        return make(name, fake_latency, journal=fake_journal, adapters=[adapter.name for adapter in adapters])
    if kind != "vllm":
        raise SettingsError(f"there is no engine {kind!r}; set BACKBURNER_ENGINE to one of {', '.join(KINDS)}")
    if not model:
        raise SettingsError("vLLM needs a model; set BACKBURNER_MODEL to a folder or a name that it can load")
    return VllmEngine(
        model, engine_args, served_name, media_domains=media_domains, adapters=adapters, cache_dir=cache_dir
    )
