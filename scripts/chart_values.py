"""Writes the chart's values schema and the table of values in its README from the comments in values.yaml.

    python scripts/chart_values.py [--check]

Above each key stands what it is, `# -- text`, on as many comment lines as it needs, and before or after that, if the
default does not say it all, what values it takes, `# @schema WORD; WORD: VALUE; …`:

- `type: [string, "null"]`, `enum: […]`, `minimum: 0`, `pattern: …` and the like: as in JSON Schema, values in YAML.
- `required`: the map that the key is in cannot do without it. `required: [a, b]`: this map needs those.
- `items: string` or `items: {type: …}`: what a list holds. Without it, as in the default; if that is empty, anything.
- `freeform`: a map that takes any key, as labels do.
- `entries: a.path`: a map of names to maps, each with the keys of the map at that path, none of them required.
  `entries: {…}`: a map of names to what that JSON Schema says.

Every other map takes the keys that it has and no more. What depends on another value stands in schema-rules.json beside
values.yaml: a piece of JSON Schema that is merged into the whole, maps key by key, `allOf` and `required` joined.
Exit status 1 from `--check` means that a file is stale; `make docs` writes it anew.
"""

import argparse
import copy
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

CHART = Path(__file__).resolve().parent.parent / "helm" / "backburner"
DRAFT = "https://json-schema.org/draft-07/schema#"
BEGIN = "<!-- Values: written by scripts/chart_values.py from values.yaml: change that, then run `make docs`. -->"
END = "<!-- End of values. -->"
GLOBAL: Schema = {"type": "object", "description": "What Helm hands down from a chart that this one is part of."}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_JOINED = frozenset({"allOf", "required"})
_OWN_WORDS = frozenset({"entries", "freeform", "items", "required"})
_COMBINED = frozenset({"allOf", "anyOf", "const", "enum", "not", "oneOf"})
_OF_NUMBERS = frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"})
_OF_TEXTS = frozenset({"format", "maxLength", "minLength", "pattern"})
_OF_LISTS = frozenset({"maxItems", "minItems", "uniqueItems"})
_OF_MAPS = frozenset({"additionalProperties", "maxProperties", "minProperties", "patternProperties", "propertyNames"})
_WORDS = _COMBINED | _OF_NUMBERS | _OF_TEXTS | _OF_LISTS | _OF_MAPS | {"type"}
_KNOWN = _WORDS | _OWN_WORDS
_MAX_DEFAULT_CHARACTERS = 60


class ValuesError(Exception):
    """A comment in values.yaml cannot be understood; the message names its key and says what to write."""


@dataclass
class Value:
    """One key of values.yaml: what it is by default, what its comment says, and the keys inside it."""

    path: tuple[str, ...]
    default: Any
    text: str
    words: dict[str, Any]
    inside: list["Value"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The path with dots, as `helm --set` takes it."""
        return ".".join(self.path)

    @property
    def is_map(self) -> bool:
        """Whether it takes these keys and no others."""
        return isinstance(self.default, dict) and not self.words.keys() & {"entries", "freeform", "type"}


# --- values.yaml ----------------------------------------------------------------------------------------------------


def read_values(text: str) -> list[Value]:
    """The top level's keys, each with all that is inside it."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValuesError("values.yaml has to be a map")
    return list(_keys(root, yaml.safe_load(text), (), text.splitlines()))


def _keys(
    node: yaml.MappingNode, default: Mapping[str, Any], path: tuple[str, ...], lines: list[str]
) -> Iterator[Value]:
    for key, inner in node.value:
        here = (*path, str(key.value))
        value = default[key.value]
        text, words = _comment(lines, key.start_mark.line, key.start_mark.column, ".".join(here))
        found = Value(here, value, text, words)
        if found.is_map and isinstance(inner, yaml.MappingNode):
            if not value:
                raise ValuesError(f"{found.name}: an empty map takes no key; add `# @schema freeform` or entries")
            found.inside = list(_keys(inner, value, here, lines))
        elif not text:
            raise ValuesError(f"{found.name}: no comment says what it is; write `# -- …` above it")
        yield found


def _comment(lines: list[str], line: int, column: int, name: str) -> tuple[str, dict[str, Any]]:
    """What the comment lines right above a key say: its text, and the words for its schema."""
    above: list[str] = []
    while line > 0 and lines[line - 1].startswith(" " * column + "#"):
        line -= 1
        above.insert(0, lines[line].strip().removeprefix("#").strip())
    sentences: list[str] = []
    words: dict[str, Any] = {}
    begun = False
    for said in above:
        if said.startswith("@schema"):
            words |= _words(said.removeprefix("@schema"), name)
        elif said.startswith("--"):
            # What stood before is a heading or a key that is commented out.
            sentences, begun = [said.removeprefix("--").strip()], True
        elif begun:
            sentences.append(said)
    return " ".join(filter(None, sentences)), words


def _words(text: str, name: str) -> dict[str, Any]:
    """`enum: [a, b]; minimum: 0` as a map."""
    found: dict[str, Any] = {}
    for part in _parts(text):
        word, colon, value = part.partition(":")
        word = word.strip()
        if word not in _KNOWN:
            raise ValuesError(f"{name}: @schema does not know {word!r}; it knows {', '.join(sorted(_KNOWN))}")
        try:
            found[word] = yaml.safe_load(value) if colon else True
        except yaml.YAMLError as error:
            raise ValuesError(f"{name}: {value.strip()!r} of @schema {word} is no YAML; quote it") from error
    return found


def _parts(text: str) -> Iterator[str]:
    """What semicolons separate, but for those in quotes or brackets."""
    part, quote, depth = "", "", 0
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        if letter == ";" and not quote and not depth:
            yield part
            part = ""
        else:
            part += letter
    if part.strip():
        yield part


# --- the schema -----------------------------------------------------------------------------------------------------


def values_schema(values: list[Value], rules: Schema) -> Schema:
    """The JSON Schema of all values, with the rules merged into it."""
    schema: Schema = {"$schema": DRAFT, "title": "Values of the chart backburner", **_map_schema(values)}
    schema["properties"].setdefault("global", GLOBAL)
    _fill_entries(values, schema, schema)
    return merged(schema, rules)


def _map_schema(values: list[Value]) -> Schema:
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {value.path[-1]: _schema(value) for value in values},
    }
    required = [value.path[-1] for value in values if value.words.get("required") is True]
    return schema | ({"required": required} if required else {})


def _schema(value: Value) -> Schema:
    described: Schema = {"description": value.text} if value.text else {}
    constraints = {word: said for word, said in value.words.items() if word in _WORDS}
    if isinstance(needed := value.words.get("required"), list):
        constraints["required"] = needed
    if value.is_map:
        return described | _map_schema(value.inside) | constraints
    if "entries" in value.words or "freeform" in value.words:
        return described | {"type": "object"} | constraints
    schema = described | {"type": _type_of(value)} | constraints
    if schema.keys() & {"enum", "const", "anyOf", "oneOf"} and "type" not in constraints:
        del schema["type"]
    if isinstance(value.default, list) and (items := _items(value)):
        schema["items"] = items
    return schema


def _type_of(value: Value) -> str | list[str]:
    if value.default is None and not value.words.keys() & {"type", "enum", "const", "anyOf", "oneOf"}:
        raise ValuesError(f'{value.name}: null says nothing; add its types, `# @schema type: [string, "null"]`')
    return _TYPES.get(type(value.default), "null")


def _items(value: Value) -> Schema:
    said = value.words.get("items")
    if isinstance(said, dict):
        return said
    if said is not None:
        return {"type": said}
    types = sorted({_TYPES[type(item)] for item in value.default})
    return {"type": types[0] if len(types) == 1 else types} if types else {}


def _fill_entries(values: list[Value], within: Schema, whole: Schema) -> None:
    """Give each map of names the schema of what its names stand for."""
    for value in values:
        schema = within["properties"][value.path[-1]]
        _fill_entries(value.inside, schema, whole)
        match value.words.get("entries"):
            case str(path):
                schema["additionalProperties"] = _without_required(_at(path, whole, value.name))
            case dict(entry):
                schema["additionalProperties"] = entry
            case None:
                pass
            case other:
                raise ValuesError(f"{value.name}: entries is a path or a schema, not {other!r}")


def _at(path: str, whole: Schema, name: str) -> Schema:
    schema = whole
    for key in path.split("."):
        schema = schema.get("properties", {}).get(key)
        if schema is None:
            raise ValuesError(f"{name}: entries names {path}, which is not in values.yaml")
    return schema


def _without_required(schema: Schema) -> Schema:
    """A copy in which every key may be left out."""
    bare = {word: value for word, value in copy.deepcopy(schema).items() if word not in {"required", "description"}}
    if "properties" in bare:
        bare["properties"] = {
            key: _without_required(inner) | {word: inner[word] for word in ("description",) if word in inner}
            for key, inner in bare["properties"].items()
        }
    return bare


def merged(schema: Schema, rules: Mapping[str, Any]) -> Schema:
    """The schema with the rules laid over it."""
    result = dict(schema)
    for word, said in rules.items():
        known = result.get(word)
        if isinstance(known, dict) and isinstance(said, dict):
            result[word] = merged(known, said)
        elif word in _JOINED and isinstance(known, list) and isinstance(said, list):
            result[word] = known + [one for one in said if one not in known]
        else:
            result[word] = said
    return result


# --- the README -----------------------------------------------------------------------------------------------------


def values_tables(values: list[Value]) -> str:
    """One table for each map of the top level, and one for what else is there."""
    lines = [BEGIN, ""]
    single = [value for value in values if not value.inside]
    if single:
        lines += ["### Top level", "", *_table(single)]
    for value in values:
        if value.inside:
            lines += [f"### `{value.name}`", "", *([value.text, ""] if value.text else []), *_table(value.inside)]
    return "\n".join([*lines, END])


def _table(values: list[Value]) -> Iterator[str]:
    yield "| value | takes | default | what it is |"
    yield "| --- | --- | --- | --- |"
    for value in _leaves(values):
        cells = [f"`{value.name}`", _takes(value), _default(value.default), value.text]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _leaves(values: list[Value]) -> Iterator[Value]:
    for value in values:
        if value.inside:
            yield from _leaves(value.inside)
        else:
            yield value


def _takes(value: Value) -> str:
    """What values a key takes, in words."""
    schema = _schema(value)
    if "entries" in value.words:
        entries = value.words["entries"]
        return f"map of names, each with the keys of `{entries}`" if isinstance(entries, str) else "map of names"
    if "enum" in schema:
        return " or ".join(_code(one) for one in schema["enum"])
    types = schema.get("type", "any")
    words = " or ".join(types) if isinstance(types, list) else str(types)
    if words == "object":
        words = "map"
    if words == "array":
        items = schema.get("items", {}).get("type")
        words = f"list of {items}s" if isinstance(items, str) else "list"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "up to")) if key in schema]
    return ", ".join([words, *bounds])


def _default(default: Any) -> str:
    text = json.dumps(default, ensure_ascii=False)
    return _code(default) if len(text) <= _MAX_DEFAULT_CHARACTERS else "see values.yaml"


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False) if not isinstance(value, str) or not value else value}`"


def readme(text: str, values: list[Value]) -> str:
    """The README with the tables in the place of those that it had, or at its end."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and not end:
        raise ValuesError(f"README.md begins the values and never ends them; put {END} below them")
    if not begin:
        before, after = (text.rstrip("\n") + "\n\n" if text else "# backburner\n\n") + "## Values\n\n", "\n"
    return before + values_tables(values) + after


# --- files ----------------------------------------------------------------------------------------------------------


def files(chart: Path = CHART) -> dict[Path, str]:
    """Every file that is written from that chart's values, and its text.

    Raises `ValuesError` where a comment in values.yaml cannot be understood.
    """
    values = read_values((chart / "values.yaml").read_text(encoding="utf-8"))
    rules_file, readme_file = chart / "schema-rules.json", chart / "README.md"
    rules = json.loads(rules_file.read_text(encoding="utf-8")) if rules_file.is_file() else {}
    schema = json.dumps(values_schema(values, rules), indent=2, ensure_ascii=False) + "\n"
    now = readme_file.read_text(encoding="utf-8") if readme_file.is_file() else ""
    return {chart / "values.schema.json": schema, readme_file: readme(now, values)}


def main() -> int:
    """Write or compare the files; the exit status."""
    parser = argparse.ArgumentParser(description="Write the schema and the README's tables from the chart's values.")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if a file is stale")
    parser.add_argument("--chart", type=Path, default=CHART, help="the chart's folder")
    options = parser.parse_args()
    try:
        texts = files(options.chart)
    except ValuesError as error:
        sys.exit(f"chart values: {error}")
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if options.check:
            print(f"chart values: {path.name} of the chart is stale; run `make docs`", file=sys.stderr)
        else:
            path.write_text(texts[path], encoding="utf-8")
            print(f"chart values: wrote {path}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
