"""Settings of the engine and its model."""

from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field, model_validator

from backburner_schemas.engine_kind import EngineKind
from backburner_worker.engine.adapters import Adapter, parse_adapters
from backburner_worker.engine.options import EngineOptions
from backburner_worker.settings.comma_separated import CommaSeparated
from backburner_worker.settings.engine_http import EngineHttpSettings
from backburner_worker.settings.fake_engine import FakeEngineSettings
from backburner_worker.settings.feeding import FeedingSettings
from backburner_worker.settings.requests import RequestSettings


class EngineSettings(FakeEngineSettings, EngineHttpSettings, RequestSettings, FeedingSettings):
    """Engine: what answers, and with which model."""

    engine: EngineKind = EngineKind.VLLM
    """Engine that answers; `openai-http` calls servers elsewhere, `fake` needs neither a model nor a GPU."""
    model: str = ""
    """Folder or name of the model, as vLLM takes it. For `openai-http` its name at the servers, the only one that they
    have if not set. The fake engine takes its name alone; `fake` if not set."""
    served_name: str | None = None
    """Name that requests call the model by; if not set, the name of its folder, or else `BACKBURNER_MODEL` itself."""
    engine_args: str = ""
    """vLLM's own arguments, as on its command line, such as `--max-model-len 8192 --max-num-seqs 256`."""
    adapters: CommaSeparated = ""
    """LoRA adapters on the model, `NAME=FOLDER,…`; requests name them as their model. All workers of a pool alike."""
    compile_cache_dir: str = ""
    """Folder that keeps what vLLM compiles from start to start; `~/.cache/vllm` and its kin if not set."""

    engine_stall_seconds: Annotated[float, Field(ge=0)] = 300.0
    """Seconds without a step of the engine, with requests inside, after which it counts as lost: what was in it is
    tried apart from the rest, and the worker ends. Of `openai-http`, seconds without a byte from a server, after which
    its requests go to others. 0 for never."""

    @model_validator(mode="after")
    def _adapters_can_be_read(self) -> Self:
        _ = self.lora_adapters
        return self

    @property
    def lora_adapters(self) -> tuple[Adapter, ...]:
        """The adapters by name and folder. Raises `ValueError` for what is no name and folder."""
        return parse_adapters(self.adapters)

    @property
    def engine_options(self) -> EngineOptions:
        """The engine with its model, as `create_engine` takes it."""
        return EngineOptions(
            kind=self.engine,
            model=self.model,
            served_name=self.served_name,
            engine_args=self.engine_args,
            adapters=self.lora_adapters,
            media_domains=self.body_limits.media_domains,
            cache_dir=self.compile_cache_dir,
            fake=self.fake_options,
            concurrency=self.concurrency,
            openai_http=replace(self.openai_http_options, stall_seconds=self.engine_stall_seconds),
        )
