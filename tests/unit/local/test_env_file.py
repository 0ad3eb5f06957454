import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.local.control import env_file
from backburner_schemas.errors import SettingsError

KEYS = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",)), max_size=40)


@given(values=st.dictionaries(KEYS, VALUES, max_size=8))
def test_what_is_written_is_read_back(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("env") / "env"
    env_file.write(path, values)
    assert env_file.read(path) == values


def test_a_shell_reads_awkward_values_as_they_are(tmp_path):
    path = tmp_path / "env"
    value = 'it\'s $HOME `id` "quoted" \\ # and\ttabs'
    env_file.write(path, {"AWKWARD": value})
    shell = f'. {path}; printf %s "$AWKWARD"'
    assert subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout == value


def test_each_line_is_an_export_in_single_quotes(tmp_path):
    path = tmp_path / "env"
    env_file.write(path, {"BACKBURNER_HTTP_PORT": "0", "BACKBURNER_POOL": "fake"})
    assert path.read_text() == "export BACKBURNER_HTTP_PORT='0'\nexport BACKBURNER_POOL='fake'\n"


def test_it_is_private_even_where_it_was_not_before(tmp_path):
    path = tmp_path / "env"
    path.write_text("")
    path.chmod(0o644)
    env_file.write(path, {"AWS_SECRET_ACCESS_KEY": "secret"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_missing_or_damaged_is_an_error_with_a_remedy(tmp_path):
    path = tmp_path / "env"
    with pytest.raises(SettingsError, match="backburner up"):
        env_file.read(path)
    path.write_text("export A='unfinished")
    with pytest.raises(SettingsError, match="delete it"):
        env_file.read(path)
    path.write_text("rm -rf elsewhere\n")
    with pytest.raises(SettingsError, match="delete the file"):
        env_file.read(path)
