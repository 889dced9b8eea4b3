"""The config reader: what its language means, and the errors outside of it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpn.config.reader import read_config_file
from tpn.errors import ConfigError


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Write files into an empty folder, read the one called recipe.py: read("a = 1", **{"base.py": "b = 2"})."""
    monkeypatch.chdir(tmp_path)

    def write_and_read(text: str, **files: str):
        for name, content in {**files, "recipe.py": text}.items():
            Path(name).write_text(content)
        return read_config_file("recipe.py")

    return write_and_read


def refused(read, text: str, **files: str) -> str:
    """The message with which a text is refused."""
    with pytest.raises(ConfigError) as error:
        read(text, **files)
    return str(error.value)


# ------------------------------------------------------------------------------------------------------- the language


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("None", None),
        ("-1.5e-3", -1.5e-3),
        ("[1, (2,), ()]", [1, (2,), ()]),
        ("dict(a=1, b=dict(c=[dict(d=2)]))", {"a": 1, "b": {"c": [{"d": 2}]}}),
        ("{'a': 1, 2: 'b', -3: None}", {"a": 1, 2: "b", -3: None}),
        ("7 + 2 * 3 - 8 / 4 + 7 // 2 + 7 % 4", 17.0),
        ("'./work_dirs/' + 'a'", "./work_dirs/a"),
        ("[1] + [2]", [1, 2]),
        ("range(0, 6, 2)", [0, 2, 4]),
        ("len([1, 2]) + int('3')", 5),
        ("tuple([1, 2])", (1, 2)),
        ("[2 * i for i in range(3)]", [0, 2, 4]),
        ("{i: 1 + int(i >= 2) for i in range(4)}", {0: 1, 1: 1, 2: 2, 3: 2}),
        ("[[i for i in range(i)] for i in range(3)]", [[], [0], [0, 1]]),
        ("dict(a=[5, 6])['a'][1]", 6),
    ],
)
def test_an_expression_means_what_python_means(read, expression, value):
    assert read(f"x = {expression}") == {"x": value}


def test_later_lines_use_the_names_of_earlier_ones(read):
    section = read("""
norm = dict(mean=[1, 2], to_bgr=False)
steps = [dict(type='Flip'), dict(type='Normalize', **norm)]
work_dir = 'runs'
log = f'{work_dir}/log'
""")
    assert section["steps"][1] == {"type": "Normalize", "mean": [1, 2], "to_bgr": False}
    assert section["log"] == "runs/log"


def test_a_key_of_an_own_dict_can_be_assigned(read):
    assert read("a = dict(b=dict(c=1))\na['d'] = a['b']\na['b']['c'] = 2") == {"a": {"b": {"c": 2}, "d": {"c": 1}}}


def test_a_value_used_twice_is_two_values(read):
    section = read("a = [1]\nb = [a, a]")
    section["b"][0].append(2)
    assert section == {"a": [1], "b": [[1, 2], [1]]}


def test_a_name_with_an_underscore_stays_in_its_file(read):
    assert read("_base_ = 'base.py'\n_x = 1\ny = _x", **{"base.py": "_x = 2\nz = _x"}) == {"y": 1, "z": 2}


def test_templates_name_the_file_they_are_in(read, tmp_path):
    files = {"base.py": "a = '{{ fileBasename }}'\nb = '{{fileDirname}}/x'"}
    section = read("_base_ = 'base.py'\nwork_dir = './{{ fileBasenameNoExtension }}'", **files)
    assert section == {"a": "base.py", "b": f"{tmp_path}/x", "work_dir": "./recipe"}


# -------------------------------------------------------------------------------------------------------------- bases

BASE = {"base.py": "model = dict(backbone=dict(depth=50, pretrained='x'), neck=dict(a=1))\nsteps = [1, 2]"}


def test_sections_merge_into_the_base_and_lists_replace(read):
    section = read("_base_ = './base.py'\nmodel = dict(backbone=dict(pretrained=None))\nsteps = [3]", **BASE)
    assert section["model"] == {"backbone": {"depth": 50, "pretrained": None}, "neck": {"a": 1}}
    assert section["steps"] == [3]


def test_delete_drops_what_is_inherited(read):
    section = read("_base_ = 'base.py'\nmodel = dict(backbone=dict(_delete_=True, type='B'), neck=None)", **BASE)
    assert section["model"] == {"backbone": {"type": "B"}, "neck": None}


def test_inherited_names_are_known(read):
    section = read("_base_ = ['base.py']\nlast = steps[1]\ndepth = {{ _base_.model.backbone.depth }}", **BASE)
    assert (section["last"], section["depth"]) == (2, 50)


def test_bases_of_bases_are_found_beside_their_file(read, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one.py").write_text("_base_ = 'b/two.py'\nx = 1")
    (tmp_path / "a" / "b" / "two.py").write_text("y = 2")
    assert read("_base_ = 'a/one.py'") == {"x": 1, "y": 2}


def test_every_key_remembers_where_it_was_written(read):
    section = read("_base_ = 'base.py'\nmodel = dict(\n    backbone=dict(\n        pretrained=None))", **BASE)
    backbone = section["model"]["backbone"]
    assert backbone.lines == {"depth": "base.py:1", "pretrained": "recipe.py:4"}
    assert section.lines == {"model": "recipe.py:2", "steps": "base.py:2"}


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("img_norm = 1\nx = img_nrom", "recipe.py:2: name 'img_nrom' is not defined; did you mean 'img_norm'?"),
        ("\nimport os", "recipe.py:2: import is not allowed: a config file is data, read and never executed"),
        ("x = dict(\n    a=1,\n    a=2)", "recipe.py:3: key 'a' is written twice"),
        ("x = (1,\n", "recipe.py:1: not a config file ('(' was never closed)"),
        ("x = [1][5]", "recipe.py:1: this expression has no value (list index out of range)"),
        ("x = 1 / 0", "recipe.py:1: this expression has no value (division by zero)"),
        ("x = dict(depth=1)['dpeth']", "recipe.py:1: there is no key 'dpeth'; did you mean 'depth'?"),
        ("_base_ = 'bsae.py'", "recipe.py:1: bsae.py does not exist; did you mean base.py?"),
        (
            "_base_ = 'a/b.py'",
            "recipe.py:1: a/b.py does not exist: a _base_ is looked for from the folder of the "
            "recipe that names it; write its path from there, or its full path",
        ),
        ("_base_ = ['base.py', 'other.py']", "recipe.py:1: two bases both set steps"),
        ("_base_ = 'recipe.py'", "recipe.py:1: recipe.py is its own _base_"),
    ],
)
def test_an_error_names_file_line_and_fix(read, text, message):
    assert refused(read, text, **BASE, **{"other.py": "steps = 3"}) == message


def test_a_missing_file_names_the_nearest_one(tmp_path):
    (tmp_path / "tpn_slowonly.py").write_text("")
    with pytest.raises(ConfigError, match=r"tpn_slowonyl\.py does not exist; did you mean .*/tpn_slowonly\.py\?"):
        read_config_file(tmp_path / "tpn_slowonyl.py")


def test_a_published_recipe_that_is_not_beside_ones_own_is_named_by_the_path_to_write(read):
    message = refused(read, '_base_ = "configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py"')
    assert "is looked for from the folder of the recipe that names it" in message
    fix = message.partition("; write ")[2]
    assert read(fix)["total_epochs"] == 150


# --------------------------------------------------------------------------------------------------------- properties

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda values: (
        st.lists(values, max_size=3)
        | st.lists(values, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), values, max_size=3)
    ),
    max_leaves=8,
)


@given(value=plain)
@settings(max_examples=100, deadline=None)
def test_any_literal_is_read_as_itself(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "literal.py"
    path.write_text(f"x = {value!r}", encoding="utf-8")
    assert read_config_file(path) == {"x": value}


@given(text=st.text(alphabet="ab_=()[]{}'\",.:*+-%/ \n#0123\\", max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_is_read_or_refused_with_its_place(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "noise.py"
    path.write_text(text, encoding="utf-8")
    try:
        read_config_file(path)
    except ConfigError as error:
        assert str(error).startswith(str(path))
