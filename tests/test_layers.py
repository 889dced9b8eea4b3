"""The shape of the code: imports point downwards, files and functions stay small, every file says what it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for folder in ("tpn", "tools") for path in (ROOT / folder).rglob("*.py"))
RECIPES = sorted((ROOT / "configs").rglob("*.py"))

# Rooms from the bottom up. A file imports from the layers below its own and from its own room; models, data and metrics
# do not know each other. A module of tpn/ that is not named is a command of its own: predict, benchmark, …
LAYERS = [
    {"errors", "names", "words", "safe_pickle", "memory"},
    {"config"},
    {"models", "data", "metrics", "plot"},
    {"report", "compat", "flops", "peak"},
    {"engine"},
    {"COMMANDS"},
    {"demo"},  # runs other commands
    {"cli"},
    {"tools"},
]
HEAVY = {"torch", "numpy", "cv2", "av"}
MAX_LINES, MAX_FUNCTION = 350, 50  # of functions, the lines of code
TRAINING_LOOP = "tpn/engine/train.py:train_epoch"


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module a file imports, also inside functions and for type checking; `from tpn import x` as tpn.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"tpn.{alias.name}" for alias in node.names) if node.module == "tpn" else [node.module or ""]


def room_of(name: str) -> str:
    """'tpn.data.decode' -> 'data'; 'tpn.cli' and 'tpn.cli_tools' -> 'cli'; 'tpn.predict' -> 'predict'."""
    room = name.split(".")[1]
    return "cli" if room.startswith("cli") else room


def layer_of(room: str) -> int:
    return next((index for index, rooms in enumerate(LAYERS) if room in rooms), LAYERS.index({"COMMANDS"}))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_imports_point_downwards(path):
    name = module_name(path)
    room = "tools" if name.startswith("tools.") else room_of(name)
    if room == "__init__":  # the package itself offers functions of every room
        return
    own = {name for name in imports(parse(path)) if name.startswith("tpn.")}
    upwards = {
        name for name in own if room_of(name) not in (room, "__version__") and layer_of(room_of(name)) >= layer_of(room)
    }
    assert not upwards, f"{ids(path)} is in layer {layer_of(room)} of {LAYERS} and imports {sorted(upwards)}"


def test_only_reports_draw():
    drawing = {ids(path) for path in FILES if "tpn.plot" in imports(parse(path))}
    assert drawing <= {"tpn/report.py", "tpn/log_curves.py"}


@pytest.mark.parametrize("path", sorted((ROOT / "tpn/config").glob("*.py")), ids=ids)
def test_settings_load_without_torch_and_its_kin(path):
    assert not HEAVY & {name.split(".")[0] for name in imports(parse(path))}


@pytest.mark.parametrize("path", [*FILES, *RECIPES], ids=ids)
def test_a_file_fits_on_a_few_screens(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_function_fits_on_a_screen(path):
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: lines_of_code(node) for node in functions}
    long = {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION}
    assert not {name for name in long if f"{ids(path)}:{name}" != TRAINING_LOOP}, long


def lines_of_code(function: ast.FunctionDef) -> int:
    """From the first statement to the last: signature and docstring, which are a command's whole help, do not count."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_file_is_named_for_what_it_holds(path):
    assert path.stem not in {"utils", "util", "base", "misc", "common", "helpers"}


@pytest.mark.parametrize("path", [*FILES, *RECIPES], ids=ids)
def test_a_file_opens_with_one_sentence(path):
    if not path.read_text(encoding="utf-8").strip():
        return  # an empty __init__.py
    docstring = ast.get_docstring(parse(path)) or ""
    first = docstring.partition("\n\n")[0]
    assert first, f"{ids(path)} has no docstring"
    assert "\n" not in first, f"the first sentence of {ids(path)} takes more than a line"
    assert first.endswith("."), first
