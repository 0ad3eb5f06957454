"""A worker that looks for notices at a metadata service of the test's, whose address BACKBURNER_TEST_METADATA has."""

import asyncio
import os

from backburner.logs import configure
from backburner_worker.app import run_worker
from backburner_worker.reclaim.aws import AwsNotices
from backburner_worker.settings import WorkerSettings


async def main() -> None:
    source = AwsNotices(os.environ["BACKBURNER_TEST_METADATA"])
    source.poll_seconds = 0.1
    await run_worker(WorkerSettings.load(), notices=[source])


configure("info")
asyncio.run(main())
