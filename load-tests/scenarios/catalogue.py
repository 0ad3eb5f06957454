"""What `make bench` runs, in this order, and what each has to reach. The one list: bench, report and tests read it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """One entry of the list."""

    name: str
    """As `run.py` knows it, and the name of its file of figures."""
    asks: str
    """The question, as the report's heading."""
    against: str
    """What it is measured against, in the same run."""
    goal: str
    """What it must reach, in words."""
    minutes: float
    """About how long it takes on two cores."""
    gpu: bool = False
    """Whether `make gpu-check` runs it."""
    apache_minutes: float = 0.0
    """About how long its second run takes, with `--broker apache`; 0 where it has none."""


SCENARIOS = (
    Scenario(
        "overhead",
        "What does the queue cost?",
        "bare `AsyncLLM` at its best hand setting; 28 interleaved pairs of 64 chat requests of mixed lengths",
        "median ≥ 0.98 × its requests/s",
        9,
        gpu=True,
    ),
    Scenario(
        "run-batch",
        "Is a resident worker worth it for one file?",
        "`python -m vllm.entrypoints.openai.run_batch` on 384 requests, wall time with its start",
        "≥ 1.1 ×",
        4,
    ),
    Scenario(
        "prefix",
        "What does it gain to reorder by shared prefix?",
        "the bare engine fed in file order: 16 prefixes of about 600 tokens, 8 requests each, interleaved and shuffled",
        "≥ 4 × interleaved, ≥ 2.5 × shuffled",
        3,
        gpu=True,
    ),
    Scenario(
        "affinity",
        "Does a shared prefix stay with one of several workers?",
        "the same two workers, requests alike but spread round robin",
        "≥ 1.2 ×, no partition hot",
        3,
    ),
    Scenario(
        "order",
        "What does it gain to order a whole job?",
        "first come, first served, and the best that a window of 1,024 requests allows, on the modelled engine's cache",
        "hit rate ≥ 0.9; 1,000,000 requests planned in ≤ 20 s and ≤ 64 MB",
        1.5,
    ),
    Scenario(
        "order-queued",
        "And behind dispatcher, broker and feeder?",
        "the same jobs without a dispatcher: to a worker that takes them as they come, and to one that holds 1,024",
        "hit rate ≥ 0.9, forecast within 0.05",
        3,
    ),
    Scenario(
        "order-real",
        "And on a real engine?",
        "the bare engine fed in file order, and our own queue without a dispatcher: 64 prefixes of about 600 tokens, "
        "20 requests each, shuffled",
        "≥ 3 × the bare engine, ≥ 1.5 × the queue alone",
        2.5,
    ),
    Scenario(
        "admission",
        "Is `auto` as good as the best hand setting?",
        "the best of several hand settings on the same fake engine, for each of three workloads",
        "within 3 %: ≥ 0.97 ×",
        2.5,
    ),
    Scenario(
        "admission-real",
        "Is `auto` as good as the best hand setting of a real engine?",
        "the best of several hand settings on the same engine, real model",
        "within 10 %: ≥ 0.9 ×",
        2.5,
    ),
    Scenario("ray", "Against Ray Data?", "Ray Data LLM on the same model and requests", "≥ 1.3 ×", 3.5),
    Scenario(
        "control-plane",
        "What can the path carry when the engine costs nothing?",
        "a bare loop of the same libraries: consume, decode, encode, put, commit",
        "≥ 15,000 requests/s, ≥ 0.5 × the bare loop; aim: ≤ 40 µs of CPU a request",
        1.5,
        apache_minutes=1.5,
    ),
    Scenario(
        "backlog",
        "Does a deep queue cost a worker memory?",
        "the same worker at a backlog of 1,000; then 100,000 and 1,000,000",
        "≤ +50 MB",
        3,
    ),
    Scenario(
        "submit",
        "What does a submit cost?",
        "a bare aiokafka producer with the same bytes, 1,000,000 requests from a file",
        "≥ 0.85 ×, memory flat; aim: ≤ 8 µs of CPU a request",
        3.5,
        apache_minutes=4,
    ),
    Scenario(
        "dispatch",
        "What does a dispatcher carry with the order on?",
        "a bare aiokafka producer with the same bytes, ready-made, 1,000,000 requests",
        "≥ 20,000 requests/s, ≥ 0.2 ×, memory flat, 20 tenants' shares within 1.2 ×",
        3,
    ),
    Scenario(
        "gateway",
        "What does the gateway cost?",
        "a bare Starlette endpoint that only publishes, and one that pipes a PUT to the store",
        "≥ 0.6 × its requests/s and p99, ≥ 0.7 × its upload with ≤ 64 MB, one LIST a page",
        1.5,
    ),
    Scenario(
        "read",
        "What do results and status cost to read?",
        "bare GETs of the same objects; status of a job of 1,000,000 requests",
        "≥ 0.7 ×, ≤ 5 LISTs",
        1,
    ),
    Scenario(
        "scale",
        "Do workers add up?",
        "one worker with an engine of fixed latency; then two and four",
        "≥ 0.95 linear",
        3,
        apache_minutes=3.5,
    ),
    Scenario(
        "ready", "How long until a worker is warm?", "the bare engine, process start to first answer", "≤ 1.05 ×", 3
    ),
    Scenario(
        "fairness",
        "Does a heavy tenant push others aside?",
        "the ideal share of each tenant, one with 100 × the work of the others",
        "within 1.2 ×",
        0.5,
    ),
)
