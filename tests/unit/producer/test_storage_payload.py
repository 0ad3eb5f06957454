"""What obstore is given to put."""

from pathlib import Path

from backburner.storage.storage import _owned


def test_obstore_gets_a_copy_that_no_python_object_is_behind():
    data = memoryview(b"one")
    payload = _owned(data)
    # Refused while anybody still uses the buffer.
    data.release()
    assert bytes(payload) == b"one"


def test_a_file_is_read_by_obstore_itself(tmp_path):
    assert _owned(tmp_path / "input.jsonl") == Path(tmp_path / "input.jsonl")
