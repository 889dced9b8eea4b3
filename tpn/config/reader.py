"""Reads a config file as data: assignments, `dict(...)`, literals and `_base_`; nothing in it is ever executed."""

import ast
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from tpn.config.evaluator import FUNCTIONS, Budget, Evaluator
from tpn.config.hints import nearest
from tpn.config.recipes import find_recipe
from tpn.config.section import Section, merge
from tpn.errors import ConfigError
from tpn.names import address_problem

MAX_BYTES = 256 * 1024
MAX_BASES_DEPTH = 10
MAX_FILES = 50
TEMPLATE = re.compile(r"\{\{\s*(fileDirname|fileBasename|fileBasenameNoExtension|fileExtname)\s*\}\}")


def read_config_file(path: str | Path) -> Section:
    """What a config file and its bases set.

    A child's sections are merged into its base's, key by key; `_delete_=True` in a section drops the inherited one.
    A name that starts with `_` is a helper of its own file: neither a setting nor inherited.

    Raises:
        ConfigError: "path:line: ...", for a file that is missing, outside the language, or beyond its limits.
    """
    try:
        return _Reading().file(Path(path), wanted_by="", below=())
    except (RecursionError, MemoryError):
        raise ConfigError(f"{path}: nested too deeply") from None


def read_config_text(text: str) -> Section:
    """What a config file without bases sets, given as its text. Raises ConfigError as `read_config_file`."""
    path = Path("text.py")
    try:
        return _Reading().assignments(_parsed(text[:MAX_BYTES], path), path, inherited=Section())
    except (RecursionError, MemoryError):
        raise ConfigError("nested too deeply") from None


@dataclass
class _Reading:
    """One call of `read_config_file`: the limits count over the file and all of its bases."""

    budget: Budget = field(default_factory=Budget)
    files: int = 0

    def file(self, path: Path, wanted_by: str, below: tuple[Path, ...]) -> Section:
        """Read `path`. `wanted_by` ("child.py:1: ") opens errors about the file itself; `below` are its descendants."""
        module = _parse(path, wanted_by)
        here = path.resolve()
        self.files += 1
        if here in below:
            raise ConfigError(f"{wanted_by}{_shown(path)} is its own _base_")
        if len(below) >= MAX_BASES_DEPTH or self.files > MAX_FILES:
            raise ConfigError(f"{wanted_by}too many bases: at most {MAX_BASES_DEPTH} deep and {MAX_FILES} files")
        inherited = self.bases(module, path, (*below, here))
        return merge(inherited, self.assignments(module, path, inherited))

    def bases(self, module: ast.Module, path: Path, below: tuple[Path, ...]) -> Section:
        """All that the files named by `_base_` set."""
        evaluator, inherited = self.evaluator(path, Section()), Section()
        for node in _base_values(module):
            names, where = evaluator.value(node), evaluator.where(node)
            names = [names] if isinstance(names, str) else names
            if not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
                raise ConfigError(f"{where}: _base_ must be the path of a config file or a list of paths")
            for name in names:
                base = self.file(path.parent / name, wanted_by=f"{where}: ", below=below)
                if twice := inherited.keys() & base.keys():
                    raise ConfigError(f"{where}: two bases both set {', '.join(sorted(map(str, twice)))}")
                inherited = merge(inherited, base)
        return inherited

    def assignments(self, module: ast.Module, path: Path, inherited: Section) -> Section:
        """What the file itself sets."""
        evaluator, written = self.evaluator(path, inherited), Section()
        for statement in module.body:
            match statement:
                case ast.Expr(value=ast.Constant(value=str())) | ast.Assign(targets=[ast.Name(id="_base_")]):
                    continue  # a docstring; bases were read first
                case ast.Assign(targets=[target], value=value):
                    _check_name(target, evaluator.where(statement))
                    evaluator.assign(target, evaluator.value(value))
                    if isinstance(target, ast.Name) and not target.id.startswith("_"):
                        written.put(target.id, evaluator.names[target.id], evaluator.where(statement))
                case ast.Expr(value=expression):
                    evaluator.value(expression)
                    raise evaluator.error(statement, "this value is not assigned to a name")
                case _:
                    raise evaluator.refusal(statement)
        return written

    def evaluator(self, path: Path, inherited: Section) -> Evaluator:
        name, absolute = _shown(path), Path(os.path.normpath(path.absolute()))
        known = {
            "fileDirname": str(absolute.parent),
            "fileBasename": absolute.name,
            "fileBasenameNoExtension": absolute.stem,
            "fileExtname": absolute.suffix,
        }
        return Evaluator(
            where=lambda node: f"{name}:{getattr(node, 'lineno', 1)}",
            inherited=inherited,
            budget=self.budget,
            fill=lambda text: TEMPLATE.sub(lambda template: known[template[1]], text),
        )


def _shown(path: Path) -> str:
    """The path as errors show it: `a/b/../c.py` is a/c.py."""
    return os.path.normpath(path)


def _base_values(module: ast.Module) -> list[ast.expr]:
    """What is assigned to `_base_`."""
    values = []
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="_base_")], value=value):
                values.append(value)
    return values


def _check_name(target: ast.expr, where: str) -> None:
    match target:
        case ast.Name(id="custom_imports"):
            raise ConfigError(f"{where}: custom_imports would run code; a config file is data, read and never executed")
        case ast.Name(id=name) if name in FUNCTIONS or name.startswith("__"):
            raise ConfigError(f"{where}: {name!r} cannot be assigned")


def _parse(path: Path, wanted_by: str) -> ast.Module:
    return _parsed(_source(path, wanted_by), path)


def _parsed(source: str, path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():  # Python's, about texts that are odd for a program
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.parse(source, filename=str(path))
    except SyntaxError as error:
        raise ConfigError(f"{_shown(path)}:{error.lineno or 1}: not a config file ({error.msg})") from None
    except ValueError as error:  # a null byte
        raise ConfigError(f"{_shown(path)}: not a config file ({error})") from None


def _source(path: Path, wanted_by: str) -> str:
    """The text of a config file: a regular .py file, also behind a symlink, of a sane size."""
    name = _shown(path)
    try:
        if not path.is_file():
            if problem := address_problem(path):
                raise ConfigError(f"{wanted_by}{problem}")
            raise ConfigError(f"{wanted_by}{name} does not exist{_instead(path, is_base=bool(wanted_by))}")
        if {path.suffix, path.resolve().suffix} != {".py"}:
            raise ConfigError(f"{wanted_by}{name} is not a config file: its name must end in .py")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{wanted_by}{name} is not a config file: it is larger than {MAX_BYTES // 1024} KiB")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{wanted_by}{name} is not a config file: it is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # no permission, a null byte or too many letters in the name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{wanted_by}{name[:200]!r} cannot be read ({reason})") from None


def _instead(path: Path, *, is_base: bool) -> str:
    """What to try instead of a file that is not there."""
    if path.is_dir():
        return " as a file: it is a folder"
    name = nearest(path.name, (file.name for file in path.parent.glob("*.py"))) if path.parent.is_dir() else None
    if name:
        return f"; did you mean {_shown(path.parent / name)}?"
    if is_base:
        published = [recipe for folder in ("", "baselines/") if (recipe := find_recipe(folder + path.stem)).is_file()]
        fix = f'write _base_ = "{published[0]}"' if published else "write its path from there, or its full path"
        return f": a _base_ is looked for from the folder of the recipe that names it; {fix}"
    return "" if path.parent.is_dir() else f": there is no folder {_shown(path.parent)}"
