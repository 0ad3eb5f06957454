"""Importing the package costs next to nothing and takes nothing heavy with it."""

import subprocess
import sys

HEAVY = ("torch", "vllm", "aiokafka", "boto3", "fastapi", "obstore", "transformers", "numpy", "rich", "typer")


def modules_after(code):
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_package_imports_nothing_heavy():
    loaded = modules_after("import backburner")
    assert not loaded & {*HEAVY, "pydantic"}


def test_the_client_imports_no_broker_and_no_engine():
    loaded = modules_after("from backburner import Client, SyncClient; Client; SyncClient")
    assert not loaded & {*HEAVY, "backburner_worker"} - {"obstore", "rich", "typer"}


def test_a_client_that_only_reads_imports_no_broker():
    code = (
        "import asyncio\n"
        "from backburner import Client\n"
        "async def main():\n"
        "    async with Client(store_url='memory:///', queue_url='kafka://127.0.0.1:1') as client:\n"
        "        await client.pools()\n"
        "asyncio.run(main())\n"
    )
    assert "aiokafka" not in modules_after(code)
