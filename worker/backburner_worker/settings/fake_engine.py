"""Settings of the fake engine."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from backburner.settings.group import SettingGroup
from backburner_worker.engine.fake.model import Pace
from backburner_worker.engine.options import FakeOptions


class FakeEngineSettings(SettingGroup):
    """Fake engine: how the engine without a model behaves, for tests and measurements."""

    fake_load_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that the fake engine takes to load, as a real one does before it is warm."""
    fake_latency_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that the fake engine takes for an answer."""
    fake_pace: str = ""
    """Pace and size of the fake engine, as of a real one: `prefill=20000,step=0.02,sequences=64,…`, with the names in
    docs/admission.md; if not set, every answer takes `BACKBURNER_FAKE_LATENCY_SECONDS`."""
    fake_failure_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the requests at which the fake engine fails, as an engine does that is broken; they are retried."""
    fake_process: bool = False
    """Whether the fake engine runs as a child process, which can be killed."""
    fake_journal: str | None = None
    """File to which the fake engine adds a line for each request that it begins, to count what runs twice."""

    @model_validator(mode="after")
    def _pace_means_something(self) -> Self:
        _ = self.fake_options
        return self

    @property
    def fake_options(self) -> FakeOptions:
        """How the fake engine behaves. Raises `ValueError` for a pace that means nothing."""
        try:
            pace = Pace.parse(self.fake_pace) if self.fake_pace else None
        except ValueError as error:
            raise ValueError(f"BACKBURNER_FAKE_PACE: {error}") from error
        return FakeOptions(
            latency_seconds=self.fake_latency_seconds,
            pace=pace,
            process=self.fake_process,
            journal=self.fake_journal,
            failure_ratio=self.fake_failure_ratio,
            load_seconds=self.fake_load_seconds,
        )
