"""A run's folder: one run at a time in it, what a killed one left behind cleared away, its checkpoints found again."""

import os
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tpn.config.dump import HEADER
from tpn.data.paths import closed_folder, kind_of
from tpn.engine.distributed import World
from tpn.errors import CheckpointError, UserError
from tpn.models.seal import check_seal, read_label

KINDS = ("epoch_*.pth", "step_*.pth", "best_*.pth")
OTHERS = ("latest.pth", "curves.png", "bad_videos.txt", "last_pred.pkl*", "best_pred.pkl*", "tf_logs")
LOGS = r"\d{8}_\d{6}\.log(\.json)?"
KEPT_STEPS = 2  # of the checkpoints within an epoch: the newest, and the one before it should that be damaged


@dataclass(frozen=True, order=True)
class Place:
    """Where in its training a run stood: what the label of a checkpoint says."""

    epoch: int
    position: int
    step: int
    run: str

    def __str__(self) -> str:
        return f"run={self.run} epoch={self.epoch} position={self.position} step={self.step}"


def read_place(path: Path) -> Place | None:
    """The place in the label of a checkpoint's seal; None where there is none."""
    match = re.fullmatch(r"run=(\S+) epoch=(\d+) position=(\d+) step=(\d+)", read_label(path) or "")
    return Place(int(match[2]), int(match[3]), int(match[4]), match[1]) if match else None


class RunFolder:
    """The folder of a run, which this process holds until it ends: however it ends, the system lets the lock go.

    The lock is the file `.run`, which names the run that is, or was last, at work here. It keeps out other processes of
    this machine, and of others where the file system shares POSIX locks (NFS 4 and Lustre do).
    """

    def __init__(self, path: Path) -> None:
        """Make the folder if need be, lock it, and remove what killed runs have left half-written.

        Raises:
            UserError: it cannot be written, or another run is at work in it.
        """
        self.path, self.is_new = path, kind_of(path) is None
        make_folder(path)
        self.file = (path / ".run").open("a+b")
        lock(self.file, path)
        remove_stale(path)
        self.file.seek(0)
        match = re.match(rb"run=(\S+) ", self.file.read())
        self.run = match[1].decode() if match else None
        """The name of the run that is, or was last, at work here."""

    def begin(self, run: str | None = None) -> str:
        """Put down which run is at work here from now on: one of this name, or a new one. Returns the name."""
        self.run = run or f"{time.strftime('%Y%m%d_%H%M%S')}_{secrets.token_hex(4)}"
        self.file.truncate(0)
        self.file.write(f"run={self.run} process={os.getpid()} host={socket.gethostname()}\n".encode())
        self.file.flush()
        return self.run

    def give_up(self) -> None:
        """Of a run that never began: let the folder go, and remove it if it was made for this run alone."""
        self.file.close()
        if self.is_new:
            (self.path / ".run").unlink(missing_ok=True)
            with suppress(OSError):  # something is in it by now
                self.path.rmdir()

    def checkpoints(self) -> Iterator[Path]:
        """The checkpoint files, links left out."""
        return (path for kind in KINDS for path in sorted(self.path.glob(kind)) if not path.is_symlink())

    def newest(self) -> tuple[Path | None, list[str]]:
        """The newest intact checkpoint of the run that was last at work here, and what is wrong with newer ones.

        In a folder without the file `.run`, such as a copy, of any run.
        """
        places = {path: read_place(path) for path in self.checkpoints()}
        damaged = [
            f"{path}: damaged: the seal at its end is missing" for path, place in places.items() if place is None
        ]
        ours = [(place, path) for path, place in places.items() if place and self.run in (None, place.run)]
        for _, path in sorted(ours, reverse=True):
            try:
                check_seal(path)
            except CheckpointError as error:
                damaged.append(str(error))
            else:
                return path, damaged
        return None, damaged

    def set_aside(self, *, keep: Collection[Path]) -> str | None:
        """Move all that an earlier run has left here into a new folder earlier_N, so that nothing is written over.

        File by file, each by renaming it: killed in between, each file is in one place or the other, and the next run
        that begins here moves the rest. To be called after `begin`: none of these checkpoints is the new run's.

        Args:
            keep: files that stay, such as the log that has just begun. What no run writes stays, too.
        Returns:
            a remark; None where there is no checkpoint of an earlier run.
        Raises:
            UserError: a file cannot be moved.
        """
        if not any(self.checkpoints()):
            return None
        places = {place: path.name for path in self.checkpoints() if (place := read_place(path))}
        kept = {path.resolve() for path in keep}
        files = [path for path in sorted(self.path.iterdir()) if is_of_a_run(path) and path.resolve() not in kept]
        folder = self.move(files)
        later = f"; to do that now, --resume-from {folder / places[max(places)]}" if places else ""
        return (
            f"{self.path} held an earlier run, whose {len(files)} files are in {folder} now; "
            f"--auto-resume would have gone on with it{later}"
        )

    def set_aside_later(self, checkpoint: Path, place: Place) -> str | None:
        """Move the checkpoints of later than one in this folder, whose run a new one goes on with, into earlier_N.

        Returns:
            a remark; None where there are none.
        Raises:
            UserError: a file cannot be moved.
        """
        later = [path for path in self.checkpoints() if is_later(path, place)]
        if not later:
            return None
        folder = self.move(later)
        self.link_latest(checkpoint.resolve())
        return (
            f"{self.path} held checkpoints of later than {checkpoint}, which the run would write over: these "
            f"{len(later)} files are in {folder} now"
        )

    def move(self, files: Sequence[Path]) -> Path:
        """Move files of this folder into a new one in it, earlier_N. Raises UserError where that cannot be done."""
        folder = next_folder(self.path)
        try:
            folder.mkdir()
            for path in files:
                path.rename(folder / path.name)
        except OSError as error:
            raise UserError(
                f"{self.path}: the earlier run in it cannot be moved to {folder.name} ({error.strerror}); choose "
                "another --work-dir"
            ) from error
        return folder

    def prune(self, place: Place, *, keep_steps: int, keep_epochs: int | None) -> list[str]:
        """Remove all but the last few checkpoints of this run within epochs, and at the ends of epochs (None: keep).

        Only what this run has written, under the name it has given it: a copy named epoch_3_good.pth stays. What is
        later than `place`, where the run stands, neither goes nor counts: the run has gone back behind it, since it is
        damaged.

        Returns:
            a line for the log of each.
        """
        steps = f"of those within epochs {f'the newest {keep_steps} stay' if keep_steps else 'none stays at the end'}"
        lines = []
        for kind, keep, why in (
            ("step", keep_steps, steps),
            ("epoch", keep_epochs, f"checkpoint_config.max_keep_ckpts={keep_epochs} keeps the newest"),
        ):
            ours = sorted((at, path) for path, at in self.written(kind) if at <= place)
            surplus = 0 if keep is None else max(0, len(ours) - keep)
            lines += [remove(path, why) for _, path in ours[:surplus]]
        return lines

    def written(self, kind: str) -> Iterator[tuple[Path, Place]]:
        """The files step_N.pth or epoch_N.pth that this run has written here, and where it stood then."""
        for path in self.path.glob(f"{kind}_*.pth"):
            with suppress(CheckpointError):  # what cannot be read is left alone
                place = None if path.is_symlink() else read_place(path)
                if place and place.run == self.run and path.name == f"{kind}_{getattr(place, kind)}.pth":
                    yield path, place

    def link_latest(self, path: Path) -> None:
        """Point latest.pth at a checkpoint beside it, atomically.

        Where there are no symbolic links (Windows asks for a right to make them), it is a hard link; where there are
        none either (exFAT), there is no latest.pth. Nothing here reads it: `newest` looks at the checkpoints.
        """
        latest, partial = self.path / "latest.pth", self.path / f".latest.{os.getpid()}.tmp"
        partial.unlink(missing_ok=True)
        for link, target in ((partial.symlink_to, path.name), (partial.hardlink_to, path)):
            with suppress(OSError, NotImplementedError):
                link(target)
                partial.replace(latest)
                return
        with suppress(OSError):  # none is better than one to an older checkpoint
            latest.unlink(missing_ok=True)


@contextmanager
def held_folder(path: Path, world: World) -> Iterator[RunFolder | None]:
    """The run's folder, held by the main process from here on; an error in here gives it up again."""
    folder = RunFolder(path) if world.is_main else None
    try:
        yield folder
    except BaseException:
        if folder is not None:
            folder.give_up()
        raise


def is_of_a_run(path: Path) -> bool:
    """Whether a training has written this, by its name, or by how its first line begins."""
    if any(path.match(pattern) for pattern in (*KINDS, *OTHERS)) or re.fullmatch(LOGS, path.name):
        return True
    if path.suffix != ".py" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER.encode()


def is_later(path: Path, place: Place) -> bool:
    """Whether a checkpoint is of a later moment than a place, whatever the run; by its name where it has no label."""
    if at := read_place(path):
        return (at.epoch, at.position, at.step) > (place.epoch, place.position, place.step)
    match = re.search(r"epoch_(\d+)", path.stem)
    return match is not None and int(match[1]) > place.epoch


def next_folder(folder: Path) -> Path:
    """earlier_1, earlier_2, … in the folder: the first that is behind all there are."""
    numbers = [int(match[1]) for path in folder.iterdir() if (match := re.fullmatch(r"earlier_(\d+)", path.name))]
    return folder / f"earlier_{max(numbers, default=0) + 1}"


def remove(path: Path, why: str) -> str:
    """Remove a checkpoint that is no longer wanted; the line for the log, also where the system does not let us."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return f"{path.name} is not wanted any more ({why}), but cannot be removed ({error.strerror})"
    return f"Removed {path.name}: {why}"


def make_folder(path: Path) -> None:
    """Make a folder, if it is not there. Raises UserError where nothing can be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        folder = closed_folder(path / "file") if isinstance(error, PermissionError) else path
        where = "" if folder == path else f" into {folder}"
        raise UserError(
            f"{path}: the run folder cannot be written{where} ({error.strerror}); choose --work-dir"
        ) from error


def remove_stale(folder: Path) -> None:
    """Remove the files, named `.<name>.<process>.tmp`, that processes were writing when they were killed."""
    for path in folder.glob(".*.tmp"):
        process = int(path.name.split(".")[-2]) if path.name.split(".")[-2].isdigit() else 0
        if process == os.getpid() or not is_alive(process):
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def lock(file: BinaryIO, folder: Path) -> None:
    """Hold the file for this process alone. Raises UserError where another one does."""
    try:
        import fcntl
    except ImportError:  # Windows: there is no such lock
        return
    try:
        # A POSIX lock belongs to the process: data workers, which inherit the file, do not hold it after a kill.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip()
        raise UserError(
            f"{folder}: another run is at work in this folder ({holder}); choose another --work-dir or end that run"
        ) from error
