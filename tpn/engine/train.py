"""The training loop: plain PyTorch, one process or many, in the order a reader asks."""

import time
from collections.abc import Iterator
from datetime import timedelta
from signal import Signals
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from tpn.data.augment import prepare_clips
from tpn.data.workers import Batch
from tpn.engine.checkpoint import save_checkpoint
from tpn.engine.distributed import gathered, gradients_shared, maxima
from tpn.engine.evaluate import DTYPES
from tpn.engine.folder import KEPT_STEPS
from tpn.engine.log import RecentMeans, waiting_remark
from tpn.engine.optim import hits, learning_rate, recognition_losses, set_learning_rate
from tpn.engine.out_of_memory import memory_for
from tpn.engine.progress import ProgressBar, print_line
from tpn.engine.setup import Run
from tpn.engine.stop import Stopped
from tpn.engine.summary import write_end, write_start
from tpn.engine.validation import validate
from tpn.errors import UserError
from tpn.metrics import telling_ks
from tpn.report import draw_curves
from tpn.words import counted

SLOW_STEP = 2.0  # seconds, from which on the first step is told of
SMALLER_STEP = (
    "lower data.videos_per_gpu (optimizer.accumulation_steps keeps the videos of a step), or set "
    "model.backbone.with_cp=True or dtype=bfloat16; what has been saved stays, --auto-resume goes on from there"
)


def train(run: Run) -> None:
    """Train from where the state stands to the last epoch; save and validate on the way.

    Raises:
        Stopped: a signal asked for it; everything is saved.
        UserError: a loss is not finite, memory is not enough for a step, a checkpoint cannot be written, or another
            process is gone.
    """
    state = run.state
    write_start(run)
    with run.stop.noted():
        if state.epoch and not state.position:
            validate_if_due(run)  # a checkpoint is saved before its validation, so the resumed run has yet to see it
        while state.epoch < run.config.total_epochs:
            with memory_for(describe_step(run), run.world.device, remedy=SMALLER_STEP):
                train_epoch(run)
            state.epoch, state.position, state.window = state.epoch + 1, 0, {}
            save_epoch(run)
            validate_if_due(run)
            draw(run)
    write_end(run)
    run.close()


def describe_step(run: Run) -> str:
    """What has to fit into memory: the batch of one forward and backward pass."""
    data = run.config.data
    size = " x ".join(map(str, (run.config.frames_per_view, data.crop_size, data.crop_size)))
    return f"a step of {data.videos_per_gpu} clips of {size} in {run.config.dtype}"


def is_due(run: Run, interval: int) -> bool:
    """Whether something done every `interval` epochs is due; everything is after the last one."""
    return run.state.epoch % interval == 0 or run.state.epoch == run.config.total_epochs


def validate_if_due(run: Run) -> None:
    """Validate; a signal breaks it off at once, since what comes before it is saved."""
    if run.val_set is not None and is_due(run, run.config.evaluation.interval):
        try:
            with run.stop.answered_at_once():
                validate(run)
        except Stopped as stopped:
            say_goodbye(run, stopped.signal)
            raise


def train_epoch(run: Run) -> None:
    """One pass over the training videos, or what is left of it: each exactly once over all processes."""
    config, state, world = run.config, run.state, run.world
    network, optimizer, scaler = run.network, state.optimizer, state.scaler
    dtype, max_norm = DTYPES[config.dtype], config.optimizer.max_grad_norm
    aux_weight = config.model.neck.aux_loss_weight if config.model.neck else None
    recent = RecentMeans(config.log_config.interval)
    recent.restore(state.window, world)
    done = state.position // (run.loader.batch_size * world.size)
    remaining, batches = run.loader.epoch(state.epoch, state.position)
    steps = done + remaining
    bar = ProgressBar(
        steps,
        console=run.console,
        description=f"epoch {state.epoch + 1}",
        unit="step",
        transient=True,
        enabled=world.is_main,
    )
    network.train()
    with bar:
        bar.advance(done)
        began = finished = time.perf_counter()
        for step, batch in enumerate(batches, start=done + 1):
            data_time = time.perf_counter() - finished
            seed_step(state.seed, state.epoch, step, world.rank)
            lr = learning_rate(
                config.lr_config, lr=run.lr, progress=state.epoch + (step - 1) / steps, total_epochs=config.total_epochs
            )
            set_learning_rate(optimizer, lr)
            recent.begin_step()
            statistics = copied_statistics(run)

            # ---------------------------------------------------------------------------------- one optimisation step
            optimizer.zero_grad()
            checked: list[Tensor] = []
            for clips, labels, share, is_last in parts(run, batch):  # one part, unless gradients are accumulated
                with gradients_shared(network, now=is_last):
                    with torch.autocast(world.device.type, dtype=dtype, enabled=dtype != torch.float32):
                        logits, aux_logits = network(clips)
                    losses = recognition_losses(logits, aux_logits, labels, aux_weight=aux_weight)
                    scaler.scale(losses["loss"] * share).backward()
                accuracy = {f"top{k}_acc": hits(logits, labels, k) for k in telling_ks(logits.shape[1])}
                recent.update({**losses, **accuracy}, len(labels))
                checked.append(losses["loss"].detach())
            scaler.unscale_(optimizer)
            grad_norm = {"grad_norm": clip_grad_norm_(network.parameters(), max_norm)} if max_norm else {}
            if not scaler.is_enabled():  # a scaled gradient may overflow, the scaler then leaves out the step itself
                checked.extend(grad_norm.values())
            decision = agreed(run, checked)
            if decision.is_finite:
                scaler.step(optimizer)
            update_scale(run, left_out=not decision.is_finite)
            # --------------------------------------------------------------------------------------------------------

            state.step += 1
            state.position = batch.position
            recent.update({**grad_norm, "data_time": data_time, "time": time.perf_counter() - finished})
            finished = time.perf_counter()
            if not decision.is_finite:
                recent.forget_step()
                leave_out(run, batch, statistics, step=step, lr=lr, values=checked)
            if step % config.log_config.interval == 0 or step == steps:
                log_bad_videos(run)
                log_steps(run, recent, step=step, steps=steps, lr=lr)
            elif state.step == run.steps_before + 1:
                tell_pace(run, seconds=finished - began, steps=steps)
            if decision.saves or decision.signal:
                log_bad_videos(run)
                state.window = recent.window(world)
                save(run, f"step_{state.step}.pth", f"{state.step} steps")
            if decision.signal:
                say_goodbye(run, decision.signal)
                raise Stopped(decision.signal)
            bar.advance()


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Make dropout a function of the position, so that a resumed run draws what an uninterrupted one would."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, step, rank]).generate_state(1)[0]))


def parts(run: Run, batch: Batch) -> Iterator[tuple[Tensor, Tensor, float, bool]]:
    """The batch in `accumulation_steps` parts: clips (b, 3, T, H, W), labels (b,), weight of the loss, is it the last.

    The weighted gradients add up to that of the mean loss over the global batch, as if it were computed at once.
    """
    data = run.config.data
    size = len(batch.label)
    for rows in torch.arange(size).tensor_split(min(run.config.optimizer.accumulation_steps, size)):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        clips = prepare_clips(
            batch.views[part],
            batch.flip[part],
            batch.jitter_factors[part],
            batch.jitter_order[part],
            mean=data.mean,
            std=data.std,
        ).flatten(0, 1)
        yield clips, batch.label[part], batch.share * len(rows) / size, part.stop == size


class Decision(NamedTuple):
    """What all processes do with a step, alike."""

    is_finite: bool
    saves: bool
    signal: int


def agreed(run: Run, checked: list[Tensor]) -> Decision:
    """Whether every process's losses and gradient are finite, whether to save, and the signal to stop for, or 0."""
    is_finite = bool(torch.stack([value.float() for value in checked]).isfinite().all())
    saves = run.world.is_main and run.save_clock.is_due(run.state.step + 1)
    failed, saves, signal = maxima([not is_finite, saves, run.stop.received or 0], run.world)
    return Decision(is_finite=not failed, saves=bool(saves), signal=int(signal))


def update_scale(run: Run, *, left_out: bool) -> None:
    """Adapt the factor of float16's gradients; count a step that the scaler has left out since one was too large."""
    scaler = run.state.scaler
    before = scaler.get_scale()
    scaler.update()
    if scaler.get_scale() < before and not left_out:
        run.state.overflows += 1
        run.log.info(
            f"Too large for float16: a gradient, scaled by {before:g}; the step is left out, as a few are at the start "
            f"of a run, and the scale is {scaler.get_scale():g} now"
        )


# ------------------------------------------------------------------------------------------- a loss that is not finite


def copied_statistics(run: Run) -> list[Tensor]:
    """The running statistics before a step, where they may be wanted back: the forward pass has changed them."""
    return [buffer.clone() for buffer in run.state.model.buffers()] if run.skip_nonfinite else []


def leave_out(run: Run, batch: Batch, statistics: list[Tensor], *, step: int, lr: float, values: list[Tensor]) -> None:
    """Undo a step whose loss or gradient is not finite, or end the run where `--skip-nonfinite` allows no more.

    Raises UserError that names the step, the learning rate and the videos.
    """
    state = run.state
    mine = not all(bool(value.isfinite()) for value in values)
    names = [run.train_set.records[index].path for index in batch.index.tolist()] if mine else []
    told = gathered(([float(value) for value in values], names), run.world)
    if told is not None:
        losses = ", ".join(f"{value:g}" for numbers, _ in told for value in numbers)
        videos = ", ".join(name for _, names in told for name in names)
        run.log.info(
            f"Not finite: epoch {state.epoch + 1}, step {step}, lr {lr:.3e}, losses and gradient norms {losses}; "
            f"weights and optimizer are left as they were. Its videos: {videos}"
        )
    if state.skipped >= run.skip_nonfinite:
        raise UserError(
            f"the loss or its gradient is not finite in epoch {state.epoch + 1}, step {step} (lr {lr:.3e}; the log "
            f"names the videos); no checkpoint holds this step: lower optimizer.lr or set optimizer.max_grad_norm, "
            "look at the videos, or leave such steps out with --skip-nonfinite N"
        )
    state.skipped += 1
    for buffer, copy in zip(state.model.buffers(), statistics, strict=True):
        buffer.copy_(copy)


# ---------------------------------------------------------------------------------------------------- log and files


def log_bad_videos(run: Run) -> None:
    """Log and list what the processes could not read since the last call. Raises DataError if it is too much by now."""
    for error in run.bad.share(run.world):
        run.log.warning(f"bad video, another is shown instead: {error}")


def log_steps(run: Run, recent: RecentMeans, *, step: int, steps: int, lr: float) -> None:
    """Log the means of the last steps over all processes, and what to do if they waited for videos."""
    if not recent.steps:  # all were left out
        return
    means, interval = recent.means(run.world), run.config.log_config.interval
    if run.world.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(run.world.device) >> 20
        means["memory"] = int(maxima([peak], run.world)[0])
    epochs_left = run.config.total_epochs - run.state.epoch - 1
    run.log.train(
        epoch=run.state.epoch + 1,
        iter=step,
        iters_per_epoch=steps,
        lr=lr,
        eta_seconds=means["time"] * (steps - step + epochs_left * steps),
        values=means,
    )
    if step > interval and step in (2 * interval, steps):  # by then the first step, when workers start, is forgotten
        remark = waiting_remark(run.config.data.workers_per_gpu, waiting=means["data_time"], total=means["time"])
        if remark:
            run.log.info(remark)


def tell_pace(run: Run, *, seconds: float, steps: int) -> None:
    """A line after a slow first step, where no bar shows that the run is under way; printed only, not logged."""
    console = run.log.console
    if seconds > SLOW_STEP and run.world.is_main and console is not None and not console.is_terminal:
        epoch, interval = timedelta(seconds=round(seconds * steps)), run.config.log_config.interval
        print_line(
            f"first step: {seconds:.0f} s; at this pace an epoch of {counted(steps, 'step')} takes {epoch}, and the "
            f"log has a line every {counted(interval, 'step')}",
            console,
        )


def save(run: Run, name: str, when: str) -> None:
    """Write a checkpoint, point latest.pth at it, and remove those that are no longer wanted."""
    path, config = run.work_dir / name, run.config
    run.state.hook_msgs["last_ckpt"] = str(path)
    if run.folder is None:
        return
    run.log.info(f"Saving checkpoint at {when}")
    save_checkpoint(run.state, path, meta=run.meta)
    run.folder.link_latest(path)
    removed = run.folder.prune(
        run.state.place,
        keep_steps=0 if run.state.epoch == config.total_epochs else KEPT_STEPS,
        keep_epochs=config.checkpoint_config.max_keep_ckpts,
    )
    for line in removed:
        run.log.info(line)
    run.save_clock.reset()


def save_epoch(run: Run) -> None:
    """Write epoch_N.pth where that is due, and before a validation at least a step_N.pth."""
    epoch = run.state.epoch
    if is_due(run, run.config.checkpoint_config.interval):
        save(run, f"epoch_{epoch}.pth", f"{epoch} epochs")
    elif run.val_set is not None and is_due(run, run.config.evaluation.interval):
        save(run, f"step_{run.state.step}.pth", f"{run.state.step} steps")


def say_goodbye(run: Run, signal: int) -> None:
    run.log.info(
        f"{Signals(signal).name}: stopped after {counted(run.state.step, 'step')}, all of it saved in "
        f"{run.state.hook_msgs['last_ckpt']}; to go on, run the same command with --auto-resume"
    )
    run.close()


def draw(run: Run) -> None:
    """Draw the curves of all runs in this folder; a picture that fails costs a line of the log, never the training."""
    if run.world.is_main:
        try:
            draw_curves(sorted(run.work_dir.glob("*.log.json")), run.work_dir / "curves.png")
        except Exception as error:
            run.log.info(f"The curves are not drawn: {error}")
