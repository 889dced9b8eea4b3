"""What a run makes of videos that cannot be read: counted, listed, replaced in training; never left out of a result."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from tpn.engine.bad_videos import sufficient_share
from tpn.engine.results import read_results


@pytest.fixture
def with_bad(sprites, tmp_path):
    """with_bad(split, numbers): settings of that split's list with absolute paths, some of them no videos."""

    def make(split: str, numbers: list[int]) -> tuple[list[str], list[str]]:
        lines = [f"{sprites}/{line}" for line in (sprites / f"{split}.txt").read_text().splitlines()]
        for number in numbers:
            (tmp_path / f"bad{number}.mp4").write_bytes(b"no video")
            lines[number] = f"{tmp_path}/bad{number}.mp4 0"
        (tmp_path / "list.txt").write_text("\n".join(lines))
        settings = [f"data.{split}.ann_file={tmp_path / 'list.txt'}", f"data.{split}.data_prefix="]
        return settings, [f"{tmp_path}/bad{number}.mp4" for number in numbers]

    return make


def listed(work_dir: Path) -> list[str]:
    lines = (work_dir / "bad_videos.txt").read_text().splitlines()
    assert all("not a video" in line.split("\t")[1] for line in lines)
    return [line.split("\t")[0] for line in lines]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_completes_and_lists_each_bad_video_once(tpn, recipe, with_bad, tmp_path, text_log, workers):
    settings, paths = with_bad("train", [3, 7])
    outcome = tpn("train", recipe, "--work-dir", tmp_path / "run", "--seed", 0, "--cfg-options", *settings,
                  "data.max_bad=0.2", f"data.workers_per_gpu={workers}")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert listed(tmp_path / "run") == paths
    log = text_log(tmp_path / "run")
    assert len([line for line in log if line.startswith("bad video, another is shown instead")]) == 2
    assert f"Bad videos: 2, listed in {tmp_path / 'run' / 'bad_videos.txt'}" in log


def test_training_with_bad_videos_is_reproduced_and_resumed_exactly(
    tpn, recipe, with_bad, tmp_path, tensors, differing
):
    settings, paths = with_bad("train", [3, 7])

    def train(folder: str, *flags: object, workers: int = 0) -> dict:
        outcome = tpn("train", recipe, "--work-dir", tmp_path / folder, "--seed", 0, *flags, "--cfg-options", *settings,
                      "data.max_bad=0.2", f"data.workers_per_gpu={workers}")  # fmt: skip
        assert outcome.code == 0, outcome.err
        return tensors(tmp_path / folder / "epoch_3.pth")

    once = train("once")
    assert not differing(once, train("again", workers=2))
    resumed = train("resumed", "--resume-from", tmp_path / "once" / "epoch_1.pth")
    assert not differing(once, resumed)
    assert listed(tmp_path / "resumed") == paths


def test_the_list_of_an_earlier_run_is_removed_and_that_of_a_resumed_one_continued(tpn, recipe, with_bad, tmp_path):
    settings, paths = with_bad("train", [3, 7])
    train = ["train", recipe, "--work-dir", tmp_path / "run", "--cfg-options", "data.max_bad=0.2", "total_epochs=1"]
    assert tpn(*train, *settings).code == 0
    assert listed(tmp_path / "run") == paths
    resume = [*train[:4], "--resume-from", tmp_path / "run" / "epoch_1.pth", *train[4:], *settings]
    assert tpn(*resume).code == 0  # which has no step left to do
    assert listed(tmp_path / "run") == paths
    assert tpn(*train).code == 0
    assert not (tmp_path / "run" / "bad_videos.txt").exists()


def test_more_bad_videos_than_allowed_end_the_training_and_are_named(tpn, recipe, with_bad, tmp_path):
    settings, paths = with_bad("train", [3, 7])
    outcome = tpn("train", recipe, "--work-dir", tmp_path / "run", "--cfg-options", *settings,
                  "data.max_bad=0.15", "log_config.interval=20")  # fmt: skip
    assert outcome.code == 2
    assert "2 of 13 training videos cannot be read, data.max_bad = 0.15 allows no more than 1:" in outcome.err
    assert all(path in outcome.err for path in paths)
    assert (
        "`tpn check CONFIG --split train --full` names all there are; data.max_bad=0.16 allows as many as"
        in outcome.err
    )
    assert listed(tmp_path / "run") == paths


@pytest.mark.parametrize(("count", "total", "share"), [(2, 13, 0.16), (1, 10, 0.1), (7, 100, 0.07), (1, 24019, 4.2e-5)])
def test_the_share_advised_is_the_smallest_of_two_digits_that_suffices(count, total, share):
    assert sufficient_share(count, total) == share >= count / total


def test_on_error_fail_ends_the_training_at_the_first(tpn, recipe, with_bad, tmp_path):
    settings, paths = with_bad("train", [3, 7])
    outcome = tpn("train", recipe, "--work-dir", tmp_path / "run", "--cfg-options", *settings,
                  "data.on_error=fail", "data.max_bad=1")  # fmt: skip
    assert outcome.code == 2
    assert len([path for path in paths if path in outcome.err]) == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_processes_count_together(shell, recipe, with_bad, tmp_path):
    settings, paths = with_bad("train", [1, 2, 3, 5, 7])
    train = f"torchrun --nproc-per-node 2 tools/train.py {recipe} --work-dir {tmp_path / 'run'} --seed 0 --cfg-options"
    done = shell(f"{train} {' '.join(settings)} data.max_bad=0.5 total_epochs=1 data.videos_per_gpu=2")
    assert done.code == 0, done.err
    assert listed(tmp_path / "run") == paths
    done = shell(f"{train} {' '.join(settings)} data.max_bad=0.3 total_epochs=1 data.videos_per_gpu=2")
    assert done.code != 0
    assert "5 of 13 training videos cannot be read" in done.err
    assert all(path in done.err for path in paths)


# ----------------------------------------------------------------------------------------------- validation and test


@pytest.mark.parametrize("workers", [0, 2])
def test_a_test_names_all_bad_videos_and_writes_nothing(tpn, recipe, trained, with_bad, tmp_path, workers):
    settings, paths = with_bad("test", [0, 13, 66])
    outcome = tpn("test", recipe, trained / "epoch_3.pth", "--out", tmp_path / "out.json", "--cfg-options", *settings,
                  f"data.workers_per_gpu={workers}")  # fmt: skip
    assert outcome.code == 2
    assert "3 of 67 test videos cannot be read, data.test.max_bad = 0 allows no more than 0:" in outcome.err
    assert all(path in outcome.err for path in paths)
    assert not (tmp_path / "out.json").exists()


def test_a_test_that_may_lack_videos_says_which_and_counts_them_as_wrong(tpn, recipe, trained, with_bad, tmp_path):
    settings, paths = with_bad("test", [0, 13, 66])
    run = ["test", recipe, trained / "epoch_3.pth", "--eval", "top_k_accuracy", "mean_class_accuracy"]
    whole = tpn(*run, "--out", tmp_path / "whole.json")
    lacking = tpn(*run, "--out", tmp_path / "lacking.json", "--cfg-options", *settings, "data.test.max_bad=0.1")
    assert lacking.code == 0, lacking.err
    scores, expected = read_results(tmp_path / "lacking.json"), read_results(tmp_path / "whole.json")
    unread = [0, 13, 66]
    assert np.isnan(scores[unread]).all()
    read = np.setdiff1d(np.arange(67), unread)
    np.testing.assert_array_equal(scores[read], expected[read])
    meta = json.loads((tmp_path / "lacking.json.meta.json").read_text())
    assert meta["num_failures"] == 3
    assert list(meta["failures"]) == paths
    assert [line.split(": ")[1].split()[0] for line in lacking.out.splitlines() if "counts as wrong" in line] == paths
    labels = [int(line.split()[-1]) for line in (tmp_path / "list.txt").read_text().splitlines()]
    right = sum(int(np.argmax(scores[index])) == labels[index] for index in read)
    assert f"top1_acc: {right / 67:.4f}" in lacking.out
    assert whole.code == 0


def test_a_test_of_nothing_but_bad_videos_fails_whatever_is_allowed(tpn, recipe, trained, with_bad, tmp_path):
    settings, _ = with_bad("val", list(range(7)))
    settings = [setting.replace("data.val.", "data.test.") for setting in settings]
    outcome = tpn("test", recipe, trained / "epoch_3.pth", "--eval", "top_k_accuracy", "--cfg-options", *settings,
                  "data.test.max_bad=1")  # fmt: skip
    assert outcome.code == 2
    assert "7 of 7 test videos cannot be read" in outcome.err


def test_bad_validation_videos_end_a_training_before_its_first_step(tpn, recipe, with_bad, tmp_path, text_log):
    settings, paths = with_bad("val", [2, 4])
    run = ["train", recipe, "--work-dir", tmp_path / "run", "--cfg-options", *settings]
    outcome = tpn(*run, "--validate")
    assert outcome.code == 2
    assert "2 of 7 validation videos cannot be read, data.val.max_bad = 0 allows no more than 0:" in outcome.err
    assert all(path in outcome.err for path in paths)
    assert not (tmp_path / "run").exists()
    assert tpn(*run).code == 0  # which needs none


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_processes_find_bad_validation_videos_before_the_first_step(shell, recipe, with_bad, tmp_path, text_log):
    settings, paths = with_bad("val", [2, 4])
    train = (
        f"torchrun --nproc-per-node 2 tools/train.py {recipe} --work-dir {tmp_path / 'run'} --validate --cfg-options"
    )
    train += f" {' '.join(settings)} total_epochs=1 data.videos_per_gpu=2"
    done = shell(train)
    assert done.code != 0
    assert done.err.count("error: 2 of 7 validation videos cannot be read") == 1
    assert not (tmp_path / "run").exists()
    done = shell(f"{train} data.val.max_bad=0.3")
    assert done.code == 0, done.err
    log = text_log(tmp_path / "run")
    assert sum(line.startswith("bad validation video") for line in log) == 2
    assert f"Bad validation videos, counted as wrong: {', '.join(paths)}" in log


def test_bad_validation_videos_that_may_be_are_logged_once_and_named_at_the_end(
    tpn, recipe, with_bad, tmp_path, text_log
):
    settings, paths = with_bad("val", [2, 4])
    run = ["train", recipe, "--work-dir", tmp_path / "run", "--validate", "--cfg-options", *settings]
    outcome = tpn(*run, "data.val.max_bad=0.3")
    assert outcome.code == 0, outcome.err
    log = text_log(tmp_path / "run")
    told = [at for at, line in enumerate(log) if line.startswith("bad validation video, counts as wrong: ")]
    assert [log[at].split(": ")[1].split()[0] for at in told] == paths
    assert max(told) < next(at for at, line in enumerate(log) if line.startswith("Epoch [1]"))
    assert f"Bad validation videos, counted as wrong: {', '.join(paths)}" in log


@pytest.fixture
def damaged_within(sprites, tmp_path) -> str:
    """A list of validation videos, one of which has a first frame that decodes and none after it; its path."""
    lines = [f"{sprites}/{line}" for line in (sprites / "val.txt").read_text().splitlines()]
    video = tmp_path / "half.mp4"
    whole = lines[2].rsplit(maxsplit=1)[0]
    data = bytearray(Path(whole).read_bytes())
    with av.open(whole) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for at, size in places[1:]:
        data[at + 5 : at + size] = b"\xaa" * (size - 5)  # the rest of a picture: its size and its kind stay
    video.write_bytes(data)
    lines[2] = f"{video} 0"
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return str(video)


def test_a_validation_that_fails_says_what_is_saved_and_how_it_goes_on(tpn, recipe, damaged_within, tmp_path, text_log):
    settings = [f"data.val.ann_file={tmp_path / 'list.txt'}", "data.val.data_prefix="]
    run = ["train", recipe, "--work-dir", tmp_path / "run", "--validate", "--auto-resume", "--cfg-options", *settings]
    outcome = tpn(*run)
    assert outcome.code == 2
    assert f"\n{damaged_within} " in outcome.err
    saved = (
        f"the training is saved in {tmp_path / 'run' / 'epoch_1.pth'}: mend the videos or change the setting, and run"
    )
    assert saved in outcome.err
    log = text_log(tmp_path / "run")
    assert any("1 of 7 validation videos cannot be read" in line for line in log)
    assert any(saved in line for line in log)
    resumed = tpn(*run, "data.val.max_bad=0.3")
    assert resumed.code == 0, resumed.err
    assert "resumed epoch 1" in resumed.out
    assert resumed.out.count("bad validation video, counts as wrong: ") == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_processes_test_as_one(shell, tpn, recipe, trained, with_bad, tmp_path):
    settings, paths = with_bad("test", [0, 13, 66])
    options = ["--cfg-options", *settings, "data.test.max_bad=0.1"]
    assert tpn("test", recipe, trained / "epoch_3.pth", "--out", tmp_path / "one.json", *options).code == 0
    test = f"torchrun --nproc-per-node 2 tools/test.py {recipe} {trained / 'epoch_3.pth'}"
    done = shell(f"{test} --out {tmp_path / 'two.json'} {' '.join(options)}")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(read_results(tmp_path / "one.json"), read_results(tmp_path / "two.json"))
    assert list(json.loads((tmp_path / "two.json.meta.json").read_text())["failures"]) == paths
