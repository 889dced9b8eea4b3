"""A run that begins anew in the folder of an earlier one loses nothing of it."""

import shutil
from pathlib import Path

import pytest
import torch

from tpn.engine.folder import Place, RunFolder
from tpn.models.seal import seal


@pytest.fixture
def used(trained, tmp_path) -> Path:
    """A copy of a finished run's folder, with files beside it that no run has written."""
    folder = shutil.copytree(trained, tmp_path / "used", symlinks=True)
    (folder / "bad_videos.txt").write_text("a.mp4\tnot a video\n")
    for name in ("notes.txt", "pretrained.pth", "other.py", "00.log"):
        (folder / name).write_text("mine")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Its files by name, without those of the folders in it, and without the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".run"}


def warnings(folder: Path) -> list[str]:
    lines = [line for path in folder.glob("*.log") for line in path.read_text().splitlines()]
    return [line.split(" - WARNING - ")[1] for line in lines if " - WARNING - " in line]


def test_a_run_that_begins_anew_moves_the_earlier_one_and_says_so(used, train):
    before = contents(used)
    train(work_dir=used, total_epochs=1)
    earlier = used / "earlier_1"
    foreign = {name for name in before if before[name] == b"mine"}
    assert contents(earlier) == {name: before[name] for name in before.keys() - foreign}
    assert (earlier / "latest.pth").is_symlink()
    assert sorted(path.name for path in used.glob("*.pth")) == ["epoch_1.pth", "latest.pth", "pretrained.pth"]
    assert all(contents(used)[name] == before[name] for name in foreign)
    (warning,) = warnings(used)
    assert warning == (
        f"{used} held an earlier run, whose {len(contents(earlier))} files are in {earlier} now; --auto-resume would "
        f"have gone on with it; to do that now, --resume-from {earlier / 'epoch_3.pth'}"
    )
    train(work_dir=used, total_epochs=1)
    assert (used / "earlier_2" / "epoch_1.pth").exists()
    assert contents(earlier) == {name: before[name] for name in before.keys() - foreign}


@pytest.mark.parametrize("flags", [["--auto-resume"], ["--resume-from", "latest.pth"]], ids=" ".join)
def test_a_run_that_goes_on_moves_nothing(flags, used, train):
    before = contents(used)
    train(flags[0], *[used / name for name in flags[1:]], work_dir=used, total_epochs=4)
    assert not list(used.glob("earlier_*"))
    assert warnings(used) == []
    assert contents(used)["epoch_3.pth"] == before["epoch_3.pth"]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_weights_to_begin_with_may_lie_in_the_folder(processes, used, recipe, tpn, shell, tensors):
    weights = tensors(used / "epoch_3.pth")
    command = f"{recipe} --work-dir {used} --cfg-options load_from={used}/epoch_3.pth optimizer.lr=0 total_epochs=1"
    two = f"torchrun --nproc-per-node {processes} tools/train.py {command} data.videos_per_gpu=2"
    outcome = tpn("train", *command.split()) if processes == 1 else shell(two)
    assert outcome.code == 0, outcome.err
    assert (used / "earlier_1" / "epoch_3.pth").exists()
    name = "cls_head.fc_cls.weight"
    assert torch.equal(tensors(used / "epoch_1.pth")[name], weights[name])


def test_a_checkpoint_set_aside_is_resumed(used, train, text_log):
    train(work_dir=used, total_epochs=1)
    checkpoint = used / "earlier_1" / "epoch_2.pth"
    train("--resume-from", checkpoint, work_dir=used)
    assert f"resumed epoch 2, iter 8, from {checkpoint}" in text_log(used)
    assert (used / "earlier_2" / "epoch_1.pth").exists()


def test_a_kill_while_files_are_moved_loses_none_of_them(used, train, tpn, recipe, monkeypatch):
    class Killed(BaseException):
        pass

    before, rename, moved = contents(used), Path.rename, []

    def killed_at_the_fifth(path: Path, target: Path) -> Path:
        if len(moved) == 4:
            raise Killed
        moved.append(path)
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "rename", killed_at_the_fifth)
        tpn("train", recipe, "--work-dir", used)
    assert {**contents(used), **contents(used / "earlier_1")}.items() >= before.items()
    train("--auto-resume", work_dir=used, total_epochs=1)  # does not take up the earlier run's
    found = [contents(folder) for folder in (used, used / "earlier_1", used / "earlier_2")]
    assert all(any(part.get(name) == content for part in found) for name, content in before.items())
    assert sorted(path.name for path in used.glob("epoch_*.pth")) == ["epoch_1.pth"]


def test_a_recipe_that_is_trained_from_the_folder_stays_there(used, tpn):
    recipe = used / "tiny.py"
    before = recipe.read_text()
    assert tpn("train", recipe, "--work-dir", used, "--cfg-options", "total_epochs=1").code == 0
    assert recipe.read_text() == before
    assert (used / "earlier_1" / "epoch_3.pth").exists()


def test_a_run_that_cannot_begin_moves_nothing(used, tpn, recipe):
    before = contents(used)
    outcome = tpn("train", recipe, "--work-dir", used, "--cfg-options", "data.train.ann_file=missing.txt")
    assert outcome.code == 2
    assert contents(used) == before


@pytest.mark.parametrize("keep", range(1, 9))
def test_as_many_checkpoints_stay_as_are_to_be_kept(keep, tmp_path):
    """After each of seven epochs, and of seven checkpoints within epochs; those of another run do not count."""
    folder = RunFolder(tmp_path)
    run = folder.begin()
    written(tmp_path / "epoch_100.pth", Place(100, 0, 100, "another"))
    for epoch in range(1, 8):
        for kind, place in (("step", Place(epoch - 1, 5, epoch, run)), ("epoch", Place(epoch, 0, epoch, run))):
            path = written(tmp_path / f"{kind}_{epoch}.pth", place)
            removed = folder.prune(keep_steps=keep, keep_epochs=keep, newest=path)
            assert removed == ([f"{kind}_{epoch - keep}.pth"] if epoch > keep else [])
        for kind in ("step", "epoch"):
            kept = {f"{kind}_{number}.pth" for number in range(max(1, epoch - keep + 1), epoch + 1)}
            assert {path.name for path in tmp_path.glob(f"{kind}_?.pth")} == kept
    assert (tmp_path / "epoch_100.pth").exists()


def test_the_checkpoint_just_written_stays(tmp_path):
    folder = RunFolder(tmp_path)
    path = written(tmp_path / "step_3.pth", Place(1, 0, 3, folder.begin()))
    assert folder.prune(keep_steps=0, keep_epochs=None, newest=path) == []
    assert folder.prune(keep_steps=0, keep_epochs=None, newest=tmp_path / "epoch_1.pth") == ["step_3.pth"]


def written(path: Path, place: Place) -> Path:
    with path.open("w+b") as file:
        file.write(b"weights")
        seal(file, str(place))
    return path
