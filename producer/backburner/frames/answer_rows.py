"""The whole way in one call: rows and a prompt in, the rows with their answers out."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, overload

from backburner.blocking.client import SyncClient
from backburner.client import Client
from backburner.frames.answer_columns import check_columns, joined
from backburner.frames.progress_line import ProgressLine
from backburner.frames.row_requests import OWN_NAMES, Prompt, requests_of
from backburner.frames.rows import Row, Rows
from backburner.submission.options import Deadline
from backburner.submission.submission import SubmitProgress
from backburner_schemas.names import Lane, Priority
from backburner_schemas.request import Endpoint, EndpointUrl
from backburner_schemas.status import BatchStatus

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame

_OWN_NAMES = (*OWN_NAMES, "client", "prefix", "job_id", "priority", "deadline", "timeout", "progress")
Progress = Callable[[SubmitProgress | BatchStatus], None]


@overload
def answer_rows(
    client: Client, rows: "IntoDataFrame | Iterable[Row]", prompt: Prompt, **options: Any
) -> Coroutine[Any, Any, Any]: ...
@overload
def answer_rows(client: SyncClient, rows: "IntoDataFrame | Iterable[Row]", prompt: Prompt, **options: Any) -> Any: ...
def answer_rows(
    client: Client | SyncClient,
    rows: "IntoDataFrame | Iterable[Row]",
    prompt: Prompt,
    *,
    custom_id: str | None = None,
    system: str | None = None,
    model: str | None = None,
    endpoint: EndpointUrl = Endpoint.CHAT,
    prefix: str = "",
    job_id: str | None = None,
    priority: Priority = Lane.NORMAL,
    deadline: Deadline | None = None,
    timeout: float | None = None,
    progress: Progress | None = None,
    extra_body: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Any:
    """Ask the prompt of each row, wait, and put the answers beside the rows. With a `Client` it is awaited.

    Rows, prompt and what goes into the bodies are as in `to_requests`, the answer's columns as in `to_frame`.
    `job_id`, `priority` and `deadline` are those of `Client.submit`: with a `job_id` of your own the same call again,
    also in a new kernel, goes on where the last one was, and sends nothing twice. Without a model it is the one that
    `Client.default_model` finds. It waits for `timeout` seconds at most, or for as long as it takes, and shows one
    line that says how far the job is, unless `progress` is another function. Interrupting it leaves the job running.

    Returns a DataFrame of the same library as the rows, of pandas where they are dicts. A request that failed has its
    code in `error`. Raises what `to_requests`, `to_frame`, `Client.submit` and `Job.wait` raise.

        from backburner.frames import answer_rows

        words = [{"word": "cat"}, {"word": "dog"}]
        french = await answer_rows(client, words, "Translate {word} into French.", max_tokens=8, temperature=0)
        print(french[["word", "text"]])
    """
    table = Rows(rows)
    check_columns(table, prefix)
    requests = requests_of(
        table,
        prompt,
        custom_id=custom_id,
        system=system,
        model=model,
        endpoint=endpoint,
        extra_body=extra_body,
        parameters=parameters,
        own_names=_OWN_NAMES,
    )
    # Made here: a blocking client calls it in a thread, which knows no cell.
    told: Progress = ProgressLine() if progress is None else progress

    async def run(client: Client) -> Any:
        job = await client.submit(
            requests,
            model=await client.default_model() if model is None else None,
            job_id=job_id,
            priority=priority,
            deadline=deadline,
            on_progress=told,
        )
        await job.wait(timeout=timeout, progress=told)
        records = [record async for record in job.results()]
        return joined(table, records, custom_id=custom_id, prefix=prefix, numbered=True)

    return client.run(run) if isinstance(client, SyncClient) else run(client)
