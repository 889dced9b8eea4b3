"""What is wrong with a config, in words: every problem at once, one line each, with file, line, key, value and fix."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tpn.config.fields import choices, expected, find_field, find_paths, sections
from tpn.config.hints import did_you_mean, nearest
from tpn.config.section import Section, locate
from tpn.config.settings import Config, Settings

MAX_PROBLEMS = 100
MENDABLE = ("extra_forbidden", "invalid_key", "union_tag_invalid")
ABSENT = object()


def find_problems(section: Section, path: str) -> list[str]:
    """Every problem of what the config file at `path` sets; none where `Config.model_validate(section)` succeeds.

    A misspelt key or type hides what is wrong behind it. So it is reported, then mended in `section` as its line
    suggests (or dropped), and the rest is looked at again.
    """
    problems: list[str] = []
    while (errors := _errors(section)) and len(problems) < MAX_PROBLEMS:
        mendable = [error for error in errors if error["type"] in MENDABLE]
        for error in (mendable or errors)[:MAX_PROBLEMS]:
            place = _place(error)
            for setting, sentence in _explain(section, error, place):
                problems.append(f"{locate(section, setting, default=path)}: {sentence}")
            if mendable:
                _mend(section, place)
        if not mendable:
            break
    return list(dict.fromkeys(problems))


class Place(NamedTuple):
    """Where an error is: the dotted path, the setting there (None: no such), and the section around it."""

    path: list[Any]
    field: FieldInfo | None
    owner: type[Settings]


def _errors(section: Section) -> list[ErrorDetails]:
    try:
        Config.model_validate(section)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _place(error: ErrorDetails) -> Place:
    """pydantic's location without the names of union members, and no deeper than a setting."""
    path, field, owner = [], None, Config
    models: dict[str, type[Settings]] = {"": Config}
    for part in map(str, error["loc"]):
        if len(models) > 1:
            models = {part: models[part]}
        elif models:
            owner = next(iter(models.values()))
            path.append(part)
            field = owner.model_fields.get(part)
            models = sections(field) if field else {}
    if error["type"] == "invalid_key":  # not text; pydantic's location has its text
        path[-1] = error["input"]
    return Place(path, field, owner)


# ----------------------------------------------------------------------------------------------------------- in words


def _explain(section: Section, error: ErrorDetails, place: Place) -> list[tuple[list[Any], str]]:
    """The path of each setting that is wrong, and the sentence that says so."""
    if error["type"] != "value_error":
        return [_explain_field(section, error, place)]
    sentence = str(error.get("ctx", {})["error"])  # a validator's own
    if place.path:
        return [(place.path, f"{_dotted(place.path)}: {sentence}")]
    return [(line.split()[0].split("."), line) for line in sentence.split("\n")]  # each begins with a path


def _explain_field(section: Section, error: ErrorDetails, place: Place) -> tuple[list[Any], str]:
    path, field, _ = place
    if field is None:
        return path, f"{_dotted(path)}: {_unknown_key(section, place)}"
    takes = expected(field)
    if error["type"].startswith("union_tag"):
        path, takes = [*path, field.discriminator], " or ".join(map(repr, choices(field)))
    value = _get(section, path)
    if value is ABSENT:
        return path, f"{_dotted(path)}: missing; expected {takes}"
    return path, f"{_dotted(path)}: expected {takes}, got {_short(value)}{did_you_mean(value, choices(field))}"


def _unknown_key(section: Section, place: Place) -> str:
    *around, key = place.path
    sentence = f"unknown key (value {_short(_get(section, place.path))})"
    field = find_field(around)
    if field and any(key in model.model_fields for model in sections(field).values()):
        name = field.discriminator
        choice = f"{name}={_get(section, [*around, name])!r}"
        whole = f"{_dotted(around)}=dict(_delete_=True, {choice}, ...)"
        return f"{sentence} with {choice}; to replace the whole section: {whole}"
    if not around and len(paths := find_paths(key)) == 1:
        return f"{sentence}; did you mean {paths[0]!r}?"
    return sentence + did_you_mean(key, place.owner.model_fields)


def _dotted(path: Sequence[Any]) -> str:
    return ".".join(map(str, path))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ------------------------------------------------------------------------------------------------------------ mending


def _mend(section: Section, place: Place) -> None:
    """Give an unknown key or type the name it probably should have; drop the key where there is none."""
    path, field, owner = place
    if field is not None:
        tagged, options = _get(section, path), choices(field)
        tagged[field.discriminator] = nearest(tagged[field.discriminator], options) or options[0]
        return
    parent = _get(section, path[:-1])
    value, line = parent.pop(path[-1]), parent.lines[path[-1]]
    if name := nearest(path[-1], owner.model_fields.keys() - parent.keys()):
        parent.put(name, value, line)


def _get(section: Section, path: Sequence[Any]) -> Any:
    value: Any = section
    for key in path:
        if not isinstance(value, Section) or key not in value:
            return ABSENT
        value = value[key]
    return value
