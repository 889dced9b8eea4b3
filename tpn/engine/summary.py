"""What a run tells about itself at its start (environment, data, learning rate, memory) and at its end."""

import copy
from collections import Counter

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from tpn.config.settings import TrainSplit
from tpn.data.annotations import list_hash
from tpn.data.dataset import VideoDataset
from tpn.data.workers import usable_workers
from tpn.engine.bad_videos import SHOWN_NAMES
from tpn.engine.evaluate import DTYPES
from tpn.engine.optim import scaled_lr
from tpn.engine.setup import Run
from tpn.models.recognizer import Recognizer
from tpn.words import counted, first_of


def write_start(run: Run) -> None:
    """The first lines of the log, which the main process writes."""
    if not run.world.is_main:
        return
    log, meta, data, world = run.log, run.meta, run.config.data, run.world
    line = "-" * 60
    log.info(f"Environment info:\n{line}\n{meta['env_info']}\n{line}")
    log.info(f"Distributed training: {world.size > 1} ({counted(world.size, 'process')} on {world.device.type})")
    log.info(f"Config: {run.work_dir / meta['config_name']}")
    deterministic = torch.are_deterministic_algorithms_enabled()
    log.info(f"Set random seed to {meta['seed']}, deterministic: {deterministic}")
    log.info(describe_data(run.train_set, data.train, "training"))
    log.info(describe_data(run.val_set, data.val, "validation") if run.val_set else "no validation videos")
    workers = usable_workers(data.workers_per_gpu)
    note = f" (one per CPU; the config says {data.workers_per_gpu})" if workers < data.workers_per_gpu else ""
    log.info(f"Workers per process: {workers}{note}")
    log.info(describe_batch(run))
    log.info(describe_rate(run))
    log.info(describe_memory(run))
    for remark in describe_place(run):
        log.info(remark)
    hook_msgs = {"hook_msgs": run.state.hook_msgs} if run.val_set else {}
    log.meta({key: meta[key] for key in ("env_info", "seed", "config_name", "work_dir")} | hook_msgs)


def describe_data(dataset: VideoDataset, split: TrainSplit, name: str) -> str:
    """Videos, classes and their balance, lengths where the list knows them, and the list's fingerprint."""
    counts = Counter(record.label for record in dataset.records)
    lengths = [record.num_frames for record in dataset.records if record.num_frames is not None]
    few, many = min(counts.values()), max(counts.values())
    balance = f"{few} to {many} videos each" if few < many else f"{counted(few, 'video')} each"
    shortest, longest = min(lengths, default=0), max(lengths, default=0)
    span = f"{shortest} to {longest} frames" if shortest < longest else counted(longest, "frame")
    return (
        f"{counted(len(dataset), f'{name} video')} of {counted(len(counts), 'class')} ({balance})"
        f"{f', {span} long' if lengths else ''}; "
        f"list {split.ann_file}, SHA-256 {list_hash(split.ann_file)[:8]}"
    )


def describe_batch(run: Run) -> str:
    settings, world = run.config.optimizer, run.world
    factors = [f"{run.config.data.videos_per_gpu} a process"]
    factors += [f"{world.size} processes"] if world.size > 1 else []
    factors += [f"{settings.accumulation_steps} batches added up"] if settings.accumulation_steps > 1 else []
    return f"Videos per step: {run.total_batch} ({' x '.join(factors)})"


def describe_rate(run: Run) -> str:
    """The learning rate as it is, and the one that goes with the batch by the linear scaling rule."""
    settings, total = run.config.optimizer, run.total_batch
    if run.lr != settings.lr:
        return f"lr {settings.lr:g} is for {settings.lr_batch_size} videos a step; scaled to {run.lr:g} for {total}"
    if total == settings.lr_batch_size:
        return f"lr {run.lr:g}"
    linear = scaled_lr(settings, total_batch=total)
    return (
        f"lr {settings.lr:g} is for {settings.lr_batch_size} videos a step, this run has {total}: "
        f"the linear scaling rule says {linear:g} (--autoscale-lr)"
    )


def describe_memory(run: Run) -> str:
    """What a step needs: the weights with all that belongs to them, and what the forward pass of one batch keeps."""
    config, model, videos = run.config, run.state.model, run.config.data.videos_per_gpu
    parameters = sum(parameter.numel() for parameter in model.parameters())
    copies = 3 if config.optimizer.momentum else 2
    clips = (videos, 3, config.frames_per_view, config.data.crop_size, config.data.crop_size)
    activations = kept_for_backward(model, clips, dtype=DTYPES[config.dtype])
    return (
        f"Memory: {parameters * 4 * copies / 2**20:,.0f} MiB for the weights ({parameters / 1e6:.1f} million), "
        f"gradients and momenta; {activations / 2**20:,.0f} MiB of activations that the forward pass of {videos} "
        "videos keeps for the backward pass, which needs some more for a while"
    )


def kept_for_backward(model: Recognizer, clips: tuple[int, ...], *, dtype: torch.dtype) -> int:
    """Bytes that are kept of a forward pass in training, on the model's device, until the backward pass has used them.

    Nothing is computed: the pass is one of tensors that have a shape and a device, but no content.

    Args:
        clips: their shape, (N, 3, T, H, W).
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[id(storage)] = storage  # of which several tensors may be views
        return tensor

    with FakeTensorMode() as mode:
        own = {id(tensor): mode.from_tensor(tensor) for tensor in (*model.parameters(), *model.buffers())}
        shapes = copy.deepcopy(model, memo=dict(own)).train()
        device = next(shapes.parameters()).device
        with (
            torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32),
            saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            shapes(torch.empty(clips, device=device))
        weights = {id(tensor.untyped_storage()) for tensor in own.values()}
    return sum(storage.nbytes() for key, storage in kept.items() if key not in weights)


def describe_place(run: Run) -> list[str]:
    """Where the run begins."""
    state, total = run.state, run.config.total_epochs
    remarks = []
    if run.checkpoint is not None:
        within = f", {state.position} videos into the next" if state.position else ""
        remarks.append(f"resumed epoch {state.epoch}, iter {state.step}{within}, from {run.checkpoint}")
    if state.epoch >= total:
        remarks.append(f"all of total_epochs={total} are trained: nothing is left to do; raise it to go on")
    return remarks


def write_end(run: Run) -> None:
    """The last lines of the log: the best and the last checkpoint, what was left out, and where everything lies."""
    messages, state = run.state.hook_msgs, run.state
    if "best_ckpt" in messages:
        run.log.info(f"Best: {messages['best_score']:.4f} in {messages['best_ckpt']}")
    if "last_ckpt" in messages:
        run.log.info(
            f"Last: {messages['last_ckpt']}, after {counted(state.epoch, 'epoch')} and {counted(state.step, 'step')}"
        )
    if state.skipped:
        run.log.info(f"Left out, because their loss was not finite: {counted(state.skipped, 'step')}")
    if state.overflows:
        run.log.info(f"Left out, because their gradient was too large for float16: {counted(state.overflows, 'step')}")
    if run.bad.found:
        run.log.info(f"Bad videos: {len(run.bad.found)}, listed in {run.bad.file}")
    if run.bad_validation:
        run.log.info(f"Bad validation videos, counted as wrong: {first_of(run.bad_validation, SHOWN_NAMES)}")
    run.log.info(f"Config, logs, checkpoints and curves are in {run.work_dir}")
