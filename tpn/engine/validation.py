"""Validation during training: the videos scored, the metrics logged, the best checkpoint kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np

from tpn.config.settings import TSMBackbone
from tpn.engine.bad_videos import BadVideos, bad_validation_line
from tpn.engine.checkpoint import save_checkpoint
from tpn.engine.distributed import share_buffers
from tpn.engine.evaluate import build_scorer, score_dataset
from tpn.engine.folder import read_place, remove
from tpn.engine.setup import Run
from tpn.errors import CheckpointError, DataError
from tpn.metrics import evaluate_scores


def validate(run: Run) -> None:
    """Score the validation videos, log the metrics, and keep the checkpoint that is best by the first of them.

    Raises DataError where too many cannot be read: it says that nothing of the training is lost.
    """
    config, state = run.config, run.state
    assert run.val_set is not None
    share_buffers(state.model, run.world)  # each process has statistics of its own videos
    bad = BadVideos(config, "val", run.val_set.records, told=run.bad_validation)
    with reference_classifier(run), told_what_is_saved(run):
        scores = score_dataset(
            build_scorer(state.model, config, run.world.device),
            run.val_set,
            batch_size=config.data.videos_per_gpu,
            workers=config.data.workers_per_gpu,
            read_timeout=config.data.read_timeout,
            bad=bad,
            world=run.world,
            console=run.console,
            title="validation",
            tell=lambda error: run.log.warning(bad_validation_line(error)),
        )
    run.bad_validation |= bad.listed()
    if scores is None:  # not the main process
        return
    labels = np.array([record.label for record in run.val_set.records])
    values = evaluate_scores(scores, labels, config.evaluation.metrics)
    batches = -(-len(run.val_set) // (config.data.videos_per_gpu * run.world.size))
    run.log.val(epoch=state.epoch, iter=batches, lr=state.optimizer.param_groups[0]["lr"], values=values)
    keep_best(run, *next(iter(values.items())))


@contextmanager
def told_what_is_saved(run: Run) -> Iterator[None]:
    """Add to an error of the videos that the training is saved and how it goes on; put it into the log, too."""
    try:
        yield
    except DataError as error:
        text = (
            f"{error}\nthe training is saved in {run.state.hook_msgs['last_ckpt']}: mend the videos or change the "
            "setting, and run the same command with --auto-resume"
        )
        run.log.note("ERROR", text)
        raise DataError(text) from None


@contextmanager
def reference_classifier(run: Run) -> Iterator[None]:
    """With `compat.stale_classifier`, score TPN (on TSM, as published) with the classifier of the first validation."""
    model, compat, state = run.config.model, run.config.compat, run.state
    head = state.model.cls_head
    live = head.fc_cls
    tsm = isinstance(model.backbone, TSMBackbone)
    if model.neck is not None and (compat.restores("stale_classifier") if tsm else compat.stale_classifier):
        state.first_classifier = state.first_classifier or deepcopy(live)
        head.fc_cls = state.first_classifier
    try:
        yield
    finally:
        head.fc_cls = live


def keep_best(run: Run, key: str, score: float) -> None:
    """Save best_<key>_epoch_N.pth if this score is the best so far, and remove the one of this run that it beats."""
    messages = run.state.hook_msgs
    if score <= messages.get("best_score", -1.0):
        return
    path = run.work_dir / f"best_{key}_epoch_{run.state.epoch}.pth"
    beaten = messages.get("best_ckpt")
    messages |= {"best_score": score, "best_ckpt": str(path)}
    save_checkpoint(run.state, path, meta=run.meta)
    if beaten is not None and (old := Path(beaten)) != path and is_ours(old, run.state.run):
        run.log.info(remove(old, f"{path.name} is better"))
    run.log.info(f"Now best checkpoint is saved as {path.name}.")
    run.log.info(f"Best {key} is {score:.4f} at {run.state.epoch} epoch.")


def is_ours(path: Path, run: str) -> bool:
    """Whether this run has written the checkpoint, not the one that it was resumed from."""
    try:
        place = read_place(path)
    except CheckpointError:  # it is gone, or may not be read
        return False
    return place is not None and place.run == run
