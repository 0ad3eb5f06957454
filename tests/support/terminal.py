"""The command line over a system in memory: each command has a client of its own, as processes would."""

import asyncio
import json
from pathlib import Path

from typer.testing import CliRunner

from backburner.cli.app import app
from backburner.cli.session import Session
from backburner.testing import FakeSystem


class _Session(Session):
    """Reaches the fake system, whatever the settings say."""

    def __init__(self, system, open_client):
        super().__init__()
        self._system = system
        self._open_client = open_client

    def open_client(self):
        return self._open_client()

    def open_storage(self):
        return self._system.storage


class Terminal:
    """Runs command lines against one fake system, in one folder."""

    def __init__(self, system: FakeSystem, folder: Path) -> None:
        self.system = system
        self.folder = folder

    def __call__(self, *args, code=0, stdin=None, client=None):
        """Run a command, which has to end with that exit code; what it printed."""
        result = CliRunner().invoke(app, [str(arg) for arg in args], obj=self.session(client), input=stdin)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def session(self, client=None):
        """What a command reaches the system by."""
        return _Session(self.system, client or self.system.new_client)

    def file(self, *lines, name="input.jsonl"):
        """A file of these lines; its path."""
        path = self.folder / name
        path.write_text("".join(line + "\n" for line in lines))
        return path

    def submitted(self, *custom_ids):
        """Submit a file with a request of each of these ids; the job's id."""
        return self("submit", self.file(*map(request_line, custom_ids))).stdout.strip()

    def put(self, key, data):
        """Store an object, as another process could have."""
        asyncio.run(self.system.storage.put(key, data))


def request_line(custom_id, **changes):
    """A line of a batch file."""
    request = {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": [{"role": "user", "content": f"question of {custom_id}"}]},
    }
    return json.dumps({**request, **changes})


def records(text):
    """The JSON objects, one a line, that a command printed."""
    return [json.loads(line) for line in text.splitlines()]
