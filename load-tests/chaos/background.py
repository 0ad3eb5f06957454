"""Tasks that go on beside what a scenario does: one that failed unseen would have judged nothing."""

import asyncio


async def ended(task: asyncio.Task[None]) -> None:
    """End a task that runs until it is cancelled. Raises what it failed with before, if it did."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
