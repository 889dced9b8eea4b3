"""Videos that cannot be read: each counted once over all processes, listed in a file, and too many of them an error."""

import math
from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path

from tpn.config import Config
from tpn.data.annotations import Record
from tpn.data.dataset import Split
from tpn.data.workers import Failure
from tpn.engine.distributed import World, gathered, shared
from tpn.engine.results import write_atomically
from tpn.errors import DataError

SHOWN_NAMES = 10
TITLES = {"train": "training", "val": "validation", "test": "test"}


class BadVideos:
    """The bad videos of a split, and what the settings say about them.

    Args:
        file: receives `path<TAB>error` of each, one a line; the error of too many then names the first ten.
        told: paths of those that `share` need not give back, since they have been told already.
    """

    def __init__(
        self,
        config: Config,
        split: Split,
        records: Sequence[Record],
        *,
        file: Path | None = None,
        told: Collection[str] = (),
    ) -> None:
        data = config.data
        self.split = split
        self.fails_at_once = data.on_error == "fail"
        self.max_bad = {"train": data.max_bad, "val": data.val.max_bad, "test": data.test.max_bad}[split]
        self.setting = "data.max_bad" if split == "train" else f"data.{split}.max_bad"
        self.videos = f"{len(records)} {TITLES[split]} videos"
        self.records = records
        self.file, self.told = file, told
        self.found: dict[int, str] = {}
        """Index and error of those this process knows: the main process of all, once they are shared."""
        self._untold: list[Failure] = []

    @property
    def are_too_many(self) -> bool:
        """More than the settings allow, or all: of them nothing can be made."""
        return len(self.found) / len(self.records) > self.max_bad or len(self.found) == len(self.records)

    def note(self, failure: Failure) -> None:
        """What a loader calls for each: remember it, or raise it as a DataError with `data.on_error="fail"`."""
        if self.fails_at_once:
            raise DataError(failure.message)
        if failure.index not in self.found:
            self.found[failure.index] = failure.message
            self._untold.append(failure)

    def share(self, world: World) -> list[str]:
        """Tell the main process, which lists them, of those found since the last call; all processes call it together.

        Returns:
            the errors that are new, on the main process.
        Raises:
            DataError: they are too many; on all processes, and the main one names them.
        """
        parts, self._untold = gathered(self._untold, world), []
        new = {failure.index: failure.message for part in parts or [] for failure in part}
        self.found |= new
        if new and self.file is not None:
            self._write(self.file)
        if shared(self.are_too_many, world):
            raise DataError(self._description() if world.is_main else "too many videos cannot be read")
        return [message for index, message in new.items() if self.records[index].path not in self.told]

    def listed(self) -> dict[str, str]:
        """Path and error of each, in list order."""
        return {self.records[index].path: self.found[index] for index in sorted(self.found)}

    def begin(self, *, resumed: bool) -> None:
        """Continue the list that an earlier part of this run has left in the file, or remove another run's."""
        if self.file is None or not self.file.is_file():
            return
        if not resumed:
            self.file.unlink()
            return
        lines = self.file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        errors = dict(line.split("\t", 1) for line in lines if "\t" in line)
        self.found = {index: errors[video.path] for index, video in enumerate(self.records) if video.path in errors}

    def _write(self, file: Path) -> None:
        lines = [f"{self.records[index].path}\t{' '.join(self.found[index].split())}\n" for index in sorted(self.found)]
        write_atomically(file, "".join(lines).encode("utf-8", errors="surrogateescape"))

    def _description(self) -> str:
        shown = [self.found[index] for index in sorted(self.found)]
        if self.file is not None and len(shown) > SHOWN_NAMES:
            shown[SHOWN_NAMES:] = [f"... and {len(shown) - SHOWN_NAMES} more; {self.file} names all"]
        head = (
            f"{len(self.found)} of {self.videos} cannot be read, {self.setting} = {self.max_bad:g} allows no more than"
        )
        return "\n".join([f"{head} {int(self.max_bad * len(self.records) + 1e-9)}:", *shown, self._remedy()])

    def _remedy(self) -> str:
        check = f"`tpn check CONFIG --split {self.split} --full` names all there are"
        if len(self.found) == len(self.records):
            return check
        return (
            f"{check}; {self.setting}={sufficient_share(len(self.found), len(self.records)):g} allows as many as these"
        )


def bad_validation_line(error: str) -> str:
    """What a run's log says of a validation video that cannot be read."""
    return f"bad validation video, counts as wrong: {error}"


def sufficient_share(count: int, total: int) -> float:
    """The smallest number of few digits that is not below count / total."""
    share = Fraction(count, total)
    digits = 2 - math.ceil(math.log10(share))  # two that are not leading zeros
    return math.ceil(share * 10**digits) / 10**digits
