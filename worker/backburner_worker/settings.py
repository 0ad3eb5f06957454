"""Settings of a worker: those of every producer, and what runs beside the GPU. Read once, by the composition root."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from backburner.settings import Settings, load_settings
from backburner_schemas.codec import MAX_RETRY_DELAY_SECONDS
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.envelope import MAX_ATTEMPTS
from backburner_schemas.names import Lane
from backburner_worker.engine.adapters import Adapter, parse_adapters

CommaSeparated = Annotated[str, NoDecode]
"""A list as one text, `a,b,c`; empty for none."""


class WorkerSettings(Settings):
    """What a worker reads from BACKBURNER_… variables, beside what every part reads."""

    pool: Annotated[str | None, Field(pattern=r"^[a-z0-9-]{1,40}$")] = None
    """Pool to work for; from the model's served name if not set. At most 40 of `a` to `z`, digits and `-`."""
    engine: EngineKind = EngineKind.VLLM
    """`vllm` or `fake`."""
    model: str = ""
    """Folder or name of the model, as vLLM takes it; `fake` for the fake engine."""
    served_name: str | None = None
    """Name that requests call the model by; the last part of `model` if not set."""
    engine_args: str = ""
    """vLLM's own arguments, as on its command line, such as `--max-model-len 8192 --max-num-seqs 256`."""
    adapters: CommaSeparated = ""
    """LoRA adapters on the model, `NAME=FOLDER,…`; requests name them as their model. All workers of a pool alike."""
    compile_cache_dir: str = ""
    """Folder that keeps what vLLM compiles from start to start; `~/.cache/vllm` and its kin if not set."""
    allowed_parameters: CommaSeparated = ""
    """Body fields that are let through beside the known ones, comma-separated."""
    allowed_media_domains: CommaSeparated = ""
    """Domains that image and audio addresses may name, comma-separated; `data` lets inline data through."""
    allowed_tenants: CommaSeparated = ""
    """Tenants that this queue may carry, comma-separated; empty for any."""
    worker_id: str | None = None
    """Name that outlives restarts; on Kafka it makes the membership static. A new one at each start if not set."""
    worker_group: str | None = None
    """Name of the group of workers that this one was started in, for records and metrics."""
    http_host: str = "0.0.0.0"  # noqa: S104 - probes come from outside the pod
    """Address that `/livez`, `/readyz` and `/metrics` listen on."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Their port; 0 takes a free one and logs it."""
    drain_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Seconds that running requests get at SIGTERM."""
    cancel_poll_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds between looks for cancel markers."""
    sweep_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between looks at open jobs, with jitter."""
    segment_max_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """Bytes at which a segment is written."""
    segment_max_records: Annotated[int, Field(ge=1)] = 4096
    """Records at which a segment is written."""
    segment_min_age_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Seconds after which a young job's records are written."""
    segment_max_age_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which an old job's records are written; between the two it is a tenth of the job's age."""
    concurrency: Annotated[int, Field(ge=0), BeforeValidator(lambda given: 0 if given == "auto" else given)] = 0
    """Requests in the engine at once; 0 or `auto` finds out how many keep it busy, and changes that as it goes."""
    prefetch: Annotated[int, Field(ge=1)] = 1024
    """Deliveries of each lane that are held before the engine, and put in order there."""
    prefetch_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """Bytes of each lane's messages that are held before the engine; one pull may go over it once."""
    lane_weights: CommaSeparated = "high=8,normal=4,retry=2,low=1"
    """Share of each lane while all of them have requests."""
    kafka_session_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which the broker gives a silent worker's partitions to others."""
    kafka_leave_group: bool = True
    """Whether a worker that ends says so to the broker; otherwise its partitions move when its session is over."""
    kafka_rebalance_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds that a rebalance may take, storing what is done included."""
    max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] = 5
    """Attempts that a request gets before it ends as a dead letter."""
    retry_base_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Seconds before the first retry, about; each further one waits twice as long, with jitter."""
    retry_max_seconds: Annotated[float, Field(gt=0, le=MAX_RETRY_DELAY_SECONDS)] = 60.0
    """Seconds between two attempts at most."""
    sqs_visibility_seconds: Annotated[int, Field(ge=10, le=43_200)] = 120
    """Seconds after which SQS gives a silent worker's messages to others; renewed while they are held."""
    sqs_wait_seconds: Annotated[int, Field(ge=1, le=20)] = 5
    """Seconds that one look at an empty SQS queue waits for a message; a stopping worker waits for it too."""
    result_cache_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Seconds for which an answer counts for the same request of the same tenant, where its temperature is 0 or it has
    a seed; 0 keeps no answers."""
    model_version: str = ""
    """Version of the model behind its name, told apart in the result cache; a folder's own files count anyway."""
    log_prompts: bool = False
    """Whether logs may hold the text of requests."""
    fake_latency_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that the fake engine takes for an answer."""
    fake_pace: str = ""
    """How fast the fake engine is, and how much it holds, as a real one: `prefill=20000,step=0.02,sequences=64,…`; with
    none of it, every answer takes the fixed latency. The names are in docs/admission.md."""
    fake_process: bool = False
    """Whether the fake engine runs as a child process, which can be killed."""
    fake_journal: str | None = None
    """File to which the fake engine adds a line for each request that it begins, to count what runs twice."""

    @classmethod
    def load(cls, **arguments: Any) -> Self:
        """The settings from arguments, then the environment. Raises `SettingsError`."""
        return load_settings(cls, **arguments)

    @model_validator(mode="after")
    def _grace_covers_late_segments(self) -> Self:
        needed = self.cancel_poll_seconds + self.segment_max_age_seconds + self.drain_seconds
        if self.freeze_grace_seconds <= needed:
            raise ValueError(
                f"BACKBURNER_FREEZE_GRACE_SECONDS ({self.freeze_grace_seconds:g}) must be longer than marker interval, "
                f"longest segment age and drain together ({needed:g}), or finished work could miss the freeze"
            )
        _ = self.weights, self.lora_adapters  # refused at the start if they are bad
        return self

    @property
    def weights(self) -> dict[Lane, int]:
        """The lanes' weights."""
        weights = dict.fromkeys(Lane, 1)
        for part in split(self.lane_weights):
            lane, _, weight = part.partition("=")
            if lane not in set(Lane) or not weight.isdigit() or int(weight) < 1:
                raise ValueError(f"BACKBURNER_LANE_WEIGHTS: {part!r} is not LANE=WEIGHT with a weight from 1")
            weights[Lane(lane)] = int(weight)
        return weights

    @property
    def lora_adapters(self) -> tuple[Adapter, ...]:
        """The adapters by name and folder."""
        return parse_adapters(self.adapters)


def split(text: str) -> frozenset[str]:
    """The parts of a comma-separated setting."""
    return frozenset(part.strip() for part in text.split(",") if part.strip())
