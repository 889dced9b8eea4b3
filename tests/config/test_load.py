"""Loading settings: overrides, errors that name everything at once, and the dump that reads back equal."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpn.config import Config, dump_config, load_config, parse_overrides
from tpn.config.frame_names import FRAME_NAME
from tpn.errors import ConfigError

RECIPE = """
model = dict(
    backbone=dict(type="ResNet3dSlowOnly", depth=50),
    cls_head=dict(num_classes=400),
)
data = dict(
    format="videos",
    clip_len=8,
    train=dict(ann_file="train.txt"),
    val=dict(ann_file="val.txt"),
    test=dict(ann_file="val.txt", num_clips=10),
)
lr_config = dict(policy="step", step=(75, 125))
total_epochs = 150
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load the recipe above, some of its text replaced, some of its settings overridden."""
    monkeypatch.chdir(tmp_path)

    def load(*replacements: tuple[str, str], options: tuple[str, ...] = ()) -> Config:
        text = RECIPE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        Path("recipe.py").write_text(text)
        return load_config("recipe.py", parse_overrides(options))

    return load


@pytest.fixture
def problems(load):
    """The lines of the error that loading ends with."""

    def problems(*replacements: tuple[str, str], options: tuple[str, ...] = ()) -> list[str]:
        with pytest.raises(ConfigError) as error:
            load(*replacements, options=options)
        return str(error.value).splitlines()

    return problems


# ---------------------------------------------------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1e-3", -0.001),
        ("true", True),
        ("False", False),
        ("None", None),
        ("abc", "abc"),
        ("'1'", "1"),
        ("[1,2]", [1, 2]),
        ("(1, 2.5)", (1, 2.5)),
        ("1,2", [1, 2]),
        ("(8,)", (8,)),
        ("[]", []),
        ("[[a,b],(c,'d,e')]", [["a", "b"], ("c", "d,e")]),
        ("dict(policy='cosine', warmup_epochs=5)", {"policy": "cosine", "warmup_epochs": 5}),
        ("{2: 4}", {2: 4}),
    ],
)
def test_a_value_is_parsed_by_mmaction2s_grammar(text, value):
    assert parse_overrides([f"a.b={text}"]) == {"a.b": value}


def test_a_setting_that_is_text_is_taken_as_written():
    options = ["data.train.ann_file=x y,z=[1.txt", "work_dir=2024", "load_from=None", "model.backbone.pretrained='a'"]
    assert list(parse_overrides(options).values()) == ["x y,z=[1.txt", "2024", None, "a"]


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", "a=[1", "a=1]", "a=['b]", "a=dict(b=c)", "a=dict(b=open('c'))"])
def test_a_malformed_option_is_refused(text):
    with pytest.raises(ConfigError, match="--cfg-options: "):
        parse_overrides([text])


@pytest.mark.parametrize("text", ["[" * 9999, "[" * 9999 + "]" * 9999, "dict(a=" * 9999, "{" + "-" * 9999 + "1}"])
def test_a_hostile_option_is_refused(text):
    with pytest.raises(ConfigError):
        parse_overrides([f"a={text}"])


def test_options_replace_what_the_file_says(load):
    options = ("model.backbone.depth=101", "lr_config.step.0=50", "model.neck=None", "data.test.num_clips=5")
    config = load(options=options)
    assert config.model.backbone.depth == 101
    assert config.lr_config.step == (50, 125)
    assert config.model.neck is None
    assert config.data.test.num_clips == 5


def test_options_reach_sections_and_lists_the_file_does_not_mention(load):
    options = ("optimizer.lr=0.1", "model.neck.temporal_scales.0=4", "data.flip_label_map.2=4")
    config = load(options=options)
    assert (config.optimizer.lr, config.optimizer.momentum) == (0.1, 0.9)
    assert config.model.neck is not None and config.model.neck.temporal_scales == (4, 8)
    assert config.data.flip_label_map == {2: 4}


def test_an_option_replaces_a_whole_section(load):
    assert load(options=("lr_config=dict(policy='cosine')",)).lr_config.policy == "cosine"


def test_options_may_be_given_as_values(load):
    load()
    config = load_config(
        "recipe.py", {"model.backbone": {"type": "ResNetTSM"}, "lr_config.step": [3], "total_epochs": 9}
    )
    assert (config.model.backbone.type, config.lr_config.step, config.total_epochs) == ("ResNetTSM", (3,), 9)


# ------------------------------------------------------------------------------------------------------------- errors


def test_every_problem_is_reported_at_once(problems):
    found = problems(
        ("depth=50", "dpeth=50, base_channels=0"),
        ("clip_len=8", "clip_len='eight'"),
        ('policy="step"', 'policy="stpe"'),
        ("total_epochs", "totl_epochs"),
        ('    val=dict(ann_file="val.txt"),\n', ""),
        options=("optimzer.lr=fast", "model.neck=3"),
    )
    assert sorted(found) == [
        "--cfg-options: model.neck: expected a section, dict(...) or None, got 3",
        "--cfg-options: optimizer.lr: expected zero or a positive number, got 'fast'",
        "--cfg-options: optimzer: unknown key (value {'lr': 'fast'}); did you mean 'optimizer'?",
        "recipe.py:12: lr_config.policy: expected 'step' or 'cosine', got 'stpe'; did you mean 'step'?",
        "recipe.py:13: totl_epochs: unknown key (value 150); did you mean 'total_epochs'?",
        "recipe.py:3: model.backbone.base_channels: expected a positive integer, got 0",
        "recipe.py:3: model.backbone.dpeth: unknown key (value 50); did you mean 'depth'?",
        "recipe.py:6: data.val: missing; expected a section, dict(...)",
        "recipe.py:8: data.clip_len: expected a positive integer, got 'eight'",
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("SlowOnly", "Slowonly", "3: model.backbone.type: expected 'ResNet3dSlowOnly' or 'ResNetTSM', "
         "got 'ResNet3dSlowonly'; did you mean 'ResNet3dSlowOnly'?"),
        ('policy="step", ', "", "13: lr_config.policy: missing; expected 'step' or 'cosine'"),
        ("(75, 125)", "(75, 'x')", "13: lr_config.step: expected a list, each a positive integer, got (75, 'x')"),
        ("videos", "video", "7: data.format: expected 'rawframes' or 'videos', got 'video'; did you mean 'videos'?"),
        ("clip_len=8", "clip_len=8, area_range=(0.1, 2)",
         "8: data.area_range: expected a list of 2, each a number from 0 to 1, got (0.1, 2)"),
        ("clip_len=8", "clip_len=8, multi_scale_crop=[]",
         "8: data.multi_scale_crop: expected a list of 1 or more, each a positive number up to 1 or None, got []"),
        ("clip_len=8", "clip_len=8, std=(58, 57, 0)",
         "8: data.std: expected a list of 3, each a positive number, got (58, 57, 0)"),
        ("clip_len=8", "clip_len=8, mean=1", "8: data.mean: expected a list of 3, each a number, got 1"),
        ("clip_len=8", "clip_len=8, color_jitter=2", "8: data.color_jitter: expected True or False, got 2"),
        ("clip_len=8", "clip_len=8, flip_label_map={2: 'x'}",
         "8: data.flip_label_map: expected a dict from an integer to an integer, got {2: 'x'}"),
        ("num_clips=10", "num_clips=0", "11: data.test.num_clips: expected a positive integer or None, got 0"),
        ('"train.txt"', "7", "9: data.train.ann_file: expected text, got 7"),
        ("clip_len=8", "clip_len=8, num_clips=2",
         "8: data.clip_len x data.num_clips must be the 8 frames of one view in training, got 8 x 2"),
        ("50)", "50), neck=dict(temporal_scales=[8])",
         "3: model.neck.temporal_scales: expected a list of 2 to 4, each a positive integer, got [8]"),
        ("depth=50", "depth=50, num_segments=8", "3: model.backbone.num_segments: unknown key (value 8) with "
         "type='ResNet3dSlowOnly'; to replace the whole section: model.backbone=dict(_delete_=True, "
         "type='ResNet3dSlowOnly', ...)"),
    ],
)  # fmt: skip
def test_an_error_says_in_words_what_is_expected(problems, old, new, line):
    assert problems((old, new)) == [f"recipe.py:{line}"]


def test_a_setting_in_the_wrong_place_is_told_its_place(problems):
    found = problems(options=("num_classes=51", "backbone.depth=101"))
    assert [line.rpartition("; ")[2] for line in found] == [
        "did you mean 'model.cls_head.num_classes'?",
        "did you mean 'model.backbone'?",
    ]


paths = st.sampled_from(
    [
        *("x", "x.y.z", "model", "data", "lr_config", "total_epochs", "optimizer.lr", "evaluation.metrics"),
        *("model.backbone", "model.backbone.type", "model.backbone.x", "model.neck", "model.neck.0"),
        *("model.neck.temporal_scales", "lr_config.policy", "lr_config.step", "lr_config.step.0"),
        *("data.val", "data.val.num_clips", "data.flip_label_map", "data.mean", "data.mean.2", "data.std.x"),
    ]
)
wrong = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
wrong |= st.sampled_from(["step", "cosine", "ResNetTSM", "ResNet3dslowonly", "cosin"])
wrong |= st.lists(wrong, max_size=3) | st.dictionaries(
    st.text(max_size=3) | st.integers() | st.none(), wrong, max_size=2
)


@given(overrides=st.dictionaries(paths, wrong, max_size=5))
@settings(max_examples=100, deadline=None)
def test_whatever_is_wrong_is_a_config_error(tmp_path_factory, overrides):
    path = tmp_path_factory.getbasetemp() / "wrong.py"
    path.write_text(RECIPE)
    try:
        load_config(path, overrides)
    except ConfigError as error:
        assert all(line.startswith((f"{path}:", "--cfg-options: ")) for line in str(error).split("\n"))


def test_an_index_beyond_a_list_is_named(problems):
    found = problems(options=("lr_config.step.2=5",))
    assert found == ["--cfg-options: lr_config.step.2: the list has items 0 to 1, there is no '2'"]


def test_a_flood_of_unknown_keys_is_cut_short(problems):
    assert len(problems(("total_epochs", "\n".join(f"x{i} = 1" for i in range(5000)) + "\ntotal_epochs"))) <= 101


def test_importing_the_settings_imports_neither_torch_nor_numpy():
    code = "import sys, tpn.config; assert not {'torch', 'numpy', 'cv2', 'av'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("template", ["img_{:0999999999}.jpg", "{:>9999999}", "{0.__class__}", "img_%05d.jpg"])
def test_a_file_name_that_asks_for_more_than_a_number_is_refused(problems, template):
    sentence = f"data.filename_tmpl: expected the frame's number once, as in 'img_{{:05}}.jpg', got {template!r}"
    assert problems(('format="videos"', f'format="rawframes", filename_tmpl={template!r}')) == [
        f"recipe.py:7: {sentence}"
    ]
    assert problems(options=(f"data.filename_tmpl={template}",)) == [f"--cfg-options: {sentence}"]


# --------------------------------------------------------------------------------------------------------------- dump

texts = st.text(max_size=12) | st.sampled_from(["{{ fileDirname }}/a", "{{fileBasename}}'\"\\", "a\nb", "\\d"])
positive = st.integers(1, 10**6)
fractions = st.floats(0, 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def configs(draw) -> Config:
    """Valid settings of every shape."""
    length, segments, num_classes = draw(positive), draw(positive), draw(positive)
    labels = st.integers(0, num_classes - 1)
    slow_only = st.fixed_dictionaries({"type": st.just("ResNet3dSlowOnly"), "inflate": st.tuples(*[st.booleans()] * 4)})
    tsm = st.fixed_dictionaries({"type": st.just("ResNetTSM"), "num_segments": st.just(segments)})
    backbone = draw((slow_only if segments == 1 else tsm).flatmap(
        lambda keys: st.fixed_dictionaries({**{key: st.just(value) for key, value in keys.items()},
                                            "pretrained": st.none() | texts, "norm_eval": st.booleans()})))  # fmt: skip
    neck = st.fixed_dictionaries(
        {"flow_type": st.sampled_from(["cascade", "parallel"])}, optional={"aux_loss_weight": st.none()}
    )
    split = {"ann_file": texts, "data_prefix": texts}
    schedules = st.fixed_dictionaries({"policy": st.just("step"), "step": st.lists(positive, max_size=3)}) | st.just(
        {"policy": "cosine", "warmup_epochs": 5}
    )
    return Config.model_validate(
        {
            "model": {
                "backbone": backbone,
                "neck": draw(st.none() | neck),
                "cls_head": {"num_classes": num_classes},
            },
            "data": {
                "format": "videos",
                "clip_len": 1 if segments > 1 else length,
                "num_clips": segments,
                "filename_tmpl": draw(st.from_regex(FRAME_NAME, fullmatch=True)),
                "area_range": sorted(draw(st.tuples(fractions, fractions))),
                "mean": draw(st.tuples(numbers, numbers, numbers)),
                "flip_label_map": draw(st.dictionaries(labels, labels, max_size=3)),
                **{name: draw(st.fixed_dictionaries(split)) for name in ("train", "val", "test")},
            },
            "optimizer": {"lr": draw(st.floats(0, 1e300)), "max_grad_norm": draw(st.none() | st.just(40))},
            "lr_config": draw(schedules),
            "total_epochs": draw(positive),
            "work_dir": draw(st.none() | texts),
        }
    )


@given(config=configs())
@settings(max_examples=100, deadline=None)
def test_a_dumped_config_reads_back_equal(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "dumped.py"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_a_dump_is_short_and_says_every_default(load):
    text = dump_config(load())
    assert 'neck=dict(temporal_scales=(8, 8), flow_type="cascade", aux_loss_weight=0.5),' in text
    assert text.index('type="ResNet3dSlowOnly"') < text.index("depth=50")
    assert max(map(len, text.splitlines())) <= 120 and len(text.splitlines()) <= 100
