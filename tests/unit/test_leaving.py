"""The interpreter does not end while a native library's thread is inside Python."""

import _thread
import subprocess
import sys

from backburner.leaving import let_threads_leave


def test_it_waits_for_threads_that_python_does_not_know():
    inside, go, left = (_thread.allocate_lock() for _ in range(3))
    for lock in (inside, go, left):
        lock.acquire()

    def foreign():
        inside.release()
        go.acquire()
        left.release()

    _thread.start_new_thread(foreign, ())
    inside.acquire()
    assert not let_threads_leave(0.0)
    go.release()
    left.acquire()
    assert let_threads_leave(10)


def test_a_program_that_used_the_store_ends_well():
    program = (
        "import asyncio\n"
        "from backburner.settings import Settings\n"
        "from backburner.storage import Storage\n"
        "async def use(storage):\n"
        "    await storage.put('a', b'1')\n"
        "    await storage.get('a')\n"
        "async def main():\n"
        "    storage = Storage.open(Settings.load(store_url='memory:///'))\n"
        "    await asyncio.gather(*(use(storage) for _ in range(20)))\n"
        "asyncio.run(main())\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(8)]
    assert [process.wait(60) for process in running] == [0] * 8
