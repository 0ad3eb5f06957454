"""From Airflow: submit a job, and wait for its end without holding a slot.

The task submits and defers. From then on a trigger waits, hundreds of them in one triggerer process, and the task comes
back when the job has ended. A task that is tried again finds its job by its id and submits nothing twice.

Put this file where DAGs and triggerer find it by its name `airflow_dag`, the plugins folder say, and give both
BACKBURNER_QUEUE_URL, BACKBURNER_STORE_URL and what belongs to them. docs/airflow.md tells more.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.exceptions import AirflowException
from airflow.sdk import DAG, BaseOperator, Context
from airflow.triggers.base import BaseTrigger, TriggerEvent

from backburner import Client


class BackburnerJobTrigger(BaseTrigger):
    """Fires once the job has ended, however it ended."""

    def __init__(self, job_id: str, tenant: str | None = None) -> None:
        super().__init__()
        self.job_id = job_id
        self.tenant = tenant

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what a triggerer makes the same trigger of, in another process."""
        return "airflow_dag.BackburnerJobTrigger", {"job_id": self.job_id, "tenant": self.tenant}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job, and say how it ended."""
        async with Client() as client:
            status = await client.job(self.job_id, tenant=self.tenant).wait()
        counts = status.request_counts
        ended = {"job": self.job_id, "state": str(status.status)}
        yield TriggerEvent({**ended, "completed": counts.completed, "failed": counts.failed})


class BackburnerOperator(BaseOperator):
    """Runs the requests of a JSONL file as one job. Its XCom is the job's id, by which later tasks read the results.

    It fails where the job was cancelled or has expired, and where more than `max_failed` requests ended with an error.
    """

    template_fields: Sequence[str] = ("source", "model", "metadata")

    def __init__(
        self,
        *,
        source: str,
        model: str | None = None,
        tenant: str | None = None,
        priority: str = "low",
        deadline_seconds: float = 24 * 3600,
        metadata: dict[str, str] | None = None,
        max_failed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.source = source
        self.model = model
        self.tenant = tenant
        self.priority = priority
        self.deadline_seconds = deadline_seconds
        self.metadata = metadata
        self.max_failed = max_failed

    def execute(self, context: Context) -> None:
        """Submit, and give the slot back."""
        job_id = job_id_of(context)
        asyncio.run(self._submit(job_id))
        self.log.info("job %s is submitted", job_id)
        self.defer(trigger=BackburnerJobTrigger(job_id, self.tenant), method_name="ended")

    def ended(self, context: Context, event: dict[str, Any]) -> str:  # noqa: ARG002 - Airflow passes it
        """Called with what the trigger saw, in a new process."""
        job_id: str = event["job"]
        self.log.info("job %s is %s: %s", job_id, event["state"], event)
        if event["state"] != "completed":
            raise AirflowException(f"job {job_id} is {event['state']}")
        if event["failed"] > self.max_failed:
            raise AirflowException(f"{event['failed']} requests of job {job_id} failed, {self.max_failed} may")
        return job_id

    async def _submit(self, job_id: str) -> None:
        async with Client() as client:
            await client.submit(
                self.source,
                job_id=job_id,
                model=self.model,
                tenant=self.tenant,
                priority=self.priority,
                deadline=self.deadline_seconds,
                metadata=self.metadata,
            )


def job_id_of(context: Context) -> str:
    """The same id for each try of the task, and another one for each run of the DAG and each mapped task."""
    task = context["ti"]
    name = f"{task.dag_id}/{task.task_id}/{task.map_index}/{task.run_id}"
    return f"airflow-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


class CountAnswers(BaseOperator):
    """Reads a job's results."""

    template_fields: Sequence[str] = ("job_id",)

    def __init__(self, *, job_id: str, **options: Any) -> None:
        super().__init__(**options)
        self.job_id = job_id

    def execute(self, context: Context) -> int:  # noqa: ARG002 - Airflow passes it
        """Return how many requests have an answer."""
        return asyncio.run(self._count())

    async def _count(self) -> int:
        async with Client() as client:
            return len([record async for record in client.job(self.job_id).results() if record.error is None])


with DAG(dag_id="backburner_nightly", schedule=None, catchup=False) as dag:
    answers = BackburnerOperator(
        task_id="answers",
        source=os.environ.get("PROMPTS", "examples/prompts.jsonl"),
        model=os.environ.get("MODEL"),
        retries=2,
    )
    count = CountAnswers(task_id="count", job_id="{{ ti.xcom_pull(task_ids='answers') }}")
    answers >> count

if __name__ == "__main__":
    # The whole way in one process, the trigger among it:  PROMPTS=prompts.jsonl python examples/airflow_dag.py
    sys.exit(0 if dag.test().state == "success" else 1)
