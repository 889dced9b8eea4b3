"""The guide's five steps for videos of one's own, as they are printed, lead to the figures that it states."""

import json
import re
import textwrap
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("fall", "rise")
VIDEOS = 100  # of each class
WIDTH, HEIGHT = 320, 240


def draw(rng: np.random.Generator, *, backwards: bool) -> list[np.ndarray]:
    """Three to five seconds of a disc that falls over a blurred picture, one to three times; or rises, backwards."""
    num_frames = int(rng.integers(75, 126))
    picture = rng.integers(0, 246, (12, 16, 3), dtype=np.uint8)
    picture = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    colour, radius = tuple(int(value) for value in rng.integers(0, 246, 3)), int(rng.integers(18, 40))
    x, falls, start = int(rng.uniform(60, 260)), rng.uniform(1, 3), rng.uniform()
    frames = []
    for number in range(num_frames):
        y = (start + falls * number / num_frames) % 1 * (HEIGHT + 2 * radius) - radius
        frame = cv2.circle(picture.copy(), (x, int(y)), radius, colour, -1, cv2.LINE_AA)
        frames.append(frame + rng.integers(0, 10, frame.shape, dtype=np.uint8))
    return frames[::-1] if backwards else frames


def write(path: Path, frames: list[np.ndarray]) -> None:
    """As a camera would: H.264 at 25 frames a second, keyframes where the encoder puts them."""
    with av.open(str(path), "w") as out:
        options = {"preset": "veryfast"}
        stream = out.add_stream("libx264", rate=25, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p", options=options)
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))


def draw_all(folder: Path) -> None:
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(VIDEOS):
            rng = np.random.default_rng([label, number])
            write(folder / name / f"{number:03}.mp4", draw(rng, backwards=label == 1))


@pytest.fixture(scope="module")
def section() -> str:
    """The part of the guide that has the five steps."""
    text = (ROOT / "docs/en/getting-started.md").read_text(encoding="utf-8")
    return text.partition("## Your own videos")[2].partition("### ")[0]


@pytest.fixture(scope="module")
def steps(section) -> list[str]:
    """The commands of the five steps, but the one that wants a video of the reader's."""
    return [command for command in re.findall(r"^ +(tpn .*)$", section, re.MULTILINE) if "VIDEO" not in command]


def test_the_five_steps_check_before_they_train(steps):
    assert [command.split()[1] for command in steps] == ["build-list", "config", "check", "check", "train", "test"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_five_steps_lead_to_the_accuracy_of_the_guide(tpn, section, steps, tmp_path, monkeypatch):
    """At least 65 % at the best validation and 70 % in the test.

    Of 40 videos each is 2.5 %, and the sampling error alone is 7 % (a standard deviation). Two machines and three seeds
    gave 67.5 to 85 % at the best validation and 77.5 to 87.5 % in the test. The bounds are below these and above
    guessing, of which 40 coins show 65 % in 4 of 100 throws, and 70 % in 1 of 120.
    """
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(ROOT / "configs")
    [recipe] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    Path("mine.py").write_text(textwrap.dedent(recipe), encoding="utf-8")
    assert tpn("demo").code == 0
    draw_all(Path("data/mine/videos"))
    outcomes = [tpn(*command.split()[1:]) for command in steps]
    assert [outcome.code for outcome in outcomes] == [0] * len(steps), outcomes
    logs = "".join(path.read_text() for path in Path("work_dirs/mine").glob("*.log.json"))
    rows = [json.loads(line) for line in logs.splitlines()]
    assert max(row["top1_acc"] for row in rows if row.get("mode") == "val") >= 0.65
    assert float(re.findall(r"^top1_acc: (.*)$", outcomes[-1].out, re.MULTILINE)[0]) >= 0.7
