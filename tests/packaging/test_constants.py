"""Every numeric constant says by its name what its number is: a unit, a count, a ratio, or what it numbers.

Read from the syntax tree: names in capitals at the top of a module or a class, whose value is a number or arithmetic.
An enum's members are not constants in that sense: their values are names for other programs.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("schemas", "producer", "worker", "load-tests", "scripts")

UNITS = frozenset({"SECONDS", "MS", "MICROSECONDS", "BYTES", "KIB", "MB", "BITS", "PIXELS"})
"""Of measurement. At the end of a name, after a word that says of what."""

COUNTED = frozenset(
    {"ANSWERS", "ATTEMPTS", "BLOCKS", "CHARACTERS", "ENTRIES", "JOBS", "LINES", "MESSAGES", "OBJECTS", "RECORDS"}
    | {"REQUESTS", "SEGMENTS", "TOKENS"}
)
"""What this project counts. At the end of a name, after a word that says which."""

PROPORTIONS = frozenset({"COUNT", "FACTOR", "RATIO", "SHARE"})
"""A bare number whose kind is said. At the end of a name, after a word that says of what."""

BOUNDS = frozenset({"MAX", "MIN"})
"""Such a word makes a count of any plural after it: `_MAX_RUNS`, `MAX_BATCHES_IN_FLIGHT`."""

RATE = "PER"
"""Between a plural and what it is counted over: `TOKENS_PER_BYTE`."""

LABELS = frozenset({"BIT", "CODE", "ID", "INDEX", "KEY", "MODE", "OFFSET", "PORT", "SEED", "STATUS", "VERSION"})
"""At the end of a name. The number stands for something, or for a place, and measures nothing."""

NAMED_ELSEWHERE = frozenset({"PR_SET_PDEATHSIG"})
"""Names that others gave: of Linux, in prctl(2)."""

MEANING = "a unit (_SECONDS, _BYTES, _REQUESTS …), _COUNT, _RATIO, _SHARE, _FACTOR, MAX_<plural> or <plural>_PER_<noun>"

NUMERIC_CALLS = frozenset({"float", "int", "len", "max", "min", "round", "sum"})


def says_what_it_is(name):
    """Whether a constant's name carries a unit, or says that it is a count, a proportion or a label."""
    words = name.strip("_").split("_")
    *before, last = words
    if last in LABELS or name.strip("_") in NAMED_ELSEWHERE:
        return True
    if RATE in before:
        return any(map(_is_plural, before[: before.index(RATE)]))
    bounds = [place for place, word in enumerate(words) if word in BOUNDS]
    return bool(before) and (
        last in UNITS | COUNTED | PROPORTIONS or (bool(bounds) and any(map(_is_plural, words[bounds[0] + 1 :])))
    )


def _is_plural(word):
    return word.endswith("S") and not word.endswith("SS")


def numeric_constants(tree):
    """Names and lines of the numeric constants of a module and its classes."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not any("Enum" in ast.unparse(base) for base in node.bases):
            yield from numeric_constants(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name, value in _pairs(target, node.value):
                    if name.isupper() and _is_number(value):
                        yield name, node.lineno


def _pairs(target, value):
    """Each name that an assignment binds, with its value."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=True):
            yield from _pairs(one, its)


def _is_number(value):
    """Whether an expression is a number, or arithmetic of numbers and named constants."""
    match value:
        case ast.Constant(value=number):
            return type(number) in {int, float}
        case ast.Call(func=ast.Name(id=name)):
            return name in NUMERIC_CALLS
        case ast.UnaryOp(operand=operand):
            return _is_number(operand)
        case ast.BinOp(left=left, op=op, right=right):
            named = [isinstance(side, ast.Name) for side in (left, right)]
            if all(named):  # a sum of names can be of texts or sets
                return isinstance(op, ast.Mult | ast.Div | ast.FloorDiv | ast.Pow)
            return all(name or _is_number(side) for name, side in zip(named, (left, right), strict=True))
    return False


def test_every_numeric_constant_says_what_its_number_is():
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for folder in FOLDERS
        for file in sorted((ROOT / folder).rglob("*.py"))
        for name, line in numeric_constants(ast.parse(file.read_bytes()))
        if not says_what_it_is(name)
    ]
    assert not wrong, f"name what each number is, by {MEANING}:\n" + "\n".join(wrong)


# --- the checks themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("_RETRY_SECONDS", "_MAX_RUNS", "MAX_BATCHES_IN_FLIGHT", "TOKENS_PER_BYTE", "_SPARE_RATIO", "THREAD_COUNT"),
        *("VERSION", "_NOT_FOUND_STATUS", "PR_SET_PDEATHSIG"),
    ],
)
def test_a_name_with_a_unit_or_a_kind_is_accepted(name):
    assert says_what_it_is(name)


@pytest.mark.parametrize(
    "name", ["_JITTER", "_MAX_PAUSE", "_SECONDS", "_TRIES", "LIVE_SWEEPS", "BYTE_PER_TOKEN", "MAX_LESS", "RUNS_MAX"]
)
def test_a_name_without_either_is_refused(name):
    assert not says_what_it_is(name)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "A = 1",
            "A: int = -1",
            "A = 2 * 1024",
            "A = B / 2",
            "A = len(B) - C",
            "A = B * C",
            "A = b = 1",
            "A, b = 1, 2",
        ),
        *("class C:\n    A = 0.5", "class C:\n    class D:\n        A = 1"),
    ],
)
def test_a_number_is_found_at_the_top_of_a_module_and_of_a_class(text):
    assert [name for name, _ in numeric_constants(ast.parse(text))] == ["A"]


@pytest.mark.parametrize(
    "text",
    ["A = True", "A = 'x' * 3", "a = 1", "A = f(1)", "A = B", "A = B | C", "class C(IntEnum):\n    A = 1", "A: int"],
)
def test_what_is_no_numeric_constant_is_left_alone(text):
    assert [*numeric_constants(ast.parse(text))] == []
