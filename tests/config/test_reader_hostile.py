"""Hostile config files: each is refused at once, runs nothing, and opens no file but configs."""

import codecs
import os
import sys
import time
from pathlib import Path

import pytest

from tpn.config.reader import read_config_file
from tpn.errors import ConfigError

HOSTILE = [
    # running code
    "__import__('os').system('touch canary')",
    "import os; os.system('touch canary')",
    "from os import system",
    "x = open('canary', 'w')",
    "x = eval('1')",
    'x = exec(\'open("canary", "w")\')',
    "x = compile('1', '', 'eval')",
    "x = ().__class__.__base__.__subclasses__()",
    "x = dict.__init__.__globals__",
    "x = 'a'.join(['b'])",
    "x = '{0.__class__}'.format(1)",
    "x = (lambda: open('canary', 'w'))()",
    "def f():\n    open('canary', 'w')",
    "class A:\n    open('canary', 'w')",
    "for i in range(3):\n    x = i",
    "while True:\n    x = 1",
    "with open('canary', 'w') as f:\n    x = 1",
    "try:\n    x = 1\nexcept Exception:\n    x = 2",
    "if True:\n    x = 1",
    "x = 1 if True else 2",
    "x = (y := 1)",
    "x = [open('canary', 'w') for i in range(1)]",
    "x = [i for i in range(3) if open('canary', 'w')]",
    "x = {i for i in range(3)}",
    "x = (i for i in range(3))",
    "x = [i async for i in range(3)]",
    "x = [i for i in [1, 2]]",
    'x = f\'{open("canary", "w")}\'',
    "a = 1\nx = f'{a.__class__}'",
    "a = 1\nx = f'{a!r}'",
    "a = 1\nx = f'{a:>99999999999}'",
    "a = 1\nx = f'{a:{a}}'",
    "a = [1]\nx = f'{a}'",
    "x = dict(**open('canary', 'w'))",
    "x = dict([('a', 1)])",
    "x = getattr(1, 'real')",
    "del x",
    "assert True",
    "raise ValueError",
    "global x",
    "x: int = 1",
    "x = 1\nx += 1",
    "x, y = 1, 2",
    "x = y = 1",
    "x.y = 1",
    "dict = 1",
    "__builtins__ = 1",
    "custom_imports = dict(imports=['os'])",
    "x = {{os.environ}}",
    "x = {{_base_.__class__}}",
    "x = {1, 2}",
    "x = not True",
    "x = True and False",
    "x = ~1",
    "x = 1j",
    "x = b'bytes'",
    "x = ...",
    "x = [*[1, 2]]",
    "x = [1, 2, 3][0:2]",
    "x = {[1]: 2}",
    "x = {None: 2}",
    "1 + 1",
    # using up time or memory
    "x = 10 ** 10 ** 10",
    "x = 1 << 10 ** 10",
    "x = [0] * 10 ** 12",
    "x = [0] * 1000000000000",
    "x = 'a' * 1000000000000",
    "x = '%10000000s' % 1",
    "x = f'{1:9999999999}'",
    "x = range(10000000000)",
    "x = range(-9223372036854775808, 9223372036854775807)",
    "x = range(" + "9" * 1000 + ")",
    "x = [i for i in range(1000000)]",
    "x = [[j for j in range(1000)] for i in range(1000)]",
    "x = {i: i for i in range(1000000)}",
    "a = 99999\n" + "a = a * a\n" * 40,
    "a = 'aaaaaaaaaa'\n" + "a = a + a\n" * 40,
    "a = [1, 2]\n" + "a = a + a\n" * 40,
    "a = [1, 2]\n" + "a = [a, a]\n" * 40,
    "a = dict(b=1)\n" + "a = dict(c=a, d=a)\n" * 40,
    "a = 'aaaaaaaaaa'\n" + "a = f'{a}{a}'\n" * 40,
    "a = []\n" + "a = [a]\n" * 5000,
    "x = " + "-" * 20000 + "1",
    "x = " + "(" * 20000 + ")" * 20000,
    "x = " + "[" * 150 + "]" * 150,
    "x = " + "dict(a=" * 150 + "1" + ")" * 150,
    "x = " + "+".join(["1"] * 20000),
    "x = y" + ".a" * 20000,
    "x = y" + "[0]" * 20000,
    "x = " + "9" * 100000,
    "x = 0x" + "f" * 100000,
    "x = int('" + "9" * 100000 + "')",
    "x = [" + "0," * 110000 + "]",
    "x = 1\n" * 60000,
    "x = '" + "a" * 300000 + "'",
    "x = 1e308 * 10 // 1",
    "\0",
    "x = '\\ud8'",
    "x = (",
    "\n".join(f"x{i} = 1" for i in range(9999)) + "\ny = x99999",
    # files
    "_base_ = '/etc/passwd'",
    "_base_ = '../../../../../../../../etc/passwd'",
    "_base_ = '/dev/zero'",
    "_base_ = '.'",
    "_base_ = ''",
    "_base_ = 'folder.py'",
    "_base_ = 'pipe.py'",
    "_base_ = 'passwd.py'",
    "_base_ = 'loop.py'",
    "_base_ = 'huge.py'",
    "_base_ = 'binary.py'",
    "_base_ = 'recipe.py'",
    "_base_ = 'http://localhost/a.py'",
    "_base_ = 'a\\0.py'",
    "_base_ = '" + "a" * 5000 + ".py'",
    "_base_ = 3",
    "_base_ = [3]",
    "_base_ = dict(a='b.py')",
    "_base_ = open('canary', 'w')",
    "_base_ = ['empty.py'] * 3",
    "_base_ = [" + "'empty.py', " * 60 + "]",
    "_base_ = 'deep0.py'",
]

opened: list[str] = []
watching = False


def _watch(event: str, arguments: tuple) -> None:
    if watching and event in ("open", "os.system", "subprocess.Popen", "socket.connect", "exec"):
        opened.append(str(arguments[0]))


@pytest.fixture(scope="module")
def audit():
    """Python's own record of every file opened and every program started."""
    codecs.lookup("utf-8-sig")  # Python reads a codec's own file when it is first used
    sys.addaudithook(_watch)


@pytest.fixture
def hostile_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.py").mkdir()
    os.mkfifo("pipe.py")
    Path("passwd.py").symlink_to("/etc/passwd")
    Path("loop.py").symlink_to("loop.py")
    Path("huge.py").write_text("x = 1\n" * 100_000)
    Path("binary.py").write_bytes(b"\xff\xfe\x00")
    Path("empty.py").write_text("")
    for depth in range(12):
        Path(f"deep{depth}.py").write_text(f"_base_ = 'deep{depth + 1}.py'")


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_file_is_refused_at_once_and_touches_nothing(hostile_folder, audit, number):
    global watching
    Path("recipe.py").write_text(HOSTILE[number])
    before = sorted(Path.cwd().iterdir())
    opened.clear()
    start = time.process_time()
    watching = True
    try:
        with pytest.raises(ConfigError) as error:
            read_config_file("recipe.py")
    finally:
        watching = False
    assert time.process_time() - start < 1
    assert sorted(Path.cwd().iterdir()) == before
    assert [file for file in opened if not file.endswith(".py")] == []
    assert len(str(error.value)) < 1000


def test_a_pyramid_of_bases_is_refused_at_once(tmp_path):
    for depth in range(9):
        (tmp_path / f"b{depth}.py").write_text(f"_base_ = ['b{depth + 1}.py'] + ['b{depth + 1}.py']")
    (tmp_path / "b9.py").write_text("")
    start = time.process_time()
    with pytest.raises(ConfigError, match="too many bases"):
        read_config_file(tmp_path / "b0.py")
    assert time.process_time() - start < 1
