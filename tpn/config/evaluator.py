"""The value of one expression of a config file, found by walking its syntax tree; nothing is ever executed."""

import ast
import operator
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tpn.config.hints import did_you_mean
from tpn.config.section import Section
from tpn.errors import ConfigError
from tpn.names import is_utf8

MAX_DEPTH = 100  # levels of nesting, of expressions and of values
MAX_SIZE = 50_000  # values and characters of a file and its bases, every copy counted
MAX_NUMBER = 2**1024  # just above the largest float

FUNCTIONS = ("dict", "range", "int", "len", "tuple", "list")
ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
COMPARISON = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
    ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
REFUSED = {
    ast.Import: "import", ast.ImportFrom: "import", ast.Attribute: "attribute access (a.b)", ast.Pow: "**",
    ast.FunctionDef: "def", ast.ClassDef: "class", ast.IfExp: "if", ast.AugAssign: "+= and the like",
    ast.Starred: "*", ast.Slice: "a slice",
}  # fmt: skip


@dataclass
class Budget:
    """How much may still be built, in one file and its bases together."""

    left: int = MAX_SIZE


@dataclass
class Evaluator:
    """Evaluates expressions of one file.

    `where` says where a node stands ('configs/a.py:12'), `inherited` is what the file's bases set,
    `fill` replaces `{{ fileDirname }}` and the like inside a string.
    """

    where: Callable[[ast.AST], str]
    inherited: Section = field(default_factory=Section)
    budget: Budget = field(default_factory=Budget)
    fill: Callable[[str], str] = str

    def __post_init__(self) -> None:
        self.names: ChainMap[str, Any] = ChainMap({}, self.inherited)
        self.depth = 0

    def value(self, node: ast.AST) -> Any:
        """The value of an expression; ConfigError where it is outside the language, wrong, or too large."""
        self.spend(1, node)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(node, f"nested more than {MAX_DEPTH} levels deep")
        try:
            value = self._value(node)
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise self.error(node, f"this expression has no value ({error})") from None
        finally:
            self.depth -= 1
        if isinstance(value, int | float) and not -MAX_NUMBER < value < MAX_NUMBER:  # infinity and nan too
            raise self.error(node, "a number is too large")
        if isinstance(value, str) and not is_utf8(value):
            raise self.error(node, f"{value!a:.200} is not UTF-8 text; rename the file or folder")
        return value

    def _value(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=str() as text):
                return self.paid(self.fill(text), node)
            case ast.Constant(value=bool() | int() | float() | None as value):
                return value
            case ast.Name(id=name):
                return self.lookup(name, node)
            case ast.List(elts=items):
                return [self.value(item) for item in items]
            case ast.Tuple(elts=items):
                return tuple(self.value(item) for item in items)
            case ast.Dict(keys=keys, values=values):
                return self.section((key and self.key(key), value) for key, value in zip(keys, values, strict=True))
            case ast.Call():
                return self.call(node)
            case ast.JoinedStr(values=parts):
                return self.paid("".join(self.fstring_part(part) for part in parts), node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.number(operand)
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.Subscript(value=container, slice=key):
                return self.subscript(self.value(container), self.key(key), node)
            case ast.ListComp(elt=item, generators=loops):
                return [self.value(item) for _ in self.loop(loops, node)]
            case ast.DictComp(key=key, value=value, generators=loops):
                return self.section((self.key(key), value) for _ in self.loop(loops, node))
            case ast.Set(elts=[ast.Set(elts=[ast.Attribute() as reference])]):
                return self.base_reference(reference)
        raise self.refusal(node)

    # ------------------------------------------------------------------------------------------------ containers

    def section(self, entries: Iterable[tuple[Any, ast.expr]]) -> Section:
        """`dict(a=1, **other)` and `{'a': 1, **other}` from (key, value) pairs; the key of `**other` is None."""
        section = Section()
        for key, node in entries:
            value = self.value(node)
            if key is not None:
                pairs, lines = {key: value}, {key: self.where(node)}
            elif isinstance(value, Section):
                pairs, lines = value, value.lines
            else:
                raise self.error(node, f"** needs a dict, got {type(value).__name__}")
            for name, item in pairs.items():
                if name in section:
                    raise self.error(node, f"key {name!r} is written twice")
                section.put(name, item, lines[name])
        return section

    def key(self, node: ast.expr) -> str | int:
        key = self.value(node)
        if not isinstance(key, str | int):
            raise self.error(node, "a key must be text or an integer")
        return key

    def subscript(self, container: Any, key: str | int, node: ast.AST) -> Any:
        if isinstance(container, Section):
            if key not in container:
                raise self.error(node, f"there is no key {key!r}{did_you_mean(key, map(str, container))}")
            return container[key]
        if isinstance(container, list | tuple) and isinstance(key, int):
            return container[key]
        raise self.error(node, f"a {type(container).__name__} has no item {key!r}")

    def loop(self, loops: Sequence[ast.comprehension], node: ast.AST) -> Iterator[None]:
        """Set the loop's name to one number of its range after the other."""
        match loops:
            case [ast.comprehension(ast.Name(id=name), ast.Call(func=ast.Name(id="range")) as numbers, [], 0)]:
                outer = self.names
                for number in self.value(numbers):
                    self.names = outer.new_child({name: number})
                    yield
                self.names = outer
            case _:
                raise self.error(node, "a comprehension may only be `... for name in range(number)`")

    # ------------------------------------------------------------------------------------------- names and calls

    def assign(self, target: ast.expr, value: Any) -> None:
        """`name = value`, or `name['key'] = value` where this file made that dict."""
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Subscript(value=outer, slice=key) if isinstance(section := self.own(outer), Section):
                section.put(self.key(key), value, self.where(target))
            case _:
                raise self.error(target, "only `name = value` and `name['key'] = value` of a dict may be assigned")

    def own(self, node: ast.expr) -> Any:
        """What this file assigned to a name or a key of it: the value itself, not a copy."""
        match node:
            case ast.Name(id=name) if name in self.names.maps[0]:
                return self.names[name]
            case ast.Subscript(value=outer, slice=key):
                return self.subscript(self.own(outer), self.key(key), node)
        return None

    def lookup(self, name: str, node: ast.AST) -> Any:
        if name not in self.names:
            raise self.error(node, f"name {name!r} is not defined{did_you_mean(name, self.names)}")
        return self.copied(self.names[name], node)

    def copied(self, value: Any, node: ast.AST, depth: int = 0) -> Any:
        """A copy that shares nothing, so that a value has one place, and a repeated one is paid for each time."""
        if depth > MAX_DEPTH:
            raise self.error(node, f"values are nested more than {MAX_DEPTH} levels deep")
        self.paid(value, node)
        if isinstance(value, Section):
            copy = Section()
            for key, item in value.items():
                copy.put(key, self.copied(item, node, depth + 1), value.lines[key])
            return copy
        if isinstance(value, list | tuple):
            return type(value)(self.copied(item, node, depth + 1) for item in value)
        return value

    def base_reference(self, node: ast.expr) -> Any:
        """`{{ _base_.model.backbone }}`: what the bases say, as a value."""
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path, node = [node.attr, *path], node.value
        if not (isinstance(node, ast.Name) and node.id == "_base_"):
            raise self.refusal(node)
        value: Any = self.inherited
        for key in path:
            value = self.subscript(value, key, node)
        return self.copied(value, node)

    def call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in FUNCTIONS:
            called = f"call of {name!r}" if name else "this call"
            raise self.error(node, f"{called} is not allowed: a config file is data; only {', '.join(FUNCTIONS)} are")
        if name == "dict" and not node.args:
            return self.section((keyword.arg, keyword.value) for keyword in node.keywords)
        arguments = [self.value(argument) for argument in node.args]
        if node.keywords or not 1 <= len(arguments) <= (3 if name == "range" else 1):
            raise self.error(node, f"{name}() is called with the wrong arguments")
        if name == "range":
            numbers = range(*arguments)
            self.spend(len(numbers), node)
            return list(numbers)
        if name == "dict":
            raise self.error(node, "dict() takes keywords only: dict(a=1, **other)")
        return {"int": int, "len": len, "tuple": tuple, "list": list}[name](arguments[0])

    # --------------------------------------------------------------------------------------- numbers and strings

    def number(self, node: ast.expr) -> int | float:
        value = self.value(node)
        if not isinstance(value, int | float):
            raise self.error(node, f"expected a number, got {type(value).__name__}")
        return value

    def arithmetic(self, node: ast.BinOp) -> Any:
        operation = ARITHMETIC.get(type(node.op))
        if operation is None:
            raise self.refusal(node.op, node)
        left, right = self.value(node.left), self.value(node.right)
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        joins = isinstance(node.op, ast.Add) and type(left) is type(right) and isinstance(left, str | list | tuple)
        if not (numbers or joins):
            kinds = f"{type(left).__name__} and {type(right).__name__}"
            raise self.error(node, f"arithmetic is for numbers (and + for two strings or two lists), got {kinds}")
        return self.paid(operation(left, right), node)

    def comparison(self, node: ast.Compare) -> bool:
        operation = COMPARISON.get(type(node.ops[0]))
        if operation is None or len(node.ops) > 1:
            raise self.error(node, "only a single ==, !=, <, <=, > or >= is allowed")
        return operation(self.value(node.left), self.value(node.comparators[0]))

    def fstring_part(self, part: ast.expr) -> str:
        match part:
            case ast.Constant(value=str() as text):
                return text
            case ast.FormattedValue(value=ast.Name() as name, conversion=-1, format_spec=None):
                value = self.value(name)
                if isinstance(value, str | int | float):
                    return str(value)
        raise self.error(part, "an f-string may only hold plain names of strings and numbers: f'{work_dir}/a'")

    # ---------------------------------------------------------------------------------------------------- limits

    def paid(self, value: Any, node: ast.AST) -> Any:
        """`value`, after spending its own size: its characters or items, not what is inside the items."""
        self.spend(1 + len(value) if isinstance(value, str | list | tuple | dict) else 1, node)
        return value

    def spend(self, size: int, node: ast.AST) -> None:
        self.budget.left -= size
        if self.budget.left < 0:
            raise self.error(node, f"the values grow beyond {MAX_SIZE} items and characters")

    def error(self, node: ast.AST, problem: str) -> ConfigError:
        return ConfigError(f"{self.where(node)}: {problem}")

    def refusal(self, node: ast.AST, place: ast.AST | None = None) -> ConfigError:
        kind = REFUSED.get(type(node), type(node).__name__.lower())
        return self.error(place or node, f"{kind} is not allowed: a config file is data, read and never executed")
