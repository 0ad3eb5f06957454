"""Calls into a library that answers from threads of its own; here one that does so when it is told to."""

import _thread
import asyncio
import gc
import threading
import weakref
from pickle import PickleBuffer

import obstore
import pytest
from obstore.store import MemoryStore
from waiting import until

from backburner.storage.native_calls import NativeCalls

BOUND = 30


class Library:
    """Speaks to the running loop as obstore does."""

    def __init__(self):
        self.called = threading.Event()
        self.dropped = threading.Event()

    def ask(self):
        self.loop = asyncio.get_running_loop()
        self.future = self.loop.create_future()
        self.future.add_done_callback(self.done)
        self.called.set()
        return self.future

    def done(self, future):
        if future.cancelled():
            assert not self.dropped.is_set()
            self.dropped.set()

    def answer(self, value):
        thread = threading.Thread(target=self.hand_over, args=(value,))
        thread.start()
        thread.join()

    def hand_over(self, value):
        if not self.future.cancelled():
            give = self.future.set_exception if isinstance(value, Exception) else self.future.set_result
            self.loop.call_soon_threadsafe(None, self.future, give, value, context=None)


@pytest.fixture
def library():
    return Library()


@pytest.fixture
def calls():
    return NativeCalls()


async def test_an_answer_and_an_error_reach_whoever_asked(library, calls):
    task = asyncio.create_task(calls.run(library.ask))
    await asyncio.to_thread(library.called.wait, BOUND)
    library.answer("yes")
    assert await task == "yes"
    library.called.clear()
    task = asyncio.create_task(calls.run(library.ask))
    await asyncio.to_thread(library.called.wait, BOUND)
    library.answer(OSError("no"))
    with pytest.raises(OSError, match="no"):
        await task
    assert calls.end(BOUND)


async def test_what_a_call_ends_with_is_forgotten_without_the_garbage_collector(calls):
    async def ends() -> weakref.ref:
        kept = Library()  # As long as the error, which keeps this frame.
        with pytest.raises(FileNotFoundError):
            await calls.run(obstore.head_async, MemoryStore(), "nothing")
        return weakref.ref(kept)

    def is_forgotten() -> bool:
        # The library's thread may hold the error for a moment. If it lets go of it without the interpreter's lock,
        # the library counts that with the next call into it.
        MemoryStore()
        return forgotten() is None

    gc.disable()
    try:
        forgotten = await ends()
        await until(is_forgotten, "the error to be forgotten")
    finally:
        gc.enable()


async def test_the_running_loop_is_the_callers_again(calls):
    loop = asyncio.get_running_loop()

    def refuse():
        assert asyncio.get_running_loop() is not loop
        raise ValueError("bad arguments")

    with pytest.raises(ValueError, match="bad"):
        await calls.run(refuse)
    assert asyncio.get_running_loop() is loop
    assert calls.end(BOUND)


async def test_a_cancelled_call_is_dropped_and_under_way_until_its_thread_has_come(library, calls):
    task = asyncio.create_task(calls.run(library.ask))
    await asyncio.to_thread(library.called.wait, BOUND)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert library.dropped.is_set()
    assert not calls.end(0)
    library.answer("too late")
    assert calls.end(BOUND)


def test_the_end_drops_calls_whose_loop_does_not_run(library, calls):
    loop = asyncio.new_event_loop()
    task = loop.create_task(calls.run(library.ask))
    loop.run_until_complete(asyncio.sleep(0))
    assert not calls.end(0)
    assert library.dropped.is_set()
    library.answer("too late")
    assert calls.end(BOUND)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def test_an_answer_for_a_closed_loop_is_no_trouble(library, calls):
    loop = asyncio.new_event_loop()
    task = loop.create_task(calls.run(library.ask))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    library.answer("too late")
    assert calls.end(BOUND)
    task._log_destroy_pending = False


def test_the_end_waits_for_a_thread_that_is_inside_python(library, calls):
    inside, go = threading.Event(), threading.Event()

    class Loop(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, *arguments, **named):
            super().call_soon_threadsafe(*arguments, **named)
            inside.set()
            go.wait(BOUND)

    loop = Loop()
    task = loop.create_task(calls.run(library.ask))
    loop.run_until_complete(asyncio.sleep(0))
    # As the library does: Python knows nothing of the thread.
    _thread.start_new_thread(library.hand_over, ("yes",))
    assert inside.wait(BOUND)
    assert not calls.end(0)
    go.set()
    assert calls.end(BOUND)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


async def test_a_thread_of_pythons_own_that_has_the_number_of_one_that_is_gone_is_not_waited_for(library, calls):
    task = asyncio.create_task(calls.run(library.ask))
    await asyncio.to_thread(library.called.wait, BOUND)
    library.hand_over("yes")  # Here: this thread's number is known from now on.
    assert await task == "yes"
    assert calls.end(0)


async def test_nothing_is_asked_after_the_end(library, calls):
    assert calls.end(BOUND)
    with pytest.raises(RuntimeError, match="shutting down"):
        await calls.run(library.ask)
    assert calls.end(BOUND)


def test_bytes_are_lent_until_the_library_has_let_go_of_them(calls):
    with calls.lend(b"one") as view:
        assert bytes(view) == b"one"
        used = PickleBuffer(view)
    assert not calls.end(0)
    used.release()
    assert calls.end(BOUND)


def test_bytes_that_were_kept_are_asked_for_again_with_the_next(calls):
    with calls.lend(b"one") as first:
        used = PickleBuffer(first)
    used.release()
    with calls.lend(b"two"):
        pass
    with pytest.raises(ValueError, match="released"):
        bytes(first)


async def test_a_forked_child_waits_for_nothing_of_its_parents(library, calls):
    task = asyncio.create_task(calls.run(library.ask))
    await asyncio.to_thread(library.called.wait, BOUND)
    calls.forget()
    assert calls.end(BOUND)
    library.answer("yes")
    assert await task == "yes"
