"""What a class's source says of its public part: attributes, signatures, docstrings. It writes no page."""

import ast
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from importlib import import_module
from textwrap import dedent, indent
from typing import Any, Self

from pydantic import BaseModel

_LINE_CHARACTERS = 110
_OF_PYDANTIC = frozenset({"model_config", "settings_customise_sources"})
"""Names by which pydantic asks a class; they are nobody else's."""
_CLASS_INDENT_CHARACTERS = 4
"""Columns before a statement of a class's own body; those of its methods stand further right."""


@dataclass
class ClassSource:
    """What a class's source says of it."""

    fields: dict[str, str] = field(default_factory=dict)
    """Each attribute, `name: type`, with its text."""
    methods: dict[str, tuple[list[str], str]] = field(default_factory=dict)
    """Each method with its signatures and its docstring."""
    constructor: str = ""
    """Its signature; empty where users make none."""
    made: str = ""
    """The constructor's docstring."""

    @classmethod
    def of(cls, kind: type, *, constructed: bool = False, with_fields: bool = True) -> Self:
        """Read the class. Ends the program where a public part has no docstring.

        `constructed` says that users make objects of it, `with_fields` that its body's fields are of interest.
        """
        found = cls()
        (tree,) = ast.parse(dedent(inspect.getsource(kind))).body
        assert isinstance(tree, ast.ClassDef)
        hints = typing.get_type_hints(kind)
        if with_fields:
            found._take_fields(kind, tree.body, lambda name, _: _type_text(hints[name]) if name in hints else "")
        # What a record's methods do is make and fill it, which is the program's own matter.
        value = is_dataclass(kind) or (issubclass(kind, BaseModel) and with_fields)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found._take_function(kind, node, properties_only=value, constructed=constructed)
        return found

    def _take_function(
        self, kind: type, node: ast.FunctionDef | ast.AsyncFunctionDef, *, properties_only: bool, constructed: bool
    ) -> None:
        text = ast.get_docstring(node)
        marks = {ast.unparse(one) for one in node.decorator_list}
        hidden = node.name.startswith("_") or node.name in _OF_PYDANTIC
        if node.name == "__init__":
            if constructed:
                self.constructor, self.made = _signature(node, kind.__name__), text or ""
            types_ = {one.arg: _annotation(one.annotation) for one in [*node.args.args, *node.args.kwonlyargs]}
            self._take_fields(kind, node.body, lambda _, value: types_.get(value, ""))
        elif hidden or (properties_only and not marks & {"property", "cached_property"}):
            return
        elif "overload" in marks:
            self.methods.setdefault(node.name, ([], ""))[0].append(_signature(node, node.name))
        elif text is None:
            sys.exit(f"docs: {kind.__name__}.{node.name} has no docstring")
        elif marks & {"property", "cached_property"}:
            self.fields[f"{node.name}: {_annotation(node.returns)}"] = text
        else:
            signatures = self.methods.get(node.name, ([], ""))[0] or [_signature(node, node.name)]
            self.methods[node.name] = signatures, text

    def _take_fields(self, kind: type, body: list[ast.stmt], type_of: Callable[[str, str], str]) -> None:
        """Take up what is assigned in a class's body, or to `self` in its constructor's."""
        for node, below in _with_next(body):
            name, annotation, value = _assigned(node, in_class=node.col_offset <= _CLASS_INDENT_CHARACTERS)
            if not name or name.startswith("_") or name in _OF_PYDANTIC:
                continue
            if (text := _text(below)) is None:
                sys.exit(f"docs: {kind.__name__}.{name} has no docstring; write one below it")
            if issubclass(kind, Enum):
                self.fields[f"{name} = {value}"] = text
            else:
                known = type_of(name, value) or annotation
                self.fields[f"{name}: {known}" if known else name] = text


def _with_next(body: list[ast.stmt]) -> Iterable[tuple[ast.stmt, ast.stmt]]:
    """Each statement with the one below it."""
    return zip(body, [*body[1:], ast.Pass()], strict=True)


def _text(node: ast.stmt) -> str | None:
    """The text that a statement is, as a docstring is one; None of all else."""
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
        case _:
            return None


def _assigned(node: ast.stmt, *, in_class: bool) -> tuple[str, str, str]:
    """Name, annotation and value of the attribute that a statement makes; empty where it makes none."""
    match node:
        case ast.AnnAssign(target=target, annotation=found, value=given):
            annotation, value = _annotation(found), ast.unparse(given) if given is not None else ""
        case ast.Assign(targets=[target], value=given):
            annotation, value = "", ast.unparse(given)
        case _:
            return "", "", ""
    match target:
        case ast.Name(id=name) if in_class:
            return name, annotation, value
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name, annotation, value
        case _:
            return "", "", ""


def alias(home: str, name: str) -> tuple[str, str]:
    """What the alias stands for, and the text below it."""
    for node, below in _with_next(ast.parse(inspect.getsource(import_module(home))).body):
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name and (text := _text(below)):
                return ast.unparse(value), text
            case _:
                pass
    sys.exit(f"docs: {home}.{name} has no docstring below it")


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> str:
    """As one would write it, without `self`; in several lines where one is too long."""
    given = node.args
    parts: list[str] = []
    plain = given.args[1:]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    parts += [_parameter(one, default) for one, default in zip(plain, defaults, strict=True)]
    if given.kwonlyargs:
        parts.append("*")
    parts += [_parameter(one, default) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg is not None:
        parts.append(f"**{_parameter(given.kwarg, None)}")
    marked = any(ast.unparse(one) == "classmethod" for one in node.decorator_list)
    awaited = isinstance(node, ast.AsyncFunctionDef) and not _annotation(node.returns).startswith("AsyncGenerator")
    start = "" if node.name == "__init__" else "async def " if awaited else "def "
    start = f"@classmethod\n{start}" if marked else start
    end = f" -> {_annotation(node.returns)}" if node.name != "__init__" else ""
    line = f"{start}{name}({', '.join(parts)}){end}"
    if len(line) <= _LINE_CHARACTERS:
        return line
    return f"{start}{name}(\n" + indent("".join(f"{part},\n" for part in parts), "    ") + f"){end}"


def _parameter(given: ast.arg, default: ast.expr | None) -> str:
    text = f"{given.arg}: {_annotation(given.annotation)}"
    return text if default is None else f"{text} = {ast.unparse(default)}"


def _annotation(node: ast.expr | None) -> str:
    """An annotation as written; one that is quoted, without its quotes."""
    if node is None:
        return ""
    return str(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def _type_text(annotation: Any) -> str:
    """A type as one would write it, aliases resolved."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin in {typing.Union, types.UnionType}:
        return " | ".join(_type_text(one) for one in arguments)
    if origin is typing.Literal:
        return " | ".join(repr(one) for one in arguments)
    if annotation is ...:
        return "..."
    if annotation is types.NoneType:
        return "None"
    name: str = getattr(annotation, "__name__", str(annotation))
    return f"{name}[{_joined(arguments)}]" if arguments else name


def _joined(arguments: Iterable[Any]) -> str:
    return ", ".join(_type_text(one) for one in arguments)
