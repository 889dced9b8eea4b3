"""A dict that remembers where each of its keys was written, so that an error can name file and line."""

from collections.abc import Sequence
from typing import Any

DELETE = "_delete_"


class Section(dict[Any, Any]):
    """One `dict(...)` of a recipe. `lines` has the place of each key: {'depth': 'configs/a.py:12'}."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Any, str] = {}

    def put(self, key: Any, value: Any, line: str) -> None:
        self[key] = value
        self.lines[key] = line


def merge(base: Section, new: Section) -> Section:
    """`base` with the keys of `new` over it, section into section; `_delete_=True` drops the inherited one first."""
    merged = Section()
    for section in (base, new):
        for key, value in section.items():
            if key == DELETE:
                continue
            if section is new and isinstance(value, Section):
                inherited = Section() if value.get(DELETE) else base.get(key)
                value = merge(inherited if isinstance(inherited, Section) else Section(), value)
            merged.put(key, value, section.lines[key])
    return merged


def located(value: Any, line: str) -> Any:
    """`value` with every dict in it a Section written at `line`."""
    if isinstance(value, dict):
        section = Section()
        for key, item in value.items():
            if key != DELETE:
                section.put(key, located(item, line), line)
        return section
    if isinstance(value, list | tuple):
        return type(value)(located(item, line) for item in value)
    return value


def locate(section: Section, path: Sequence[Any], default: str) -> str:
    """Where `path` was written, or the innermost section around it; `default` where nothing of it was."""
    line, inner = default, section
    for key in path:
        if not isinstance(inner, Section) or key not in inner:
            break
        line, inner = inner.lines[key], inner[key]
    return line
