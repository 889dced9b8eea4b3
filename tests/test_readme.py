"""What the README and the guide print is true: commands parse and run, examples work, links lead somewhere."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tpn import cli
from tpn.config import load_config
from tpn.config.evaluator import Evaluator
from tpn.config.fields import sections
from tpn.config.settings import Config, Settings

ROOT = Path(__file__).resolve().parents[1]
README, GUIDE = ROOT / "README.md", ROOT / "docs/en"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [page for page in PAGES if page.parent.name in ("en", "zh-CN")]
NAMES = sorted(page.name for page in GUIDE.glob("*.md"))
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
DEMO_RECIPE = "configs/recognition/tpn/tpn_tsn_r14_8x8x1_10e_temposprites_rgb.py"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, without the indentation of a list they may stand in."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [textwrap.dedent(text) for _, name, text in found if name == language]


def shell_lines(page: Path) -> list[str]:
    """The commands of a page, continued lines joined and `a && b` taken apart."""
    text = "\n".join(blocks(page, "shell")).replace("\\\n", " ")
    return [command.strip() for line in text.splitlines() for command in line.split("&&") if command.strip()]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def first_cells(page: Path) -> list[list[str]]:
    """What stands in code in the first cell of each row of the page's tables."""
    rows = re.findall(r"^\| *(.*?) *\|", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [code_spans(cell) for cell in rows]


def identify(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ---------------------------------------------------------------------------------------------------------- commands


def tpn_arguments(command: str) -> list[str] | None:
    """What `tpn` is given: of `tpn …`, `python tools/x.py …` and `torchrun … tools/x.py …`; None for anything else."""
    words = shlex.split(command)
    if words[0] == "tpn":
        return words[1:]
    at = next((index for index, word in enumerate(words) if word.startswith("tools/")), None)
    if words[0] not in ("python", "torchrun") or at is None:
        return None
    name = re.search(r'main\(\["([\w-]+)"', (ROOT / words[at]).read_text(encoding="utf-8"))
    assert name is not None, f"{words[at]} runs no command"
    return [name[1], *words[at + 1 :]]


COMMANDS = sorted({command for page in PAGES for command in shell_lines(page) if tpn_arguments(command) is not None})
INLINE = sorted(
    {
        span
        for page in PAGES
        for span in code_spans(FENCE.sub("", page.read_text(encoding="utf-8")))
        if re.match(r"tpn [a-z]", span)
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command):
    arguments = tpn_arguments(command)
    cli.app.parse_args(arguments, print_error=False, exit_on_error=False)
    files = [word for word in shlex.split(command) if word.startswith(("configs/", "tools/"))]
    assert not [file for file in files if not (ROOT / file).is_file()]


@pytest.mark.parametrize("command", INLINE)
def test_a_command_in_a_sentence_exists(command):
    words = shlex.split(command)
    assert words[1] in command_names()
    if len(words) > 2 or words[1] == "demo":  # `tpn train` alone is the command's name
        cli.app.parse_args(words[1:], print_error=False, exit_on_error=False)


def command_names() -> set[str]:
    return {name for name in cli.app if not name.startswith("-")}


def test_the_readme_lists_every_command():
    listed = {spans[0].split()[1] for spans in first_cells(README) if spans and spans[0].startswith("tpn ")}
    assert listed == {name for name in command_names() if cli.app[name].show}


@pytest.mark.parametrize("name", sorted(command_names()))
def test_every_command_explains_itself(name, capsys):
    assert run([name, "--help"]) == 0
    assert f"tpn {name}" in capsys.readouterr().out


def run(arguments: list[str]) -> int:
    """The exit status of `tpn …` in this process."""
    try:
        cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("tpn config ")])
def test_printing_a_recipe_runs(command, sandbox, capsys):
    assert run(tpn_arguments(command) or []) == 0
    assert "model = dict(" in capsys.readouterr().out


def test_the_check_script_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    install, test = next(
        block.strip().split(" && ") for block in blocks(README, "shell") if block.strip().endswith("&& pytest")
    )
    assert install in script.splitlines()
    assert test in script.splitlines()


# ---------------------------------------------------------------------------------------------------------- examples


@pytest.fixture
def sandbox(tmp_path, monkeypatch) -> Path:
    """A folder as the guide imagines it: the recipes of its examples, and configs/ as in the checkout."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    for page in PAGES:
        for example in blocks(page, "python"):
            if name := recipe_name(example):
                (tmp_path / name).write_text(example, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_name(example: str) -> str | None:
    """A recipe begins with a comment that is its file's name; other examples are programs."""
    name = re.match(r"# (\w+\.py)\n", example)
    return name[1] if name else None


def python_examples(*, recipes: bool) -> list:
    return [
        pytest.param(page, example, id=f"{identify(page)}-{recipe_name(example) or number}")
        for page in PAGES
        for number, example in enumerate(blocks(page, "python"))
        if (recipe_name(example) is not None) == recipes
    ]


@pytest.mark.parametrize("page, example", python_examples(recipes=True))
def test_a_recipe_of_the_guide_loads(page, example, sandbox):
    name = recipe_name(example)
    assert (sandbox / str(name)).read_text(encoding="utf-8") == example, f"two recipes are called {name}"
    load_config(str(name))
    if page == README:
        assert len(example.splitlines()) <= 7, "a change takes six lines under the file's name"


@pytest.mark.parametrize("page, example", python_examples(recipes=False))
def test_a_program_of_the_guide_runs(page, example, sandbox):
    import numpy as np
    import torch

    from tpn.data.sprites import video_frames, write_video
    from tpn.engine.results import write_results
    from tpn.models.recognizer import build_recognizer

    shutil.copy(ROOT / DEMO_RECIPE, "recipe.py")
    torch.save(build_recognizer(load_config("recipe.py").model).state_dict(), "checkpoint.pth")
    write_results(Path("result.json"), np.eye(6, dtype=np.float32))
    write_video(Path("video.mp4"), video_frames(0, np.random.default_rng(0)))
    names: dict[str, object] = {}
    exec(compile(example, identify(page), "exec"), names)
    assert names["scores"].shape[-1] == 6  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------ links, pictures


@pytest.mark.parametrize("page", [*PAGES, ROOT / "configs/recognition/tpn/README.md"], ids=identify)
def test_links_and_pictures_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "constraints-cpu.txt", ROOT / ".ci/run"], ids=identify)
def test_no_package_registry_is_named(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"pypi\.org|pythonhosted|download\.pytorch\.org/whl|npmjs|index-url[ =]+\S*://", text)


def test_the_readme_opens_with_the_figure_the_table_and_two_commands():
    first_screen = README.read_text(encoding="utf-8").partition("## What is where")[0]
    order = ["docs/figures/pyramid.svg", "published top-1 / top-5", "&& tpn demo\n", "&& pytest\n"]
    assert [first_screen.find(part) for part in order] == sorted(first_screen.find(part) for part in order)
    assert all(part in first_screen for part in order)


def test_the_readme_has_each_file_with_its_first_sentence():
    text = README.read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[[\w./]+\]\((t[\w./]+\.py)\) \| (.*) \|$", text, re.MULTILINE))
    files = [
        file for folder in ("tpn", "tools") for file in (ROOT / folder).rglob("*.py") if file.name != "__init__.py"
    ]
    sentences = {identify(file): first_sentence(file) for file in files}
    missing = [
        f"| [{Path(target).name}]({target}) | {sentence} |"
        for target, sentence in sorted(sentences.items())
        if listed.get(target) != sentence
    ]
    assert not missing, "rows that the README lacks:\n" + "\n".join(missing)
    assert listed.keys() == sentences.keys()


@pytest.mark.parametrize("package", sorted((ROOT / "tpn").glob("*/__init__.py")), ids=identify)
def test_the_readme_has_each_package_with_its_first_sentence(package):
    summary = f"<summary><b>{identify(package.parent)}/</b> {first_sentence(package)}"
    assert summary in README.read_text(encoding="utf-8")


def first_sentence(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]


# ------------------------------------------------------------------------------------------------------- two languages


def test_both_languages_have_the_same_pages():
    assert sorted(page.name for page in (ROOT / "docs/zh-CN").glob("*.md")) == NAMES


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_the_guide_begins_with_a_list_of_its_pages(language):
    index = (ROOT / "docs" / language / "README.md").read_text(encoding="utf-8")
    assert not [name for name in NAMES if name != "README.md" and f"]({name})" not in index]


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_say_the_same(name):
    english, chinese = GUIDE / name, ROOT / "docs/zh-CN" / name
    assert shell_lines(english) == shell_lines(chinese)
    assert blocks(english, "python") == blocks(chinese, "python")
    assert first_cells(english) == first_cells(chinese)
    headings = [re.findall(r"^#+", FENCE.sub("", page.read_text("utf-8")), re.M) for page in (english, chinese)]
    assert headings[0] == headings[1]


# ----------------------------------------------------------------------------------------------- the settings, errors


def settings(model: type[Settings] = Config, prefix: str = "") -> dict[str, object]:
    """The default of every setting by its dotted path; `...` where it must be given. data.test is as data.val."""
    found: dict[str, object] = {}
    for key, field in model.model_fields.items():
        if not (inner := sections(field)):
            found[prefix + key] = ... if field.is_required() else field.get_default(call_default_factory=True)
        for section in inner.values():
            for path, default in settings(section, f"{prefix}{key}.").items():
                found.setdefault(path, default)
    return {path: default for path, default in found.items() if not path.startswith("data.test.")}


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_the_settings_page_has_every_setting_with_its_default(language):
    text = (ROOT / "docs" / language / "configs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| (.+) \|$", text, re.MULTILINE)
    evaluator = Evaluator(where=lambda node: "configs.md")
    shown = {
        path: ... if default == "–" else evaluator.value(ast.parse(default.strip("`"), mode="eval").body)
        for path, default, _ in rows
    }
    shown.pop("model.neck")  # a whole section, in the table because None is a choice
    assert shown == settings()


@pytest.mark.parametrize("name", NAMES)
def test_settings_named_in_the_guide_exist(name):
    known = {*settings(), *(f"data.test.{path.rsplit('.', 1)[1]}" for path in settings() if "data.val." in path)}
    roots = {path.split(".")[0] for path in known if "." in path}
    spans = [span.partition("=")[0] for span in code_spans((GUIDE / name).read_text(encoding="utf-8"))]
    paths = {span for span in spans if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", span) and span.split(".")[0] in roots}
    assert not {
        path for path in paths if not any(setting == path or setting.startswith(path + ".") for setting in known)
    }


def test_the_messages_of_the_guide_are_in_the_code():
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tpn").rglob("*.py")))
    table = (GUIDE / "errors.md").read_text(encoding="utf-8").partition("## Messages")[2].partition("## Questions")[0]
    messages = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    assert len(messages) > 20
    parts = [part.strip() for message in messages for part in message.split("…") if part.strip()]
    assert not [part for part in parts if part not in source]


# ------------------------------------------------------------------------------------------------ the whole guide, once


def runnable(command: str) -> bool:
    """Whether a command needs nothing but what `tpn demo` leaves: no other data, no eight GPUs, nothing to fill in."""
    if command.startswith(("pip ", "make ", "tpn demo")) or re.search(r"\b[A-Z]{4,}\b", command):
        return False
    arguments = tpn_arguments(command) or []
    return arguments[:1] == ["config"] or "temposprites" in command or "work_dirs/demo" in command


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_command_of_the_guide_runs(sandbox):
    commands = [command for name in NAMES for command in shell_lines(GUIDE / name) if runnable(command)]
    assert len(commands) > 8
    python = shlex.quote(sys.executable)
    tpn = f"tpn() {{ {python} -c 'from tpn.cli import main; main()' \"$@\"; }}"
    script = "\n".join(["set -e", tpn, "tpn demo", *commands])
    script = script.replace("torchrun", f"{python} -m torch.distributed.run")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Path("result.json.meta.json").is_file()
    assert Path("prediction.png").is_file()
