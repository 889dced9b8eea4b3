"""Settings as the text of a recipe, defaults included, that reads back equal."""

from collections.abc import Iterator
from typing import Any

from tpn.config.reader import TEMPLATE, read_config_text
from tpn.config.settings import Config

WIDTH = 100
HEADER = '"""The settings of one run, every default written out. A config file like any other: edit it, run it."""\n'


def dump_config(config: Config) -> str:
    """Recipe text of a config: `load_config` of a file that holds it gives an equal config."""
    lines = [f"{name} = {_text(value, column=len(name) + 3)}\n" for name, value in config.model_dump().items()]
    return f"{HEADER}\n{''.join(lines)}"


def changed_settings(before: str, config: Config) -> list[str]:
    """How a config differs from that of an earlier dump: `optimizer.lr: 0.01 -> 0.02` for each setting.

    A setting that only one of them has, as another version may, is not told of.

    Raises:
        ConfigError: `before` is no such text.
    """
    return list(_changes(read_config_text(before), read_config_text(dump_config(config)), prefix=""))


def _changes(before: dict[Any, Any], now: dict[Any, Any], prefix: str) -> Iterator[str]:
    for name in [name for name in now if name in before and before[name] != now[name]]:
        if isinstance(before[name], dict) and isinstance(now[name], dict):
            yield from _changes(before[name], now[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}: {_line(before[name])} -> {_line(now[name])}"


def _text(value: Any, column: int, indent: int = 0) -> str:
    """`value` on one line where it fits behind `column`, else one entry a line."""
    line = _line(value)
    if column + len(line) <= WIDTH or not isinstance(value, dict | tuple):
        return line
    opening, entries, closing = _parts(value)
    inner = indent + 4
    lines = [f"{' ' * inner}{name}{_text(item, inner + len(name), inner)},\n" for name, item in entries]
    return f"{opening}\n{''.join(lines)}{' ' * indent}{closing}"


def _line(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, dict | tuple):
        return repr(value)
    opening, entries, closing = _parts(value)
    comma = "," if opening == "(" and len(entries) == 1 else ""
    return opening + ", ".join(name + _line(item) for name, item in entries) + comma + closing


def _parts(value: dict[Any, Any] | tuple[Any, ...]) -> tuple[str, list[tuple[str, Any]], str]:
    """A container's brackets and, between them, what stands before each item."""
    if isinstance(value, tuple):
        return "(", [("", item) for item in value], ")"
    if value and all(isinstance(key, str) for key in value):
        type_first = sorted(value.items(), key=lambda entry: entry[0] != "type")
        return "dict(", [(f"{key}=", item) for key, item in type_first], ")"
    return "{", [(f"{key!r}: ", item) for key, item in value.items()], "}"


def _string(text: str) -> str:
    if TEMPLATE.search(text):  # an f-string is not searched for templates
        return "f" + repr(text.replace("{", "{{").replace("}", "}}"))
    quoted = repr(text)
    return quoted if "'" in text or '"' in text else f'"{quoted[1:-1]}"'
