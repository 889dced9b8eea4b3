"""`--cfg-options a.b=c`: values parsed as data, by MMAction2's grammar and the field's type, and put into a config."""

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from tpn.config.evaluator import Evaluator
from tpn.config.fields import find_field, is_text
from tpn.config.section import Section, located
from tpn.errors import ConfigError
from tpn.names import is_utf8

WHERE = "--cfg-options"
MAX_DEPTH = 20
BRACKETS = {"[": "]", "(": ")", "{": "}"}


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """['model.neck=None', 'lr_config.step=[75,125]'] as {'model.neck': None, 'lr_config.step': [75, 125]}.

    A value is an int, a float, True, False, None, a list `[a,b]` or `a,b`, a tuple `(a,b)`, a whole section
    `dict(a=1)`, or else text; quotes make text of anything. A setting that is text takes its value as written.

    Raises:
        ConfigError: for a pair without `=`, one that is not UTF-8 text, or a value whose brackets or
            quotes do not close.
    """
    overrides = {}
    for pair in pairs:
        if not is_utf8(pair):
            raise ConfigError(f"{WHERE}: {pair!a} is not UTF-8 text; rename the file or folder")
        path, equals, text = pair.partition("=")
        if not (equals and all(path.split("."))):
            raise ConfigError(f"{WHERE}: expected name=value, as in optimizer.lr=0.01, got {pair!r}")
        field = find_field(path.split("."))
        raw = field is not None and is_text(field) and text != "None"
        overrides[path] = _unquoted(text) if raw else _value(text, f"{WHERE}: {path}")
    return overrides


def apply_overrides(section: Section, overrides: Mapping[str, Any]) -> list[str]:
    """Put each value at its dotted path (list indices allowed), in place; return what could not be done, in words.

    A section on the way that the file does not mention begins empty, a list with its default. A key that no setting
    has is put there all the same: validation names it together with all other problems.
    """
    problems = []
    for dotted, value in overrides.items():
        path = dotted.split(".")
        try:
            inner: Section | list[Any] = section
            for depth, name in enumerate(path[:-1], 1):
                inner = _enter(inner, name, path[:depth])
            _set(inner, path[-1], located(value, WHERE))
        except IndexError as error:
            problems.append(f"{WHERE}: {dotted}: {error}")
    return problems


# ------------------------------------------------------------------------------------------------- one step of a path


def _enter(container: Section | list[Any], name: str, path: list[str]) -> Section | list[Any]:
    """The section or list called `name`, begun where there is none; `path` leads to it."""
    child = container[_index(container, name)] if isinstance(container, list) else container.get(_key(name))
    if isinstance(child, Section):
        return child
    if child is None and (field := find_field(path)):
        child = field.get_default(call_default_factory=True)
    child = list(child) if isinstance(child, list | tuple) else Section()
    _set(container, name, child)
    return child


def _set(container: Section | list[Any], name: str, value: Any) -> None:
    if isinstance(container, list):
        container[_index(container, name)] = value
    else:
        container.put(_key(name), value, WHERE)


def _key(name: str) -> str | int:
    """Digits are a number: a list index, or a label of `flip_label_map`."""
    return int(name) if name.isdecimal() and len(name) < 10 else name


def _index(items: list[Any], name: str) -> int:
    index = _key(name)
    if not (isinstance(index, int) and index < len(items)):
        raise IndexError(f"the list has items 0 to {len(items) - 1}, there is no {name!r}")
    return index


# -------------------------------------------------------------------------------------------------- values from text


def _value(text: str, where: str, depth: int = 0) -> Any:
    text = text.strip()
    if depth > MAX_DEPTH:
        raise ConfigError(f"{where}: nested more than {MAX_DEPTH} levels deep")
    if (inside := _unquoted(text)) != text:
        return inside
    items = _split(text, where)
    if len(items) > 1:
        return [_value(item, where, depth + 1) for item in items]
    if text.startswith(("dict(", "{")):
        return _section(text, where)
    if text[:1] in BRACKETS and text[-1] == BRACKETS[text[0]]:
        kind = list if text[0] == "[" else tuple
        return kind(_value(item, where, depth + 1) for item in _split(text[1:-1], where))
    return _scalar(text)


def _scalar(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), None if text == "None" else text)


def _section(text: str, where: str) -> Any:
    try:
        expression = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{where}: not a section dict(name=value): {text[:100]} ({error})") from None
    return Evaluator(where=lambda node: where).value(expression)


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text[0] not in text[1:-1]
    return text[1:-1] if quoted else text


def _split(text: str, where: str) -> list[str]:
    """Split at the commas outside brackets and quotes; a comma at the end adds nothing."""
    items, start, awaited, quote = [], 0, "", ""
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and text[:index].rstrip()[-1:] in {"", *",=:[({"}:
            quote = letter
        elif letter in BRACKETS:
            awaited += BRACKETS[letter]
        elif letter in "])}":
            if letter != awaited[-1:]:
                raise ConfigError(f"{where}: unexpected {letter!r} in {text[:100]!r}; quote the value to make it text")
            awaited = awaited[:-1]
        elif letter == "," and not awaited:
            items.append(text[start:index])
            start = index + 1
    if awaited or quote:
        missing = awaited[-1:] or quote
        raise ConfigError(f"{where}: {missing!r} is missing in {text[:100]!r}; quote the value to make it text")
    return [*items, text[start:]] if text[start:].strip() else items
