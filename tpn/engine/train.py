"""The training loop: plain PyTorch, one process or many, in the order a reader asks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from tpn.config.settings import TSMBackbone
from tpn.data.augment import prepare_clips
from tpn.data.loader import to_device
from tpn.engine.checkpoint import link_latest, save_checkpoint
from tpn.engine.distributed import maximum, share_buffers
from tpn.engine.evaluate import DTYPES, build_scorer, score_dataset
from tpn.engine.log import RecentMeans
from tpn.engine.optim import hits, learning_rate, recognition_losses, set_learning_rate
from tpn.engine.progress import ProgressBar
from tpn.engine.setup import Run
from tpn.metrics import evaluate_scores
from tpn.report import draw_curves


def train(run: Run) -> None:
    """Train from where the state stands to the last epoch; save and validate on the way."""
    config, state = run.config, run.state
    if run.val_set is not None and state.epoch and is_due(run, config.evaluation.interval):
        validate(run)  # a checkpoint is saved before its validation, so the resumed run has yet to see it
    while state.epoch < config.total_epochs:
        train_epoch(run)
        state.epoch += 1
        if is_due(run, config.checkpoint_config.interval):
            save_epoch(run)
        if run.val_set is not None and is_due(run, config.evaluation.interval):
            validate(run)
        draw(run)
    run.log.close()


def is_due(run: Run, interval: int) -> bool:
    """Whether something done every `interval` epochs is due; everything is after the last one."""
    return run.state.epoch % interval == 0 or run.state.epoch == run.config.total_epochs


def train_epoch(run: Run) -> None:
    """One pass over the training videos, each exactly once over all processes."""
    config, state, world = run.config, run.state, run.world
    network, optimizer, scaler = run.network, state.optimizer, state.scaler
    dtype, max_norm = DTYPES[config.dtype], config.optimizer.max_grad_norm
    aux_weight = config.model.neck.aux_loss_weight if config.model.neck else None
    recent = RecentMeans(config.log_config.interval)
    steps, batches = run.loader.epoch(state.epoch)
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
        finished = time.perf_counter()
        for step, batch in enumerate(batches, start=1):
            data_time = time.perf_counter() - finished
            seed_step(state.seed, state.epoch, step, world.rank)
            lr = learning_rate(
                config.lr_config, lr=run.lr, progress=state.epoch + (step - 1) / steps, total_epochs=config.total_epochs
            )
            set_learning_rate(optimizer, lr)
            batch = to_device(batch, world.device)
            clips = prepare_clips(
                batch.views,
                batch.flip,
                batch.jitter_factors,
                batch.jitter_order,
                mean=config.data.mean,
                std=config.data.std,
            ).flatten(0, 1)  # (B, 3, T, H, W)
            labels = batch.label  # (B,)

            # ---------------------------------------------------------------------------------- one optimisation step
            with torch.autocast(world.device.type, dtype=dtype, enabled=dtype != torch.float32):
                logits, aux_logits = network(clips)
            losses = recognition_losses(logits, aux_logits, labels, aux_weight=aux_weight)
            optimizer.zero_grad()
            scaler.scale(losses["loss"] * batch.share).backward()
            scaler.unscale_(optimizer)
            grad_norm = {"grad_norm": clip_grad_norm_(network.parameters(), max_norm)} if max_norm else {}
            scaler.step(optimizer)
            scaler.update()
            # --------------------------------------------------------------------------------------------------------

            state.step += 1
            accuracy = {"top1_acc": hits(logits, labels, 1), "top5_acc": hits(logits, labels, 5)}
            recent.update({**losses, **accuracy, **grad_norm}, len(labels))
            recent.update({"data_time": data_time, "time": time.perf_counter() - finished})
            finished = time.perf_counter()
            if step % config.log_config.interval == 0 or step == steps:
                log_steps(run, recent, step=step, steps=steps, lr=lr)
            bar.advance()


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Make dropout a function of the position, so that a resumed run draws what an uninterrupted one would."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, step, rank]).generate_state(1)[0]))


def log_steps(run: Run, recent: RecentMeans, *, step: int, steps: int, lr: float) -> None:
    """Log the means of the last steps over all processes."""
    means = recent.means(run.world)
    if run.world.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(run.world.device) >> 20
        means["memory"] = int(maximum(peak, run.world))
    epochs_left = run.config.total_epochs - run.state.epoch - 1
    run.log.train(
        epoch=run.state.epoch + 1,
        iter=step,
        iters_per_epoch=steps,
        lr=lr,
        eta_seconds=means["time"] * (steps - step + epochs_left * steps),
        values=means,
    )


def save_epoch(run: Run) -> None:
    """Write epoch_N.pth and point latest.pth at it."""
    if not run.world.is_main:
        return
    path = run.work_dir / f"epoch_{run.state.epoch}.pth"
    run.log.info(f"Saving checkpoint at {run.state.epoch} epochs")
    run.state.hook_msgs["last_ckpt"] = str(path)
    save_checkpoint(run.state, path, meta=run.meta)
    link_latest(path)


def validate(run: Run) -> None:
    """Score the validation videos, log the metrics, and keep the checkpoint that is best by the first of them."""
    config, state = run.config, run.state
    assert run.val_set is not None
    share_buffers(state.model, run.world)  # each process has statistics of its own videos
    with reference_classifier(run):
        scores = score_dataset(
            build_scorer(state.model, config, run.world.device),
            run.val_set,
            batch_size=config.data.videos_per_gpu,
            workers=config.data.workers_per_gpu,
            world=run.world,
            console=run.console,
            title="validation",
        )
    if scores is None:  # not the main process
        return
    labels = np.array([record.label for record in run.val_set.records])
    values = evaluate_scores(scores, labels, config.evaluation.metrics)
    batches = -(-len(run.val_set) // (config.data.videos_per_gpu * run.world.size))
    run.log.val(epoch=state.epoch, iter=batches, lr=state.optimizer.param_groups[0]["lr"], values=values)
    keep_best(run, *next(iter(values.items())))


@contextmanager
def reference_classifier(run: Run) -> Iterator[None]:
    """With `compat.stale_classifier`, score TPN (on TSM, as published) with the classifier of the first validation."""
    model, compat, head = run.config.model, run.config.compat, run.state.model.cls_head
    live = head.fc_cls
    tsm = isinstance(model.backbone, TSMBackbone)
    if model.neck is not None and (compat.restores("stale_classifier") if tsm else compat.stale_classifier):
        run.first_classifier = run.first_classifier or deepcopy(live)
        head.fc_cls = run.first_classifier
    try:
        yield
    finally:
        head.fc_cls = live


def keep_best(run: Run, key: str, score: float) -> None:
    """Save best_<key>_epoch_N.pth if this score is the best so far, and remove the one it beats."""
    messages = run.state.hook_msgs
    if score <= messages.get("best_score", -1.0):
        return
    path = run.work_dir / f"best_{key}_epoch_{run.state.epoch}.pth"
    beaten = messages.get("best_ckpt")
    messages |= {"best_score": score, "best_ckpt": str(path)}
    save_checkpoint(run.state, path, meta=run.meta)
    if beaten is not None:
        (run.work_dir / beaten.rsplit("/", 1)[-1]).unlink(missing_ok=True)
    run.log.info(f"Now best checkpoint is saved as {path.name}.")
    run.log.info(f"Best {key} is {score:.4f} at {run.state.epoch} epoch.")


def draw(run: Run) -> None:
    """Draw the curves of all runs in this folder; a picture that fails costs a line of the log, never the training."""
    if run.world.is_main:
        try:
            draw_curves(sorted(run.work_dir.glob("*.log.json")), run.work_dir / "curves.png")
        except Exception as error:
            run.log.info(f"The curves are not drawn: {error}")
