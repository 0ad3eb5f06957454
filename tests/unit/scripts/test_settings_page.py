"""The settings page: every setting once, under the heading of its group, in words that need no other row."""

import re

import docs
import pytest
from pydantic import BaseModel

from backburner_schemas.setting_names import SETTING_NAMES

ROW = re.compile(r"^\| `(BACKBURNER_\w+)` \|.*\| (.+) \|$")
ELSEWHERE = re.compile(
    r"^(Their|Its|The same|Likewise|Also)\b|\b(as|the two|the one|named|row|setting) (above|below)\b"
)


@pytest.fixture
def page():
    return docs.settings_page()


def rows(page):
    return [found.groups() for line in page.splitlines() if (found := ROW.match(line))]


def test_every_setting_has_one_row(page):
    names = [name for name, _ in rows(page)]
    assert sorted(names) == sorted(SETTING_NAMES)


def test_a_setting_is_below_the_heading_of_its_group(page):
    assert "`BACKBURNER_KAFKA_SECURITY_PROTOCOL`" in page.partition("\n### Kafka\n")[2].partition("\n### ")[0]
    assert "`BACKBURNER_SEGMENT_MAX_BYTES`" in page.partition("\n### Segments\n")[2].partition("\n### ")[0]


def test_every_row_can_be_read_alone(page):
    assert [text for _, text in rows(page) if ELSEWHERE.search(text)] == []
    # No two say the same, as they would if one left out what it is about.
    texts = [text for _, text in rows(page)]
    assert len(set(texts)) == len(texts)


def test_a_group_without_a_heading_is_refused():
    class Nameless(BaseModel):
        """What has no heading."""

    with pytest.raises(SystemExit, match="Nameless has no heading"):
        list(docs.settings_sections([Nameless]))
