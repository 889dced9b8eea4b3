"""Hostile foreign configs: they run nothing, read nothing but configs, and end in one error at once."""

import copy
import os
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tpn.compat.load import load_config, translated
from tpn.config import Config
from tpn.config.reader import read_config_file
from tpn.config.section import Section, located
from tpn.errors import ConfigError

BASE = "_base_ = './tpn_kinetics.py'\n"
HOSTILE = {
    "an import path as a type": "model = dict(backbone=dict(type='os.system'))",
    "a type that is code": 'model = dict(type=\'__import__("os").system("touch canary")\')',
    "a type that is a list": "model = dict(backbone=dict(type=['ResNet3dSlowOnly']))",
    "a type that is a dict": "model = dict(backbone=dict(type=dict(type='ResNet3dSlowOnly')))",
    "custom imports": "custom_imports = dict(imports=['os'], allow_failed_imports=False)",
    "an import as a hook": "custom_hooks = [dict(type='os.system', command='touch canary')]",
    "a module hook": "module_hooks = [dict(type='os.system')]",
    "a file client": "data = dict(train=dict(pipeline=[dict(type='RawFrameDecode', io_backend='petrel')]))",
    "steps without end": "data = dict(train=dict(pipeline=[dict(type='Flip') for i in range(9999)]))",
    "steps that are no steps": "data = dict(train=dict(pipeline='Flip'))",
    "steps within steps": "data = dict(train=dict(pipeline=[[dict(type='Flip')]]))",
    "unknown steps": "data = dict(train=dict(pipeline=[dict(type='x') for i in range(99)]))",
    "a data set of data sets": "data = dict(train=dict(_delete_=True, type='ConcatDataset', datasets=[]))",
    "a data set that is a list": "data = dict(train=[dict(type='RawframeDataset')])",
    "a list that is a list": "data = dict(train=dict(ann_file=['/etc/passwd']))",
    "scales without end": "model = dict(neck=dict(temporal_modulation_cfg=dict(downsample_scales=(1, 10**10))))",
    "scales of zero": "model = dict(neck=dict(temporal_modulation_cfg=dict(downsample_scales=(0, 0))))",
    "scales of text": "model = dict(neck=dict(temporal_modulation_cfg=dict(downsample_scales=('8', '8'))))",
    "a step every epoch of very many": "lr_config = dict(step=1)\ntotal_epochs = 999999",
    "levels without end": "model = dict(neck=dict(in_channels=[64 for i in range(9999)]))",
    "a model that is a number": "model = 3",
    "a head that is a number": "model = dict(cls_head=3)",
    "sections that are lists": "optimizer = []\nlr_config = []\nevaluation = []\nlog_config = []",
    "hooks without end": "log_config = dict(hooks=[dict(type='TextLoggerHook') for i in range(9999)])",
    "keys that are numbers": "model = {1: 2, 'type': 'Recognizer3D'}\ndata = {3: 4}",
    "very many classes": "model = dict(cls_head=dict(num_classes='9' * 9))",
    "a name that is not text": "data = dict(train=dict(filename_tmpl=dict(a=1)))",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_config_ends_in_an_error_at_once(mmaction2, monkeypatch, text):
    folder = mmaction2.folder / "tpn"
    monkeypatch.chdir(folder)
    (folder / "hostile.py").write_text(BASE + text)
    before = {path: path.stat().st_mtime_ns for path in mmaction2.folder.rglob("*")}
    opened, watching = [], [True]
    sys.addaudithook(lambda event, args: opened.append((event, args)) if watching else None)
    started = time.perf_counter()
    with pytest.raises(ConfigError) as error:
        load_config("hostile.py")
    watching.clear()
    assert time.perf_counter() - started < 1
    assert len(str(error.value)) < 50_000
    assert not [event for event, _ in opened if event in ("exec", "subprocess.Popen", "os.system", "socket.connect")]
    files = {os.fspath(args[0]) for event, args in opened if event == "open" and isinstance(args[0], str | os.PathLike)}
    assert all(name.endswith(".py") for name in files), files
    assert {path: path.stat().st_mtime_ns for path in mmaction2.folder.rglob("*")} == before


junk = st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats(allow_nan=False) | st.text(max_size=3)
junk |= st.sampled_from(["SampleFrames", "Resize", "TSMHead", "ResNetTSM", "linear", "VideoDataset", (1, 2), [[]]])
junk |= st.lists(junk, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), junk, max_size=2)


def places(value):
    """Every (container, key) of a config."""
    items = value.items() if isinstance(value, Section) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places(item)


@given(name=st.sampled_from(["tpn/tpn_kinetics.py", "tpn/tpn_sthv1.py", "v1/tpn_kinetics.py"]), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_says_is_a_config_or_a_config_error(mmaction2, name, data):
    """A few values of a good config become junk, or are gone."""
    section = copy.deepcopy(read_config_file(mmaction2.folder / name))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(section))))
        if isinstance(container, Section):
            if data.draw(st.booleans()):
                container.put(key, located(data.draw(junk), "file.py:1"), "file.py:1")
            else:
                container.pop(key), container.lines.pop(key)
        else:
            container[key] = located(data.draw(junk), "file.py:1")
    try:
        translation = translated(section, "file.py", {})
        assert translation is None or isinstance(Config.model_validate(translation.settings), Config)
    except ConfigError as error:
        assert all(": " in line for line in str(error).splitlines())
