"""The chart's schema and README, made from the comments in values.yaml."""

import json

import chart_values
import jsonschema
import pytest

VALUES = """\
# A heading that belongs to nobody.

# -- Replicas of the gateway,
# at least one.
# @schema minimum: 1
replicas: 2

# -- The queue.
queue:
  # -- Where it is.
  # @schema required; minLength: 1
  url: kafka://broker:9092
  # -- How long messages stay.
  # @schema type: [integer, "null"]; minimum: 60
  retentionSeconds: null

# -- Labels on everything.
# @schema freeform
labels: {}

# -- The way in.
# @schema enum: [none, ingress]
kind: none

# -- Names that are served.
# @schema items: string; uniqueItems: true
hosts: []

workers:
  defaults:
    # -- GPUs of a pod.
    # @schema required; minimum: 0
    gpus: 1
    model:
      # -- Its name; letters only.
      # @schema pattern: '^[a-z;|]+$'
      name: small
  # -- The groups.
  # @schema entries: workers.defaults
  groups: {}
"""


@pytest.fixture
def schema():
    return chart_values.values_schema(chart_values.read_values(VALUES), {})


@pytest.fixture
def accepts(schema):
    def judge(values):
        return jsonschema.Draft7Validator(schema).is_valid(values)

    return judge


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"replicas": 1, "global": {"any": "thing"}},
        {"queue": {"url": "sqs://", "retentionSeconds": 60}},
        {"queue": {"url": "sqs://", "retentionSeconds": None}},
        {"labels": {"team": "search"}},
        {"kind": "ingress", "hosts": ["a", "b"]},
        {"workers": {"groups": {"chat": {"gpus": 2}, "code": {"model": {"name": "a;b|c"}}}}},
    ],
)
def test_what_the_comments_allow_is_accepted(accepts, values):
    assert accepts(values)


@pytest.mark.parametrize(
    "values",
    [
        {"replica": 1},
        {"replicas": 0},
        {"replicas": "2"},
        {"queue": {}},
        {"queue": {"url": ""}},
        {"queue": {"url": "sqs://", "retentionSeconds": 59}},
        {"queue": {"url": "sqs://", "retention": 60}},
        {"kind": "route"},
        {"hosts": [1]},
        {"hosts": ["a", "a"]},
        {"workers": {"defaults": {"model": {}}}},
        {"workers": {"groups": {"chat": {"gpu": 2}}}},
        {"workers": {"groups": {"chat": {"model": {"name": "Big"}}}}},
    ],
)
def test_what_they_do_not_allow_is_refused(accepts, values):
    assert not accepts(values)


def test_rules_of_the_side_file_are_merged_into_the_schema(schema):
    rule = {"if": {"properties": {"kind": {"const": "ingress"}}, "required": ["kind"]}, "then": {"required": ["hosts"]}}
    groups = {"properties": {"groups": {"additionalProperties": {"required": ["gpus"]}}}}
    joined = chart_values.merged(schema, {"allOf": [rule], "properties": {"workers": groups}})
    judge = jsonschema.Draft7Validator(joined).is_valid
    assert judge({"kind": "none"})
    assert not judge({"kind": "ingress"})
    assert judge({"workers": {"defaults": {"gpus": 1}, "groups": {"chat": {"gpus": 1}}}})
    assert not judge({"workers": {"defaults": {"gpus": 1}, "groups": {"chat": {}}}})
    assert not judge({"workers": {"defaults": {"gpus": 1}, "groups": {"chat": {"gpus": 1, "cpu": 1}}}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "a: no comment says what it is"),
        ("a:\n  # Not in the form.\n  b: 1", r"a\.b: no comment"),
        ("# -- A.\na: null", "a: null says nothing"),
        ("# -- A.\na: {}", "a: an empty map takes no key"),
        ("# -- A.\n# @schema minumum: 1\na: 1", "a: @schema does not know 'minumum'"),
        ("# -- A.\n# @schema entries: b.c\na: {}", r"a: entries names b\.c, which is not"),
    ],
)
def test_a_comment_that_leaves_something_open_is_refused_by_its_key(text, said):
    with pytest.raises(chart_values.ValuesError, match=said):
        chart_values.values_schema(chart_values.read_values(text), {})


def test_the_readme_tells_every_value_and_keeps_what_was_written_around_it():
    values = chart_values.read_values(VALUES)
    first = chart_values.readme("# Chart\n\nInstall it.\n", values)
    assert first.startswith("# Chart\n\nInstall it.\n\n## Values\n")
    assert "| `replicas` | integer, from 1 | `2` | Replicas of the gateway, at least one. |" in first
    assert "| `queue.retentionSeconds` | integer or null, from 60 | `null` | How long messages stay. |" in first
    assert "| `kind` | `none` or `ingress` | `none` |" in first
    assert "| `workers.groups` | map of names, each with the keys of `workers.defaults` |" in first
    changed = chart_values.readme(
        first + "The end.\n", chart_values.read_values(VALUES.replace("replicas: 2", "replicas: 3"))
    )
    assert "| `replicas` | integer, from 1 | `3` |" in changed
    assert "integer, from 1 | `2`" not in changed
    assert changed.endswith("The end.\n")
    assert changed.count("## Values") == 1


def test_a_stale_file_is_named_and_written_anew(tmp_path, capsys, monkeypatch):
    (tmp_path / "values.yaml").write_text(VALUES)
    command = ["chart_values.py", "--chart", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    assert chart_values.main() == 0
    monkeypatch.setattr("sys.argv", [*command, "--check"])
    assert chart_values.main() == 0
    (tmp_path / "values.yaml").write_text(VALUES.replace("replicas: 2", "replicas: 3"))
    assert chart_values.main() == 1
    assert "README.md of the chart is stale; run `make docs`" in capsys.readouterr().err
    assert json.loads((tmp_path / "values.schema.json").read_text())["properties"]["replicas"]["minimum"] == 1
