"""What a user gets wrong ends in one message that names file, value and fix, before any training time is spent."""

import time
from pathlib import Path

import pytest
import torch

SCREEN = 24  # lines


@pytest.fixture
def refused(tpn, tmp_path):
    """refused(arguments, words): the command ends with status 2 and one screen on stderr that has all these words."""

    def check(arguments: list[object], words: list[object]) -> str:
        outcome = tpn(*arguments)
        assert outcome.code == 2, outcome
        assert outcome.err.startswith("error: ")
        assert len(outcome.err.splitlines()) <= SCREEN
        assert "Traceback" not in outcome.err
        missing = [word for word in map(str, words) if word not in outcome.err]
        assert not missing, outcome.err
        return outcome.out

    return check


@pytest.fixture
def refused_training(refused, recipe, tmp_path):
    """The same of `tpn train` with these flags; and it has neither logged a line nor made its folder."""

    def check(flags: list[object], words: list[object]) -> None:
        assert refused(["train", recipe, "--work-dir", tmp_path / "run", "--validate", *flags], words) == ""
        assert not (tmp_path / "run").exists()

    return check


@pytest.fixture
def broken_list(sprites, tmp_path) -> Path:
    """A list whose seventh video is no video; its paths start from the file system's root."""
    (tmp_path / "broken.mp4").write_bytes(b"not a video" * 100)
    lines = [f"{sprites}/{line}" for line in (sprites / "train.txt").read_text().splitlines()]
    lines[6] = f"{tmp_path}/broken.mp4 0"
    path = tmp_path / "broken.txt"
    path.write_text("\n".join(lines))
    return path


def written(folder: Path, text: str) -> Path:
    path = folder / "list.txt"
    path.write_text(text)
    return path


# ---------------------------------------------------------------------------------------------- the data, before a step


def test_missing_data_folder(refused_training):
    refused_training(["--cfg-options", "data.train.data_prefix=no/where"], ["no/where is not a folder", "data_prefix"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_list(refused_training, split):
    refused_training(
        ["--cfg-options", f"data.{split}.ann_file=no/list.txt"], ["no/list.txt", "No such file", "ann_file"]
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_malformed_line_is_named_by_file_and_number(refused_training, tmp_path, split):
    path = written(tmp_path, "videos/train/00000.mp4 0\nvideos/train/00001.mp4\n")
    refused_training(["--cfg-options", f"data.{split}.ann_file={path}"], [f"{path}:2:", "expected `path label`"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_label_outside_the_classes(refused_training, tmp_path, split):
    path = written(tmp_path, "videos/train/00000.mp4 0\nvideos/train/00001.mp4 6\n")
    refused_training(
        ["--cfg-options", f"data.{split}.ann_file={path}"], [f"{path}:2:", "label 6", "0..5", "num_classes"]
    )


def test_list_that_names_no_file(refused_training, tmp_path):
    path = written(tmp_path, "videos/train/gone.mp4 0\n")
    refused_training(["--cfg-options", f"data.train.ann_file={path}"], [f"{path}:1:", "gone.mp4", "data_prefix"])


def test_empty_list(refused_training, refused, tmp_path, recipe, trained):
    path = written(tmp_path, "\n\n")
    refused_training(["--cfg-options", f"data.train.ann_file={path}"], [path, "no records"])
    refused(["test", recipe, trained / "epoch_1.pth", "--eval", "top_k_accuracy", "--cfg-options",
             f"data.test.ann_file={path}"], [path, "no records"])  # fmt: skip


def test_rawframes_list_read_as_videos_is_recognised(refused_training, tmp_path):
    path = written(tmp_path, "abseiling/a 300 0\n")
    refused_training(["--cfg-options", f"data.train.ann_file={path}"], ["is format 'rawframes' meant?"])


# ------------------------------------------------------------------------------------------ videos that cannot be read


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_training_video_is_named(refused, recipe, broken_list, tmp_path, workers):
    out = refused(
        ["train", recipe, "--work-dir", tmp_path / "run", "--cfg-options", f"data.train.ann_file={broken_list}",
         "data.train.data_prefix=/", f"data.workers_per_gpu={workers}"],
        ["broken.mp4", "replace the file, or leave it out"],
    )  # fmt: skip
    assert "13 training videos" in out


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_validation_video_is_named_before_the_first_step(refused_training, broken_list, workers):
    refused_training(
        ["--cfg-options", f"data.val.ann_file={broken_list}", "data.val.data_prefix=/",
         f"data.workers_per_gpu={workers}"],
        ["broken.mp4", "replace the file, or leave it out"],
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_test_video_is_named_and_no_half_result_is_written(
    refused, recipe, trained, broken_list, tmp_path, workers
):
    refused(
        ["test", recipe, trained / "epoch_3.pth", "--out", tmp_path / "result.json", "--cfg-options",
         f"data.test.ann_file={broken_list}", "data.test.data_prefix=/", f"data.workers_per_gpu={workers}"],
        ["broken.mp4", "replace the file, or leave it out"],
    )  # fmt: skip
    assert not (tmp_path / "result.json").exists()


def test_prediction_of_what_is_no_video(refused, recipe, trained, broken_list, tmp_path):
    predict = ["predict", recipe, trained / "epoch_3.pth"]
    refused([*predict, broken_list.with_name("broken.mp4")], ["broken.mp4", "not a video"])
    refused([*predict, tmp_path / "gone.mp4"], ["gone.mp4: there is no such video file"])
    refused([*predict, tmp_path], [f"{tmp_path}: is a folder, a video file is expected", "data.format=rawframes"])
    refused([*predict, tmp_path, "--cfg-options", "data.format=rawframes"], ["img_00001.jpg", "data.filename_tmpl"])


@pytest.mark.timeout(120)
def test_mistake_on_one_of_two_processes_ends_both_and_is_told(shell, recipe, broken_list, tmp_path):
    """A single broken video, so that one process fails while the other waits for its gradient."""
    started = time.monotonic()
    outcome = shell(
        f"torchrun --nproc-per-node 2 tools/train.py {recipe} --work-dir {tmp_path / 'run'} --cfg-options "
        f"data.train.ann_file={broken_list} data.train.data_prefix=/ data.videos_per_gpu=2"
    )
    assert outcome.code != 0
    assert time.monotonic() - started < 60
    assert outcome.err.count("broken.mp4 is damaged") == 1
    assert "RuntimeError" not in outcome.err  # of the process that was left alone


# -------------------------------------------------------------------------------------------- configs and checkpoints


def test_missing_config(refused):
    refused(["train", "no/recipe.py"], ["no/recipe.py"])


def test_unknown_setting_in_the_file_is_named_with_its_line(refused, recipe, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = {str(recipe)!r}\n\noptimizer = dict(lrate=0.1)\n")
    refused(["train", path, "--work-dir", tmp_path / "run"], [f"{path}:3:", "optimizer.lrate", "0.1"])
    assert not (tmp_path / "run").exists()


def test_validation_without_a_metric(refused_training):
    refused_training(["--cfg-options", "evaluation.metrics=[]"], ["evaluation.metrics", "top_k_accuracy"])


def test_cuda_without_cuda(refused_training):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA GPU here")
    refused_training(["--device", "cuda"], ["--device cuda", "CPU"])


def test_checkpoint_of_another_network(refused, refused_training, recipe, trained):
    path = trained / "epoch_3.pth"
    of_seven = "model.cls_head.num_classes=7"
    refused(["test", recipe, path, "--eval", "top_k_accuracy", "--cfg-options", of_seven],
            [path, "6 classes", "the config has 7", "cls_head.fc_cls.weight (6, 256) instead of (7, 256)"])  # fmt: skip
    refused_training(["--resume-from", path, "--cfg-options", "model.backbone.base_channels=16"],
                     [path, "backbone.conv1.conv.weight (8, 3, 1, 7, 7) instead of (16, 3, 1, 7, 7)"])  # fmt: skip
    refused_training(["--cfg-options", f"load_from={path}", "model.neck=None"], [path, "unknown", "neck."])


def test_missing_checkpoint(refused, refused_training, recipe):
    refused(["test", recipe, "no/model.pth", "--eval", "top_k_accuracy"], ["no/model.pth: there is no such checkpoint"])
    refused(["benchmark", recipe, "--checkpoint", "no/model.pth"], ["no/model.pth"])
    refused_training(["--resume-from", "no/model.pth"], ["no/model.pth"])
    refused_training(["--cfg-options", "load_from=no/model.pth"], ["no/model.pth"])


@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(60)])
def test_file_that_is_no_checkpoint(refused, recipe, tmp_path, content):
    path = tmp_path / "junk.pth"
    path.write_bytes(content)
    refused(["test", recipe, path, "--eval", "top_k_accuracy"], [path])


def test_checkpoint_cut_off(refused, refused_training, recipe, trained, tmp_path):
    path = tmp_path / "cut.pth"
    path.write_bytes((trained / "epoch_1.pth").read_bytes()[:-5000])
    refused(["test", recipe, path, "--eval", "top_k_accuracy"], [path])
    refused_training(["--resume-from", path], [path])


def test_resume_from_weights_only(refused_training, trained, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": torch.load(trained / "epoch_1.pth", weights_only=True)["state_dict"]}, path)
    refused_training(["--resume-from", path], [path, "weights only", f"load_from={path}"])


def test_resume_with_momenta_of_another_order(refused_training, trained, tmp_path):
    checkpoint = torch.load(trained / "epoch_1.pth", weights_only=True)
    (group, *_) = checkpoint["optimizer"]["param_groups"]
    group["params"] = group["params"][::-1]
    del checkpoint["sealed"]  # a file of others has no seal
    torch.save(checkpoint, tmp_path / "foreign.pth")
    refused_training(
        ["--resume-from", tmp_path / "foreign.pth"], ["foreign.pth", "optimizer state", "momentum of shape"]
    )


# -------------------------------------------------------------------------------------------------- places to write to


def test_run_folder_that_cannot_be_made(refused, recipe, tmp_path):
    (tmp_path / "file").touch()
    assert refused(["train", recipe, "--work-dir", tmp_path / "file" / "run"], [tmp_path / "file", "--work-dir"]) == ""
    assert refused(["demo", "--work-dir", tmp_path / "file" / "demo"], [tmp_path / "file", "--work-dir"]) == ""


def test_results_that_cannot_be_written(refused, recipe, trained, tmp_path):
    (tmp_path / "file").touch()
    test = ["test", recipe, trained / "epoch_3.pth", "--out"]
    assert refused([*test, tmp_path / "file" / "result.json"], ["result.json", tmp_path / "file"]) == ""
    assert refused([*test, tmp_path / "result.csv"], ["result.csv", ".json, .pkl", "'.csv'"]) == ""
    assert refused([*test, tmp_path], [tmp_path]) == ""


def test_picture_that_cannot_be_written_is_refused_before_the_prediction(refused, recipe, trained, sprites, tmp_path):
    (tmp_path / "file").touch()
    predict = ["predict", recipe, trained / "epoch_3.pth", sprites / "videos/test/00000.mp4", "--out"]
    assert refused([*predict, tmp_path / "file" / "a.png"], ["a.png", tmp_path / "file"]) == ""
    assert refused([*predict, tmp_path / "a.gif"], ["a.gif", ".png"]) == ""


# ------------------------------------------------------------------------------------------------------ class names


@pytest.mark.parametrize("content", ["one\ntwo\n", "", "\n".join("abcdefg")])
def test_class_names_of_wrong_number(refused, recipe, trained, sprites, tmp_path, content):
    path = written(tmp_path, content)
    predict = ["predict", recipe, trained / "epoch_3.pth", sprites / "videos/test/00000.mp4", "--labels"]
    assert refused([*predict, path], [path, f"has {len(content.split())} class names", "6 classes"]) == ""
    assert refused([*predict, tmp_path / "gone.txt"], ["gone.txt", "No such file"]) == ""


@pytest.mark.parametrize("address", ["https://a.org/b/c.mp4", "http://localhost:8080/x.pth", "rtsp://10.0.0.1/live"])
def test_an_address_is_named_as_one_with_its_slashes(refused, refused_training, recipe, trained, address):
    words = [f"{address} is an address: download the file, and give its path"]
    refused(["predict", recipe, trained / "epoch_3.pth", address], words)
    refused(["test", recipe, address, "--eval", "top_k_accuracy"], words)
    refused(["config", address], words)
    refused_training(["--resume-from", address], words)
    refused_training(["--cfg-options", f"load_from={address}"], words)
    refused_training(["--cfg-options", f"model.backbone.pretrained={address}"], words)
    refused_training(["--cfg-options", f"data.train.ann_file={address}"], words)
