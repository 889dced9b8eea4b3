"""Files and folders whose names are not UTF-8 text: a command works on them, or says in one sentence why not."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tpn.data.annotations import read_list
from tpn.errors import DataError

NAME = os.fsdecode(b"caf\xe9")  # Latin-1, as on an old disk or from an old archive
SHOWN = "caf\\udce9"
NOT_A_LIST_S = "is not UTF-8 text, as a list must be; rename it"

WORKING = {
    "config": "config @.py",
    "predict": "predict @.py @.pth @.mp4 --out @.png",
    "predict, a folder": "predict @.py @.pth frames/@",
    "check": "check @.py --output-file @.bad.txt",
    "build-list": "build-list folders @/@/videos --format videos --out-root-path @.lists",
    "data pack": "data pack @.txt --data-prefix @/@ --out @.packed",
    "train": "train @.py --validate --cfg-options total_epochs=1",
    "test": "test @.py @.pth --out @.json --cfg-options data.test.ann_file=val.txt",
    "features": "features @.py @.pth --out @.pkl --cfg-options data.test.ann_file=val.txt",
    "convert": "convert @.pth @.safetensors",
    "publish-model": "publish-model @.pth @.public.pth",
    "logs": "logs plot_curve @.log.json --out @.curve.png",
    "logs, times": "logs cal_train_time @.log.json",
    "profile": "profile @.py --steps 2 --out @.profile.png",
}
REFUSED = {
    "an unknown command": ("@", f'unknown command "{SHOWN}"'),
    "an unknown option": ("config a.py --@", f"unknown option --{SHOWN}"),
    "a config that is not there": ("config @.none.py", f"did you mean {SHOWN}.py?"),
    "a setting's value": (
        "check @.py --cfg-options data.train.data_prefix=@",
        "not UTF-8 text; rename the file or folder",
    ),
    "a setting's name": ("check @.py --cfg-options @=3", "is not UTF-8 text"),
    "a folder in a config": ("config @/@/base.py", f"/{SHOWN}/{SHOWN}/train.txt' is not UTF-8 text"),
    "a video that is not there": ("predict @.py @.pth @.none.mp4", f"{SHOWN}.none.mp4: there is no such video"),
    "a video that is none": ("predict @.py @.pth @.bad.mp4", f"{SHOWN}.bad.mp4 is damaged"),
    "a picture of another kind": ("predict @.py @.pth @.mp4 --out @.gif", f"{SHOWN}.gif: pictures are written as .png"),
    "a video to be listed": (
        "build-list folders videos --format videos",
        f"videos: the name 'a/{SHOWN}.mp4' {NOT_A_LIST_S}",
    ),
    "a class to be listed": ("build-list folders classes --format videos", f"the name '{SHOWN}/a.mp4' {NOT_A_LIST_S}"),
    "videos to be packed": ("data pack @.txt --data-prefix none/@ --out @.x", "7 of 7 videos cannot be packed"),
    "a checkpoint to resume": ("train @.py --resume-from @.none.pth", f"{SHOWN}.none.pth: there is no such checkpoint"),
    "scores that are not there": ("fuse --scores @.none.pkl --datalist @.txt", f"{SHOWN}.none.pkl: cannot be read"),
}


@pytest.fixture
def command(sprites, trained, recipe, tmp_path, monkeypatch, tpn):
    """command("predict @.py") runs it in a folder that has what it needs; @ is the name."""
    monkeypatch.chdir(tmp_path)
    video = next(sprites.rglob("*.mp4"))
    shutil.copytree(sprites, Path(NAME, NAME))
    log = next(trained.glob("*.log.json"))
    sources = {
        ".py": recipe,
        ".pth": trained / "latest.pth",
        ".txt": sprites / "val.txt",
        ".mp4": video,
        ".log.json": log,
    }
    for suffix, source in sources.items():
        shutil.copy(source, f"{NAME}{suffix}")
    shutil.copy(sprites / "val.txt", ".")
    Path(f"{NAME}.bad.mp4").write_bytes(b"no video")
    Path(NAME, NAME, "base.py").write_text("work_dir = '{{ fileDirname }}/train.txt'")
    for path in (Path("classes", NAME, "a.mp4"), Path("videos/a", f"{NAME}.mp4")):
        path.parent.mkdir(parents=True)
        shutil.copy(video, path)
    Path("frames", NAME).mkdir(parents=True)
    cv2.imwrite("frame.jpg", np.zeros((40, 40, 3), np.uint8))
    for number in range(1, 20):
        shutil.copy("frame.jpg", Path("frames", NAME, f"img_{number:05}.jpg"))
    return lambda line: tpn(*line.replace("@", NAME).split())


@pytest.mark.parametrize("line", WORKING.values(), ids=WORKING)
def test_a_command_works_on_such_names(command, line):
    outcome = command(line)
    assert outcome.code == 0, outcome.err
    if "--out " in line:
        assert Path(line.partition("--out ")[2].split()[0].replace("@", NAME)).exists()


@pytest.mark.parametrize(("line", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_said_in_one_sentence(command, line, sentence):
    outcome = command(line)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ") and len(outcome.err.splitlines()) == 1
    assert sentence in outcome.err


def test_the_name_can_be_read_back_from_what_a_test_writes(command):
    assert command("test @.py @.pth --out @.json --cfg-options data.test.ann_file=val.txt").code == 0
    meta = json.loads(Path(f"{NAME}.json.meta.json").read_text())
    assert meta["checkpoint"] == f"{NAME}.pth"


@pytest.mark.parametrize("suffix", ["txt", "json"])
def test_a_list_with_such_a_name_is_refused_by_its_line(tmp_path, suffix):
    path = tmp_path / f"list.{suffix}"
    path.write_bytes(
        {
            "txt": b"a.mp4 0\ncaf\xe9.mp4 1\n",
            "json": b'[{"filename": "a.mp4", "label": 0}, {"filename": "caf\\udce9.mp4", "label": 1}]',
        }[suffix]
    )
    with pytest.raises(DataError, match=rf"list\.{suffix}:2: .*is not UTF-8 text"):
        read_list(path, format="videos", num_classes=2, check_files=False)
