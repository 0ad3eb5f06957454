"""Load tests: each scenario starts and stops all that it needs, and prints ratios measured side by side.

python load-tests/run.py overhead [--json OUT] [--quick]

Each scenario prints both sides, the median of the paired ratios and its 95 % interval, or the range of few pairs.
`chaos` is the fault harness; it has a verdict instead of a ratio, and exits with 1 where a promise was broken.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from chaos.job_latency import job_latency
from chaos.poison import poison, poison_in_flight
from chaos.recovery import recovery
from chaos.rejoin import rejoin
from chaos.report import Report
from chaos.scenario import Options, chaos, place_of
from chaos.soak import soak
from fuzz.batch_scenario import BatchVerdict, fuzz_batches
from fuzz.scenario import FuzzVerdict, fuzz
from fuzz.stage import Queue as FuzzQueue
from measuring.figures import Figures
from measuring.servers import Broker
from reporting.tables import show
from scenarios.admission import FAKE, REAL, admission
from scenarios.affinity import affinity
from scenarios.backlog import BACKLOGS, CARRIED_REQUESTS, QUICK_BACKLOGS, QUICK_CARRIED_REQUESTS, backlog
from scenarios.control_plane import control_plane
from scenarios.dispatch import dispatch
from scenarios.fairness import fairness
from scenarios.gateway import gateway
from scenarios.import_time import import_time
from scenarios.order import JOBS, PLANNED_REQUESTS, QUICK_JOBS, QUICK_PLANNED_REQUESTS, order
from scenarios.order_queued import JOBS as QUEUED_JOBS
from scenarios.order_queued import QUICK_JOBS as QUICK_QUEUED_JOBS
from scenarios.order_queued import order_queued
from scenarios.order_real import order_real
from scenarios.outage import SYSTEMS, outage
from scenarios.overhead import overhead
from scenarios.prefix import prefix
from scenarios.profiling import profile
from scenarios.ray_data import ray_data
from scenarios.read import Form, read
from scenarios.ready import ready
from scenarios.run_batch import run_batch
from scenarios.scale import scale
from scenarios.submit import How, submit

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
Quick = Annotated[bool, typer.Option("--quick", help="Fewer rounds: whether it runs, with a wide interval.")]
Only = typer.Option("--only", help=f"One of {', '.join(SYSTEMS)}; may be given again. All if left out.")


class Baseline(StrEnum):
    """What the queue is measured against."""

    SERVING = "serving"
    """The worker's own engine, which gets all requests at once."""
    LLM_CHAT = "llm-chat"
    """vLLM's offline `LLM.chat`."""


class Engine(StrEnum):
    """The workers' engine."""

    FAKE = "fake"
    """Answers that are a function of the request, after 50 ms in the fault harness."""
    REAL = "real"
    """vLLM with a small model: slow to start, so ask for few faults and requests."""


class Queue(StrEnum):
    """The queue that workers pull from."""

    KAFKA = "kafka"
    SQS = "sqs"


@app.command("overhead")
def run_overhead(
    *,
    json: Json = None,
    quick: Quick = False,
    pairs: int = 28,
    requests: Annotated[int, typer.Option(help="In a round; 0 for 64 on a CPU and 1,024 on a GPU.")] = 0,
    threads: int = 1,
    baseline: Baseline = Baseline.SERVING,
) -> None:
    """Chat requests through bare vLLM and through the queue, in interleaved pairs."""
    _finish(overhead(2 if quick else pairs, requests, threads=threads, baseline=baseline, quick=quick), json)


@app.command("run-batch")
def run_run_batch(
    *, json: Json = None, quick: Quick = False, pairs: int = 2, requests: int = 384, threads: int = 1
) -> None:
    """A batch file through vLLM's own batch program, and through the queue with a resident worker."""
    _finish(run_batch(1 if quick else pairs, 64 if quick else requests, threads=threads, quick=quick), json)


@app.command("ray")
def run_ray(*, json: Json = None, quick: Quick = False, pairs: int = 1, requests: int = 384, threads: int = 1) -> None:
    """A batch through Ray Data LLM, and through the queue; skipped where Ray cannot be installed."""
    _finish(ray_data(1 if quick else pairs, 64 if quick else requests, threads=threads, quick=quick), json)


@app.command("scale")
def run_scale(
    *,
    json: Json = None,
    quick: Quick = False,
    rounds: int = 3,
    requests: int = 4096,
    broker: Broker = Broker.TANSU,
) -> None:
    """One, two and four workers with an engine that sleeps, each with the same share of work."""
    _finish(scale(1 if quick else rounds, 1024 if quick else requests, broker=broker, quick=quick), json)


@app.command("prefix")
def run_prefix(*, json: Json = None, quick: Quick = False, pairs: int = 1, threads: int = 1) -> None:
    """Requests that begin alike, in file order through bare vLLM and through the queue: interleaved, and shuffled."""
    _finish(prefix(1 if quick else pairs, threads=threads, quick=quick), json)


@app.command("affinity")
def run_affinity(*, json: Json = None, quick: Quick = False, pairs: int = 2, threads: int = 1) -> None:
    """Two workers: partitions chosen by what prompts begin with, against round robin."""
    _finish(affinity(1 if quick else pairs, threads=threads, quick=quick), json)


@app.command("admission")
def run_admission(*, json: Json = None, quick: Quick = False, pairs: int = 3) -> None:
    """`auto` against the best of several hand settings, on the fake engine paced as a real one."""
    _finish(admission(FAKE, 2 if quick else pairs, quick=quick), json)


@app.command("admission-real")
def run_admission_real(*, json: Json = None, quick: Quick = False, pairs: int = 4) -> None:
    """The same on vLLM with a small model."""
    _finish(admission(REAL, 2 if quick else pairs, quick=quick), json)


@app.command("control-plane")
def run_control_plane(
    *,
    json: Json = None,
    quick: Quick = False,
    pairs: int = 8,
    requests: int = 20_000,
    broker: Broker = Broker.TANSU,
) -> None:
    """Requests through one worker whose engine costs nothing, and through a bare loop of the same libraries."""
    _finish(control_plane(2 if quick else pairs, requests, broker=broker, quick=quick), json)


@app.command("backlog")
def run_backlog(*, json: Json = None, quick: Quick = False) -> None:
    """Memory of a worker at a backlog of a thousand, of a hundred thousand and of a million."""
    depths, carried = (QUICK_BACKLOGS, QUICK_CARRIED_REQUESTS) if quick else (BACKLOGS, CARRIED_REQUESTS)
    _finish(backlog(depths, carried, quick=quick), json)


@app.command("profile")
def run_profile(
    *, json: Json = None, rounds: int = 3, requests: int = 20_000, places: int = 0, broker: Broker = Broker.TANSU
) -> None:
    """Where the CPU of a worker goes, by layer, with an engine that costs nothing."""
    profile(rounds, requests, broker=broker, places=places, saved=json)


@app.command("fairness")
def run_fairness(*, json: Json = None, quick: Quick = False, rounds: int = 7, requests: int = 100) -> None:
    """Shares of five tenants, one of which has a hundred times the work, against equal ones."""
    _finish(fairness(2 if quick else rounds, requests, quick=quick), json)


@app.command("order")
def run_order(*, json: Json = None, quick: Quick = False) -> None:
    """Planning a million requests by what they begin with, and what a prefix cache finds in that order."""
    requests, jobs = (QUICK_PLANNED_REQUESTS, QUICK_JOBS) if quick else (PLANNED_REQUESTS, JOBS)
    _finish(order(requests, jobs, quick=quick), json)


@app.command("order-queued")
def run_order_queued(*, json: Json = None, quick: Quick = False) -> None:
    """Stored jobs through dispatcher, broker and feeder: what engines find in caches; one worker, and four."""
    _finish(order_queued(QUICK_QUEUED_JOBS if quick else QUEUED_JOBS, quick=quick), json)


@app.command("order-real")
def run_order_real(*, json: Json = None, quick: Quick = False, rounds: int = 1, threads: int = 1) -> None:
    """A shuffled job through bare vLLM, through the queue alone, and through dispatcher and queue."""
    _finish(order_real(rounds, threads=threads, quick=quick), json)


@app.command("dispatch")
def run_dispatch(
    *, json: Json = None, quick: Quick = False, pairs: int = 1, requests: int = 1_000_000, tenant_requests: int = 3000
) -> None:
    """A stored job through a dispatcher, against a bare producer of the same bytes; memory; tenants' shares."""
    requests, tenant_requests = (100_000, 1000) if quick else (requests, tenant_requests)
    _finish(dispatch(pairs, requests, tenant_requests, quick=quick), json)


@app.command("gateway")
def run_gateway(
    *,
    json: Json = None,
    quick: Quick = False,
    pairs: int = 5,
    requests: int = 10_000,
    uploads: int = 3,
    batches: int = 10_000,
) -> None:
    """Single enqueues, an upload and lists of batches, against bare endpoints; the requests that a list makes."""
    if quick:
        pairs, requests, uploads, batches = 2, 2000, 1, 1000
    _finish(gateway(pairs, requests, uploads, batches, quick=quick), json)


@app.command("submit")
def run_submit(
    *,
    json: Json = None,
    quick: Quick = False,
    pairs: int = 2,
    requests: int = 1_000_000,
    how: How = How.SEND,
    broker: Broker = Broker.TANSU,
) -> None:
    """A file of many requests through the client, against a bare producer of the same bytes; its memory."""
    _finish(submit(2 if quick else pairs, 100_000 if quick else requests, how=how, broker=broker, quick=quick), json)


@app.command("read")
def run_read(
    *, json: Json = None, quick: Quick = False, pairs: int = 15, records: int = 200_000, form: Form = Form.LINES
) -> None:
    """A job's records through the client, against bare GETs of the same objects; the LISTs of one status."""
    _finish(read(3 if quick else pairs, 20_000 if quick else records, form=form, quick=quick), json)


@app.command("import-time")
def run_import_time(*, json: Json = None, quick: Quick = False, runs: int = 7) -> None:
    """Seconds that `import backburner` takes in a fresh interpreter."""
    _finish(import_time(3 if quick else runs), json)


@app.command("ready")
def run_ready(*, json: Json = None, quick: Quick = False, pairs: int = 5, threads: int = 1) -> None:
    """From a process's start to its first answer: the bare engine, and a worker whose request waits on the queue."""
    _finish(ready(1 if quick else pairs, threads=threads, quick=quick), json)


@app.command("chaos")
def run_chaos(
    *,
    json: Json = None,
    seed: int = 1,
    faults: int = 20,
    requests: int = 200,
    queue: Queue = Queue.KAFKA,
    broker: Broker = Broker.TANSU,
    brokers: Annotated[int, typer.Option(help="How many; 3 of apache.")] = 1,
    engine: Engine = Engine.FAKE,
) -> None:
    """Faults from a seeded schedule under load, and an independent checker afterwards."""
    place = place_of(queue, broker, brokers)
    real = engine is Engine.REAL
    _judge(chaos(Options(seed=seed, faults=faults, requests=requests, place=place, real=real)), json)


@app.command("soak")
def run_soak(
    *,
    json: Json = None,
    seconds: float = 3600.0,
    requests: int = 100,
    queue: Queue = Queue.KAFKA,
    broker: Broker = Broker.TANSU,
    brokers: Annotated[int, typer.Option(help="How many; 3 of apache.")] = 1,
) -> None:
    """Load from the gateway to the store, and how fast the memory of every part grows; exit 1 if one grows too fast."""
    _judge(soak(seconds, requests, place_of(queue, broker, brokers)), json)


@app.command("poison")
def run_poison(
    *,
    json: Json = None,
    requests: int = 5000,
    poisoned: int = 3,
    in_flight: Annotated[int, typer.Option(help="So many in one engine at its first death, instead.")] = 0,
    one_by_one: Annotated[bool, typer.Option(help="Of those, try one suspect after the other.")] = False,
) -> None:
    """Requests of which a few kill the engine: only those fail, as dead letters, which are sent again at the end."""
    if in_flight:
        _judge(poison_in_flight(in_flight, poisoned, one_by_one=one_by_one), json)
    else:
        _judge(poison(requests, poisoned), json)


@app.command("job-latency")
def run_job_latency(
    *,
    json: Json = None,
    requests: int = 64,
    jobs: int = 9,
    queue: Queue = Queue.KAFKA,
    broker: Broker = Broker.TANSU,
    brokers: Annotated[int, typer.Option(help="How many; 3 of apache.")] = 1,
) -> None:
    """What a job takes outside of its engine, by stage, on a worker that is warm."""
    _judge(job_latency(requests, jobs, place_of(queue, broker, brokers)), json)


@app.command("recovery")
def run_recovery(
    *,
    json: Json = None,
    requests: int = 384,
    queue: Queue = Queue.KAFKA,
    broker: Broker = Broker.TANSU,
    brokers: Annotated[int, typer.Option(help="How many; 3 of apache.")] = 1,
) -> None:
    """A worker is killed in the middle of a job: nothing that was stored runs again; how long the next one takes."""
    _judge(recovery(requests, place_of(queue, broker, brokers)), json)


@app.command("rejoin")
def run_rejoin(json: Json = None, requests: int = 6000) -> None:
    """A third worker joins two under load: nothing that was finished and committed runs again."""
    _judge(rejoin(requests), json)


def _judge(report: Report, json: Path | None) -> None:
    report.write(json)
    report.show(Console())
    if not report.kept:
        raise typer.Exit(1)


@app.command("outage")
def run_outage(
    *,
    json: Json = None,
    quick: Quick = False,
    seconds: float = 60.0,
    requests: int = 200_000,
    only: Annotated[list[str] | None, Only] = None,
) -> None:
    """A worker's memory while the store, or the broker, is away or slow; exit 1 if it grows or anything is lost."""
    figures = outage(10.0 if quick else seconds, 40_000 if quick else requests, only or SYSTEMS)
    _finish(figures, json)
    if not figures.reached:
        raise typer.Exit(1)


@app.command("fuzz")
def run_fuzz(
    *,
    json: Annotated[Path | None, typer.Option(help="Where to write what came of the batches.")] = None,
    messages: int = 100_000,
    seed: int = 1,
    queue: FuzzQueue = FuzzQueue.TANSU,
    batches: Annotated[int, typer.Option(help="Whole batches of Kafka, instead of messages.")] = 0,
) -> None:
    """Hostile messages, or batches, among good ones: the worker lives, and each has the end that it should have."""
    verdict: BatchVerdict | FuzzVerdict
    if batches:
        verdict = fuzz_batches(batches, seed, queue)
        verdict.write(json)
    else:
        verdict = fuzz(messages, seed, queue)
    verdict.show(Console())
    if not verdict.clean:
        raise typer.Exit(1)


def _finish(figures: Figures, json: Path | None) -> None:
    figures.write(json)
    show(figures, Console())


if __name__ == "__main__":
    app()
