"""The interpreter does not end while a native library's thread is inside Python."""

import subprocess
import sys


def test_it_waits_for_threads_that_python_does_not_know():
    # In a program of its own: whatever runs the tests may have such threads too.
    program = (
        "import _thread\n"
        "from backburner.leaving import let_threads_leave\n"
        "inside, go, left = (_thread.allocate_lock() for _ in range(3))\n"
        "for lock in (inside, go, left):\n"
        "    lock.acquire()\n"
        "def foreign():\n"
        "    inside.release()\n"
        "    go.acquire()\n"
        "    left.release()\n"
        "_thread.start_new_thread(foreign, ())\n"
        "inside.acquire()\n"
        "assert not let_threads_leave(0.0)\n"
        "go.release()\n"
        "left.acquire()\n"
        "assert let_threads_leave(30)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0


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
