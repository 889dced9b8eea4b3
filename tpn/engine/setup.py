"""Everything before the first step of training: data, model, optimizer, learning rate, run folder, start of the log."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

import tpn
from tpn.compat.checkpoints import load_checkpoint
from tpn.config import Config, dump_config
from tpn.data.dataset import VideoDataset, build_dataset
from tpn.data.loader import TrainLoader, build_train_loader, usable_workers
from tpn.engine.checkpoint import TrainState, resume
from tpn.engine.distributed import World, data_parallel, shared
from tpn.engine.log import RunLog, environment_info
from tpn.engine.optim import build_optimizer, scaled_lr
from tpn.engine.results import write_atomically
from tpn.errors import UserError
from tpn.models.recognizer import build_recognizer


@dataclass
class Run:
    """A training run. Only `state` changes from step to step."""

    config: Config
    work_dir: Path
    world: World
    lr: float
    network: nn.Module
    """The model that is trained: `state.model`, wrapped where several processes share the work."""
    state: TrainState
    loader: TrainLoader
    val_set: VideoDataset | None
    log: RunLog
    meta: dict[str, Any]
    console: Console
    first_classifier: nn.Linear | None = None
    """As it was in the first validation, where `compat.stale_classifier` is wanted."""


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
) -> Run:
    """Prepare a training run; whatever is wrong with its input is said here, before the first step.

    Args:
        config_file: where the config comes from; its resolved form goes into `work_dir` under the same name.
        validate: score the validation videos on the way and keep the best checkpoint.
        seed: of weights, data order and augmentation; None keeps that of `resume_from`, or draws one.
        deterministic: two runs on the same machine are bitwise equal (on CUDA: where PyTorch has such kernels).
        autoscale_lr: scale the learning rate to this run's batch (the linear scaling rule), as a run resumed may have.
        resume_from: a checkpoint of an earlier run of this config.
    Raises:
        UserError: data, weights or folder cannot be used.
    """
    make_deterministic(deterministic, world.device)
    state = build_state(config, world, seed=seed, autoscale_lr=autoscale_lr, resume_from=resume_from)
    train_set = build_dataset(config, "train", seed=state.seed)
    val_set = build_dataset(config, "val", seed=state.seed) if validate else None
    loader = build_train_loader(
        train_set,
        batch_size=config.data.videos_per_gpu,
        workers=config.data.workers_per_gpu,
        seed=state.seed,
        rank=world.rank,
        world_size=world.size,
    )
    make_work_dir(work_dir, world)
    log = RunLog(
        work_dir,
        time.strftime("%Y%m%d_%H%M%S"),
        tensorboard=config.log_config.tensorboard,
        enabled=world.is_main,
        console=console,
    )
    total_batch = config.data.videos_per_gpu * world.size
    run = Run(
        config=config,
        work_dir=work_dir,
        world=world,
        lr=scaled_lr(config.optimizer, total_batch=total_batch) if state.autoscale_lr else config.optimizer.lr,
        network=data_parallel(state.model, world),
        state=state,
        loader=loader,
        val_set=val_set,
        log=log,
        meta={
            "tpn_version": tpn.__version__,
            "config": dump_config(config),
            "env_info": environment_info(),
            "seed": state.seed,
            "config_name": f"{config_file.stem}.py",
            "work_dir": str(work_dir),
        },
        console=console,
    )
    write_config(run, config_file)
    write_start(run, train_set, deterministic=deterministic, total_batch=total_batch)
    return run


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
) -> TrainState:
    """Model, optimizer and gradient scaler: new, from `load_from`'s weights, or as a checkpoint left them."""
    first_seed = agreed_seed(seed, world)
    torch.manual_seed(first_seed)
    fresh = resume_from is None and config.load_from is None
    model = build_recognizer(config.model, pretrained=fresh).to(world.device)
    if resume_from is None and config.load_from is not None:
        load_checkpoint(model, config.load_from)
    scaler = torch.amp.GradScaler(world.device.type, enabled=config.dtype == "float16")
    state = TrainState(model, build_optimizer(model, config.optimizer), scaler, first_seed, autoscale_lr)
    if resume_from is not None:
        resume(state, resume_from)
    if seed is not None:
        state.seed = seed
    return state


def make_work_dir(work_dir: Path, world: World) -> None:
    if world.is_main:
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
            probe = work_dir / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"{work_dir}: the run folder cannot be written ({error.strerror}); choose --work-dir"
            ) from error


def write_config(run: Run, config_file: Path) -> None:
    """Put the resolved config beside the logs, unless the run's folder is the one that `config_file` itself is in."""
    copy = run.work_dir / run.meta["config_name"]
    if run.world.is_main and not (copy.exists() and copy.samefile(config_file)):
        write_atomically(copy, run.meta["config"].encode())


def write_start(run: Run, train_set: VideoDataset, *, deterministic: bool, total_batch: int) -> None:
    """The first lines of the log."""
    log, meta, settings = run.log, run.meta, run.config.optimizer
    line = "-" * 60
    log.info(f"Environment info:\n{line}\n{meta['env_info']}\n{line}")
    log.info(f"Distributed training: {run.world.size > 1} ({run.world.size} processes on {run.world.device.type})")
    log.info(f"Config: {run.work_dir / meta['config_name']}")
    log.info(f"Set random seed to {meta['seed']}, deterministic: {deterministic}")
    videos = f"{len(train_set)} training videos"
    log.info(videos + (f", {len(run.val_set)} validation videos" if run.val_set else ", no validation"))
    asked = run.config.data.workers_per_gpu
    workers = usable_workers(asked)
    log.info(
        f"Workers per process: {workers}" + (f" (one per CPU; the config says {asked})" if workers < asked else "")
    )
    if run.lr != settings.lr:
        log.info(
            f"lr {settings.lr:g} is for {settings.lr_batch_size} videos a step; scaled to {run.lr:g} for {total_batch}"
        )
    elif total_batch != settings.lr_batch_size:
        linear = scaled_lr(settings, total_batch=total_batch)
        log.info(
            f"lr {settings.lr:g} is for {settings.lr_batch_size} videos a step, this run has {total_batch}: "
            f"the linear scaling rule says {linear:g} (--autoscale-lr)"
        )
    older = sorted(run.work_dir.glob("epoch_*.pth"))
    if older and not run.state.epoch:
        log.info(f"{run.work_dir} holds an earlier run ({older[0].name} and others): its files will be overwritten")
    if run.state.epoch:
        log.info(f"resumed epoch {run.state.epoch}, iter {run.state.step}")
    if run.state.epoch >= run.config.total_epochs:
        log.info(f"all of total_epochs={run.config.total_epochs} are trained: nothing is left to do; raise it to go on")
    hook_msgs = {"hook_msgs": run.state.hook_msgs} if run.val_set else {}
    log.meta({key: meta[key] for key in ("env_info", "seed", "config_name", "work_dir")} | hook_msgs)
