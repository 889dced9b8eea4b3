"""MMAction2's flags that mean something else here, or nothing: all are understood; what has no effect is said once."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tpn.engine.launchers import Launcher, torchrun_variables
from tpn.errors import UserError

Hidden = Parameter(show=False, negative="")
HiddenFlag = Annotated[bool, Hidden]
HiddenList = Annotated[list[str] | None, Parameter(show=False, negative="", consume_multiple=True)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Launch:
    """How the processes of this run were started: torchrun says so itself, Slurm and MPI have to be asked."""

    launcher: Annotated[Launcher, Hidden] = "none"
    local_rank: Annotated[int, Parameter(name=["--local_rank", "--local-rank"], show=False)] = 0

    def enter(self) -> None:
        """Set the environment variables by which the processes find each other. Raises UserError where that fails."""
        os.environ.update(torchrun_variables(self.launcher, os.environ, local_rank=self.local_rank))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OldTrainFlags:
    """Flags of MMAction2's tools/train.py."""

    gpus: Annotated[int | None, Hidden] = None
    gpu_ids: Annotated[list[int] | None, Parameter(show=False, negative="", consume_multiple=True)] = None
    diff_seed: HiddenFlag = False

    def apply(self) -> None:
        """Choose the GPU of --gpu-ids, and warn of what has no effect."""
        if self.gpus is not None and self.gpu_ids is not None:
            raise UserError("give --gpus or --gpu-ids, not both")
        if self.gpu_ids:
            choose_gpu(self.gpu_ids)
        warn_without_effect({
            "--gpus": self.gpus is not None and "a process uses one GPU; for more, tools/dist_train.sh CONFIG GPUS",
            "--diff-seed": self.diff_seed and "each process draws its own dropout from the one --seed",
        })  # fmt: skip


def choose_gpu(gpu_ids: list[int]) -> None:
    """Let a process that is alone use the first of the GPUs."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        warn("--gpu-ids has no effect on several processes: each uses the GPU of its LOCAL_RANK")
        return
    from torch import cuda

    if not cuda.is_available():
        warn("--gpu-ids has no effect: PyTorch sees no CUDA GPU here")
    elif len(gpu_ids) > 1:
        warn(f"--gpu-ids: a process uses one GPU, {gpu_ids[0]}; for more, tools/dist_train.sh CONFIG GPUS")
    os.environ["LOCAL_RANK"] = str(gpu_ids[0])


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OldTestFlags:
    """Flags of MMAction2's tools/test.py and clip_feature_extraction.py."""

    fuse_conv_bn: HiddenFlag = False
    gpu_collect: HiddenFlag = False
    tmpdir: Annotated[Path | None, Hidden] = None

    def apply(self) -> None:
        """Warn of what has no effect."""
        warn_without_effect({
            "--fuse-conv-bn": self.fuse_conv_bn and "norms are always folded into the convolutions",
            "--gpu-collect": self.gpu_collect and "the processes send their scores to the first one",
            "--tmpdir": self.tmpdir is not None and "no temporary files are made",
        })  # fmt: skip


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OldFormats:
    """What CHECKPOINT is in MMAction2's tools/test.py."""

    onnx: HiddenFlag = False
    tensorrt: HiddenFlag = False

    def refuse(self) -> None:
        """Raise UserError if the checkpoint is said to be an exported network."""
        for flag, given in {"--onnx": self.onnx, "--tensorrt": self.tensorrt}.items():
            if given:
                raise UserError(f"{flag}: exported networks cannot be tested; give the .pth file it was exported from")


ReferenceLines = Annotated[bool, Parameter(name="--reference-lines", show=False, negative="")]
"""Whether figures are printed in the words of MMAction2's evaluation: the scripts in tools/ ask for it."""
ALONE, NO_TRAIN_FLAGS, NO_TEST_FLAGS, PYTORCH = Launch(), OldTrainFlags(), OldTestFlags(), OldFormats()


def warn_without_effect(reasons: Mapping[str, str | bool]) -> None:
    """One line for each flag that was given: those whose reason is not False."""
    for flag, reason in reasons.items():
        if reason:
            warn(f"{flag} has no effect: {reason}")


def warn(text: str) -> None:
    """A line on standard error, from one process only."""
    if os.environ.get("RANK", "0") == "0":
        print(f"warning: {text}", file=sys.stderr)


def newest(eval_options: list[str], options: list[str] | None) -> list[str]:
    """What --eval-options says, or its old name --options. Raises UserError where both are given."""
    if options is None:
        return eval_options
    if eval_options:
        raise UserError("--options is the old name of --eval-options; give one of them")
    warn("--options is the old name of --eval-options")
    return options


def top_ks(options: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The k of top-k accuracy, of `--eval-options topk=(1,3)`; None without. Raises UserError for another option."""
    if unknown := options.keys() - {"topk"}:
        raise UserError(f"--eval-options {min(unknown)}: the only option is topk, as in --eval-options topk=(1,5)")
    if "topk" not in options:
        return None
    ks = options["topk"]
    ks = tuple(ks) if isinstance(ks, list | tuple) else (ks,)
    if not ks or any(type(k) is not int or k < 1 for k in ks):
        raise UserError(f"--eval-options topk={options['topk']}: expected whole numbers from 1 on, as in topk=(1,5)")
    return ks
