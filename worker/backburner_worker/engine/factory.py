"""Makes the engine that the settings name, so that the composition root stays short."""

from collections.abc import Sequence

from backburner_schemas.errors import SettingsError
from backburner_worker.engine.adapters import Adapter, check_names
from backburner_worker.engine.base import Engine
from backburner_worker.engine.fake.engine import FAKE_MODEL, FakeEngine
from backburner_worker.engine.fake.model import Pace
from backburner_worker.engine.fake.process import FakeProcessEngine
from backburner_worker.engine.vllm.engine import VllmEngine

KINDS = ("vllm", "fake")
"""What BACKBURNER_ENGINE may be."""


def create_engine(
    kind: str,
    *,
    model: str | None = None,
    engine_args: str | Sequence[str] = (),
    fake_latency: float = 0.0,
    fake_pace: str = "",
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
        fake_pace: A `Pace`, as text; empty for the fixed latency.
        fake_process: Whether the fake runs in a process of its own.
        fake_journal: A file to which the fake adds a line for each request that it begins.
        served_name: The name that requests use; a folder's own name if none is given.
        media_domains: Where vLLM may fetch media from, as in `BodyLimits`.
        adapters: LoRA adapters on the model; the fake takes their names alone.
        cache_dir: Where vLLM keeps compiled code from start to start; its own places if empty.

    Raises `SettingsError` for an unknown kind, vLLM without a model, an adapter with the model's name, and a pace that
    means nothing.
    """
    if kind == "fake":
        name = served_name or model or FAKE_MODEL
        check_names(adapters, name)
        names = [adapter.name for adapter in adapters]
        if fake_process:
            if fake_pace:
                raise SettingsError(
                    "BACKBURNER_FAKE_PACE needs the fake in the worker's process; unset BACKBURNER_FAKE_PROCESS"
                )
            return FakeProcessEngine(name, fake_latency, journal=fake_journal, adapters=names)
        return FakeEngine(name, fake_latency, journal=fake_journal, pace=_pace(fake_pace), adapters=names)
    if kind != "vllm":
        raise SettingsError(f"there is no engine {kind!r}; set BACKBURNER_ENGINE to one of {', '.join(KINDS)}")
    if not model:
        raise SettingsError("vLLM needs a model; set BACKBURNER_MODEL to a folder or a name that it can load")
    return VllmEngine(
        model, engine_args, served_name, media_domains=media_domains, adapters=adapters, cache_dir=cache_dir
    )


def _pace(text: str) -> Pace | None:
    try:
        return Pace.parse(text) if text else None
    except ValueError as error:
        raise SettingsError(f"BACKBURNER_FAKE_PACE: {error}") from error
