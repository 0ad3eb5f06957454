"""What a long-lived process tells the C library about its memory."""

import asyncio
import ctypes
from types import SimpleNamespace

import pytest

from backburner.process import memory
from backburner.process.memory import keep_few_arenas, trim_memory

BOUND_SECONDS = 30.0


def library(monkeypatch, **functions):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(**functions))


async def test_free_memory_is_given_back_again_and_again(monkeypatch):
    monkeypatch.setattr(memory, "_TRIM_SECONDS", 0.0)
    loop, twice, kept = asyncio.get_running_loop(), asyncio.Event(), []

    def trim(kept_bytes):
        kept.append(kept_bytes)
        if len(kept) == 2:
            loop.call_soon_threadsafe(twice.set)

    library(monkeypatch, malloc_trim=trim)
    task = asyncio.create_task(trim_memory())
    async with asyncio.timeout(BOUND_SECONDS):
        await twice.wait()
    task.cancel()
    assert kept[:2] == [0, 0]


def test_threads_share_two_arenas(monkeypatch):
    told = []
    library(monkeypatch, mallopt=lambda *option: told.append(option))
    keep_few_arenas()
    assert told == [(-8, 2)]


async def test_another_c_library_is_left_alone(monkeypatch):
    library(monkeypatch)
    keep_few_arenas()
    async with asyncio.timeout(BOUND_SECONDS):
        await trim_memory()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_glibc_takes_it():
    assert ctypes.CDLL(None).mallopt(memory._ARENA_MAX_CODE, memory._MAX_ARENAS) == 1
