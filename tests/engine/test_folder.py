"""A run that begins anew in the folder of an earlier one loses nothing of it, and none removes what is to be kept."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tpn.engine.folder import Place, RunFolder
from tpn.engine.validation import is_ours
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


# ---------------------------------------------------------------------------------------- checkpoints that are removed


@pytest.fixture
def folder(tmp_path) -> Iterator[RunFolder]:
    """A run's folder; `put` writes checkpoints into it."""
    folder = RunFolder(tmp_path / "run")
    folder.begin("mine")
    yield folder
    folder.file.close()


def put(folder: RunFolder, name: str, place: Place) -> Path:
    """A sealed file of one byte under a name, as of a place."""
    path = folder.path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "1")
    with path.open("r+b") as file:
        seal(file, str(place))
    return path


def names(folder: Path, pattern: str = "*.pth") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern) if not path.is_symlink())


@pytest.mark.parametrize("keep", [1, 2, 3, 4, 5, 6, 7, 8, None])
def test_the_newest_checkpoints_are_kept_after_every_epoch(keep, folder):
    for epoch in range(1, 8):
        place = Place(epoch, 0, 4 * epoch, "mine")
        put(folder, f"epoch_{epoch}.pth", place)
        lines = folder.prune(place, keep_steps=2, keep_epochs=keep)
        first = 1 if keep is None else max(1, epoch - keep + 1)
        assert names(folder.path) == [f"epoch_{kept}.pth" for kept in range(first, epoch + 1)]
        gone = [f"Removed epoch_{first - 1}.pth: checkpoint_config.max_keep_ckpts={keep} keeps the newest"]
        assert lines == (gone if first > 1 else [])


def test_the_newest_two_within_epochs_are_kept_until_the_end(folder):
    for step in range(1, 6):
        place = Place(0, 4 * step, step, "mine")
        put(folder, f"step_{step}.pth", place)
        folder.prune(place, keep_steps=2, keep_epochs=1)
        assert names(folder.path) == [f"step_{kept}.pth" for kept in range(max(1, step - 1), step + 1)]
    lines = folder.prune(place, keep_steps=0, keep_epochs=1)
    assert lines == [f"Removed step_{step}.pth: of those within epochs none stays at the end" for step in (4, 5)]


def test_only_what_the_run_itself_has_written_is_removed(folder):
    """Not an earlier run's, a copy under another name, a link, a file of other programs, one of later than now."""
    place = Place(3, 0, 12, "mine")
    stays = [
        put(folder, "epoch_1.pth", Place(1, 0, 4, "others")),
        put(folder, "epoch_2_good.pth", Place(2, 0, 8, "mine")),
        put(folder, "epoch_9.pth", Place(9, 0, 36, "mine")),
        put(folder, "step_40.pth", Place(9, 4, 40, "mine")),
        folder.path / "epoch_0.pth",
    ]
    stays[-1].write_bytes(b"foreign")
    put(folder, "epoch_2.pth", Place(2, 0, 8, "mine"))
    (folder.path / "epoch_8.pth").symlink_to("epoch_2.pth")
    newest = put(folder, "epoch_3.pth", place)
    lines = folder.prune(place, keep_steps=1, keep_epochs=1)
    assert [line.split(":")[0] for line in lines] == ["Removed epoch_2.pth"]
    assert names(folder.path) == sorted(path.name for path in [*stays, newest])


def test_a_checkpoint_that_cannot_be_removed_costs_a_line(folder, monkeypatch):
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    for epoch in (1, 2):
        put(folder, f"epoch_{epoch}.pth", Place(epoch, 0, epoch, "mine"))
    monkeypatch.setattr(Path, "unlink", refuse)
    (line,) = folder.prune(Place(2, 0, 2, "mine"), keep_steps=2, keep_epochs=1)
    assert line.startswith("epoch_1.pth is not wanted any more") and line.endswith(
        "cannot be removed (Permission denied)"
    )


def test_a_run_and_its_continuation_keep_as_many_as_asked(train, text_log):
    """2 of 4 epochs, then, resumed for two more, 3."""
    folder = train(checkpoint_config__max_keep_ckpts=2, total_epochs=4)
    assert names(folder, "epoch_*") == ["epoch_3.pth", "epoch_4.pth"]
    removed = [line for line in text_log(folder) if line.startswith("Removed")]
    assert [line.split(":")[0] for line in removed] == ["Removed epoch_1.pth", "Removed epoch_2.pth"]
    train("--auto-resume", work_dir=folder, checkpoint_config__max_keep_ckpts=3, total_epochs=6)
    assert names(folder, "epoch_*") == ["epoch_4.pth", "epoch_5.pth", "epoch_6.pth"]


def test_a_run_resumed_from_an_older_checkpoint_writes_over_no_later_one(used, train):
    before = contents(used)
    train("--resume-from", used / "epoch_1.pth", work_dir=used, checkpoint_config__max_keep_ckpts=1)
    earlier = contents(used / "earlier_1")
    assert {"epoch_2.pth", "epoch_3.pth"} <= earlier.keys() and "epoch_1.pth" not in earlier
    assert all(content == before[name] for name, content in earlier.items())
    assert contents(used)["epoch_1.pth"] == before["epoch_1.pth"]
    assert (used / "latest.pth").resolve() == (used / "epoch_3.pth").resolve()
    (warning,) = warnings(used)
    assert f"held checkpoints of later than {used / 'epoch_1.pth'}, which the run would write over" in warning


def test_a_run_removes_the_best_checkpoint_that_it_beats_and_says_so(trained, best_of, text_log):
    """The first validation is the best at first."""
    best = best_of(trained)[1]
    assert best != "best_top1_acc_epoch_1.pth"
    removed = [line for line in text_log(trained) if line.startswith("Removed best_top1_acc_epoch_1.pth")]
    assert removed == [f"Removed best_top1_acc_epoch_1.pth: {best} is better"]


def test_the_best_checkpoint_of_the_run_before_is_not_this_ones_to_remove(folder):
    assert is_ours(put(folder, "best_top1_acc_epoch_1.pth", Place(1, 0, 4, "mine")), "mine")
    assert not is_ours(put(folder, "best_top1_acc_epoch_2.pth", Place(2, 0, 8, "others")), "mine")
    assert not is_ours(folder.path / "best_top1_acc_epoch_3.pth", "mine")
