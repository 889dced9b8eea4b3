"""Everything before the first step of training: data, model, optimizer, learning rate, run folder, start of the log."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

import tpn
from tpn.compat.checkpoints import start_from
from tpn.config import Config, changed_settings, dump_config
from tpn.data.annotations import list_hash
from tpn.data.dataset import VideoDataset, build_dataset
from tpn.data.loader import TrainLoader, build_train_loader
from tpn.engine.bad_videos import BadVideos, bad_validation_line
from tpn.engine.checkpoint import SaveClock, TrainState, recall_files, resume
from tpn.engine.distributed import World, data_parallel, maxima, shared
from tpn.engine.first_look import look_at_validation
from tpn.engine.folder import RunFolder, held_folder
from tpn.engine.log import RunLog, environment_info
from tpn.engine.norms import check_norms
from tpn.engine.optim import build_optimizer, scaled_lr
from tpn.engine.remarks import training_remarks
from tpn.engine.results import write_atomically
from tpn.engine.stop import StopSignals
from tpn.errors import ConfigError, DataError
from tpn.models.optimize import compile_training
from tpn.models.recognizer import build_recognizer


@dataclass
class Run:
    """A training run. Only `state` changes from step to step."""

    config: Config
    folder: RunFolder | None
    """The main process holds it."""
    work_dir: Path
    world: World
    network: nn.Module
    """The model that is trained: `state.model`, wrapped where several processes share the work."""
    state: TrainState
    train_set: VideoDataset
    loader: TrainLoader
    bad: BadVideos
    """The training videos that cannot be read."""
    val_set: VideoDataset | None
    bad_validation: dict[str, str]
    """Path and error of the validation videos that cannot be read, as far as they are known and in the log."""
    log: RunLog
    meta: dict[str, Any]
    console: Console
    save_clock: SaveClock
    checkpoint: Path | None = None
    """What it was resumed from."""
    steps_before: int = 0
    """Optimizer steps that were done when it began."""
    skip_nonfinite: int = 0
    """How many steps may be left out because their loss is not finite."""
    stop: StopSignals = field(default_factory=StopSignals)

    @property
    def total_batch(self) -> int:
        """Videos of one optimizer step, over all processes."""
        return step_videos(self.config) * self.world.size

    @property
    def lr(self) -> float:
        """The learning rate that the schedule multiplies."""
        optimizer = self.config.optimizer
        return scaled_lr(optimizer, total_batch=self.total_batch) if self.state.autoscale_lr else optimizer.lr

    def close(self) -> None:
        """End the log, and let another run into the folder."""
        self.log.close()
        if self.folder is not None:
            self.folder.file.close()


def start_run(
    config: Config,
    *,
    config_file: Path,
    work_dir: Path,
    world: World,
    console: Console,
    validate: bool,
    seed: int | None,
    deterministic: bool,
    autoscale_lr: bool,
    resume_from: Path | None,
    auto_resume: bool = False,
    skip_nonfinite: int = 0,
    compile: bool = False,
) -> Run:
    """Prepare a training run; whatever is wrong with its input is said here, before the first step.

    Args:
        config_file: where the config comes from; its resolved form goes into `work_dir` under the same name.
        validate: score the validation videos on the way and keep the best checkpoint.
        seed: of weights, data order and augmentation; None draws one. A run resumed keeps that of its checkpoint.
        deterministic: two runs on the same machine are bitwise equal (on CUDA: where PyTorch has such kernels).
        autoscale_lr: scale the learning rate to this run's batch (the linear scaling rule), as a run resumed may have.
        resume_from: a checkpoint of an earlier run of this config.
        auto_resume: go on from the newest intact checkpoint of the run that was last in `work_dir`, if there is one;
            processes that torchrun has restarted do so in any case.
        skip_nonfinite: how many steps may be left out because their loss is not finite.
        compile: have torch.compile make the code of the steps.
    Raises:
        UserError: data, weights or folder cannot be used, a batch is too small for the norms, another run is at work
            in the folder, nothing can `compile`.
    """
    make_deterministic(deterministic, world.device)
    with held_folder(work_dir, world) as folder:
        found, remarks = find_checkpoint(folder, world, wanted=auto_resume)
        resumed = found or resume_from
        state, told = build_state(config, world, seed=seed, autoscale_lr=autoscale_lr, resume_from=resumed)
        network = compile_training(state.model, world.device) if compile else state.model
        train_set = build_dataset(config, "train", seed=state.seed)
        val_set = build_dataset(config, "val", seed=state.seed) if validate else None
        remarks += [*told, *check_list(state, config.data.train.ann_file, resumed)]
        remarks += training_remarks(config, train_set) if world.is_main else []
        bad_file = work_dir / "bad_videos.txt" if world.is_main else None
        bad = BadVideos(config, "train", train_set.records, file=bad_file)
        loader = build_loader(config, train_set, bad, seed=state.seed, world=world)
        check_norms(config, loader, state.position)
        bad_validation = look_at_validation(config, val_set, world, console) if val_set is not None else {}
        log = open_log(config, work_dir, world, console)
    run = Run(
        config=config,
        folder=folder,
        work_dir=work_dir,
        world=world,
        network=data_parallel(network, world),
        state=state,
        train_set=train_set,
        loader=loader,
        bad=bad,
        val_set=val_set,
        bad_validation=bad_validation,
        log=log,
        meta=meta_of(config, config_file, work_dir, seed=state.seed),
        console=console,
        save_clock=SaveClock(config.checkpoint_config),
        checkpoint=resumed,
        steps_before=state.step,
        skip_nonfinite=skip_nonfinite,
    )
    begin(run, config_file, remarks, continues=found is not None)
    return run


def begin(run: Run, config_file: Path, remarks: list[str], *, continues: bool) -> None:
    """Leave the first traces in the run's folder, once nothing is wrong any more.

    By now every process has loaded its weights, for which `data_parallel` has them wait: the file may be moved.

    Args:
        continues: the run that was last in the folder goes on, instead of a new one that has a name of its own.
    """
    if run.folder is not None:
        run.state.run = run.folder.begin(run.folder.run if continues else None)
        if run.checkpoint is None or run.checkpoint.resolve().parent != run.work_dir.resolve():
            moved = run.folder.set_aside(keep=[config_file, *run.log.paths])
        else:
            moved = None if continues else run.folder.set_aside_later(run.checkpoint, run.state.place)
        if moved is not None:
            run.log.warning(moved)
    if run.checkpoint is not None:
        gone = recall_files(run.state, run.checkpoint, validates=run.val_set is not None)
        remarks = [*remarks, *filter(None, [gone])]
    run.bad.begin(resumed=run.state.step > 0)
    for remark in remarks:
        run.log.info(remark)
    for error in run.bad_validation.values():
        run.log.warning(bad_validation_line(error))
    write_config(run, config_file)


def build_loader(config: Config, train_set: VideoDataset, bad: BadVideos, *, seed: int, world: World) -> TrainLoader:
    """This process's share of the training videos; those that cannot be read are noted in `bad`."""
    return build_train_loader(
        train_set,
        batch_size=step_videos(config),
        workers=config.data.workers_per_gpu,
        seed=seed,
        rank=world.rank,
        world_size=world.size,
        device=world.device,
        read_timeout=config.data.read_timeout,
        on_failure=bad.note,
    )


def open_log(config: Config, work_dir: Path, world: World, console: Console) -> RunLog:
    """The run's log, named by the time; that of the main process is the one that writes."""
    name, tensorboard = time.strftime("%Y%m%d_%H%M%S"), config.log_config.tensorboard
    return RunLog(work_dir, name, tensorboard=tensorboard, enabled=world.is_main, console=console)


def meta_of(config: Config, config_file: Path, work_dir: Path, *, seed: int) -> dict[str, Any]:
    """What the log and every checkpoint say of the run."""
    return {
        "tpn_version": tpn.__version__,
        "config": dump_config(config),
        "env_info": environment_info(),
        "seed": seed,
        "config_name": f"{config_file.stem}.py",
        "work_dir": str(work_dir),
    }


def step_videos(config: Config) -> int:
    """Videos of one optimizer step in one process."""
    return config.data.videos_per_gpu * config.optimizer.accumulation_steps


def find_checkpoint(folder: RunFolder | None, world: World, *, wanted: bool) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from, for all processes, and remarks for the log; None: there is none, or none wanted."""
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if not any(maxima([wanted, restarts], world)):
        return None, []
    path, remarks = folder.newest() if folder is not None else (None, [])
    if path is not None and remarks:
        remarks = [*remarks, f"going back to the newest intact checkpoint, {path}"]
    return shared((path, remarks), world)


def check_list(state: TrainState, ann_file: str, checkpoint: Path | None) -> list[str]:
    """Note which list the position counts in from here on; a remark where the checkpoint's was another one.

    Raises DataError where that was in the middle of an epoch: the position would mean other videos.
    """
    before, state.train_list = state.train_list, list_hash(ann_file)
    if before in (None, state.train_list):
        return []
    if state.position:
        raise DataError(
            f"{checkpoint}: stands {state.position} videos into epoch {state.epoch + 1} of another training list than "
            f"{ann_file} is now, so that videos would be repeated or left out: put the list back, resume from an "
            f"epoch_N.pth, or begin anew from these weights with --cfg-options load_from={checkpoint}"
        )
    return [f"{ann_file} is another training list than the one of {checkpoint}: it is used from the next epoch on"]


def agreed_seed(seed: int | None, world: World) -> int:
    """The seed given, or one drawn by the main process for all."""
    return shared(int(np.random.SeedSequence().generate_state(1)[0] // 2) if seed is None else seed, world)


def make_deterministic(deterministic: bool, device: torch.device) -> None:
    """Choose deterministic kernels. CUDA lacks a few (max pooling's backward is one), there PyTorch warns instead."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may choose as it likes
    torch.use_deterministic_algorithms(deterministic, warn_only=device.type == "cuda")
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def build_state(
    config: Config, world: World, *, seed: int | None, autoscale_lr: bool, resume_from: Path | None
) -> tuple[TrainState, list[str]]:
    """Model, optimizer and gradient scaler: new, from `load_from`'s weights, or as a checkpoint left them; remarks."""
    first_seed = agreed_seed(seed, world)
    torch.manual_seed(first_seed)
    fresh = resume_from is None and config.load_from is None
    model = build_recognizer(config.model, pretrained=fresh).to(world.device)
    remarks = start_from(model, config.load_from) if resume_from is None and config.load_from is not None else []
    scaler = torch.amp.GradScaler(world.device.type, enabled=config.dtype == "float16")
    state = TrainState(
        model, build_optimizer(model, config.optimizer), scaler, seed=first_seed, autoscale_lr=autoscale_lr
    )
    if resume_from is not None:
        before = resume(state, resume_from)
        if seed not in (None, state.seed):
            remarks.append(f"--seed {seed} is not used: the run goes on with seed {state.seed}, that of {resume_from}")
        remarks += told_changes(before, config, resume_from)
    return state, remarks


def told_changes(before: str | None, config: Config, checkpoint: Path) -> list[str]:
    """A remark that names the settings a run resumed has changed; `before` is the dump of those in its checkpoint."""
    try:
        changes = changed_settings(before, config) if before is not None else []
    except ConfigError:  # somebody has edited it
        return []
    return [f"settings other than those of {checkpoint}: {'; '.join(changes)}"] if changes else []


def write_config(run: Run, config_file: Path) -> None:
    """Put the resolved config beside the logs, unless the run's folder is the one that `config_file` itself is in."""
    copy = run.work_dir / run.meta["config_name"]
    if run.world.is_main and not (copy.exists() and copy.samefile(config_file)):
        write_atomically(copy, run.meta["config"].encode())
