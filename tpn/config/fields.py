"""What the settings allow at a dotted path, and how to say so in words."""

from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic.fields import FieldInfo

from tpn.config.settings import Config, Settings


def sections(field: FieldInfo) -> dict[str, type[Settings]]:
    """The models a field may hold: none for a plain value; several, by the value of their `type` or `policy`."""
    options = [option for option in _options(field.annotation) if _is_section(option)]
    if field.discriminator is None:
        return {option.__name__: option for option in options}
    return {get_args(option.model_fields[str(field.discriminator)].annotation)[0]: option for option in options}


def find_field(path: Sequence[str]) -> FieldInfo | None:
    """The field at ('model', 'backbone', 'depth'); None where no section has one."""
    models: Iterable[type[Settings]] = [Config]
    field = None
    for name in path:
        field = next((model.model_fields[name] for model in models if name in model.model_fields), None)
        if field is None:
            return None
        models = sections(field).values()
    return field


def find_paths(name: str) -> list[str]:
    """The dotted paths of the settings called `name`: 'depth' is at ['model.backbone.depth']."""

    def walk(model: type[Settings], prefix: str) -> Iterable[str]:
        for key, field in model.model_fields.items():
            if key == name:
                yield prefix + key
            for section in sections(field).values():
                yield from walk(section, f"{prefix}{key}.")

    return list(dict.fromkeys(walk(Config, "")))


def is_text(field: FieldInfo) -> bool:
    """Whether only text (or None) is allowed, so that `work_dir=2024` means '2024'."""
    return set(_options(field.annotation)) <= {str, NoneType}


def expected(field: FieldInfo) -> str:
    """What a field takes, in words: 'a positive integer or None'."""
    return _words(field.annotation, field.metadata)


def choices(field: FieldInfo) -> list[str]:
    """The names to choose from: of a Literal, or of the sections told apart by `type` or `policy`."""
    if field.discriminator is not None:
        return list(sections(field))
    return [choice for choice in get_args(field.annotation) if isinstance(choice, str)]


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _words(annotation: Any, constraints: Sequence[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], [limit for info in arguments[1:] for limit in getattr(info, "metadata", [])])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_words, arguments)))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple:
        return f"a list{_length(arguments, constraints)}, each {_words(arguments[0])}"
    if origin is dict:
        return f"a dict from {_words(arguments[0])} to {_words(arguments[1])}"
    if annotation in (int, float):
        return _number(annotation, constraints)
    if _is_section(annotation):
        return "a section, dict(...)"
    return {bool: "True or False", str: "text", NoneType: "None"}[annotation]


def _number(kind: type, constraints: Sequence[Any]) -> str:
    noun = "integer" if kind is int else "number"
    match constraints:
        case [Gt(gt=0)]:
            return f"a positive {noun}"
        case [Gt(gt=0), Le(le=high)]:
            return f"a positive {noun} up to {high}"
        case [Ge(ge=low), Le(le=high)]:
            return f"a {noun} from {low} to {high}"
        case [Ge(ge=0)]:
            return f"zero or a positive {noun}"
    return f"an {noun}" if kind is int else f"a {noun}"


def _length(items: Sequence[Any], constraints: Sequence[Any]) -> str:
    if ... not in items:
        return f" of {len(items)}"
    low = next((limit.min_length for limit in constraints if isinstance(limit, MinLen)), None)
    high = next((limit.max_length for limit in constraints if isinstance(limit, MaxLen)), None)
    return f" of {low} to {high}" if low and high else f" of {low} or more" if low else ""
