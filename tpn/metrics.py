"""Accuracy as MMAction2 counts it: top-k, mean class accuracy, confusion matrix; numpy only."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tpn.errors import DataError

Metric = Literal["top_k_accuracy", "mean_class_accuracy"]


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, ks: Sequence[int] = (1, 5)) -> list[float]:
    """Share of videos whose label is among the k highest scores, one figure per k. scores (N, C), labels (N,).

    Of equal scores the lower class comes first, on every machine. (MMAction2 takes the order of `np.argsort`, which
    depends on the processor's vector instructions; its figure differs only where the k-th score is tied.)
    A row with NaN, as of a video that cannot be read, hits nothing.
    """
    labels = np.asarray(labels)[:, None]
    own = np.take_along_axis(scores, labels, axis=1)  # (N, 1)
    ties_before = (scores == own) & (np.arange(scores.shape[1]) < labels)
    rank = (scores > own).sum(axis=1) + ties_before.sum(axis=1)  # (N,), 0 is best
    is_read = ~np.isnan(scores).any(axis=1)
    return [float((is_read & (rank < k)).mean()) for k in ks]


def confusion_matrix(
    predictions: np.ndarray, labels: np.ndarray, normalize: Literal["true", "pred", "all"] | None = None
) -> np.ndarray:
    """(K, K) counts: rows are labels, columns predictions, over the `classes_seen`. predictions (N,), labels (N,).

    `normalize` divides by the sum of the row ('true'), of the column ('pred') or of everything ('all'); 0 / 0 is 0.
    """
    classes = classes_seen(predictions, labels)
    rows, columns = np.searchsorted(classes, labels), np.searchsorted(classes, predictions)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    if normalize is None:
        return counts
    totals = counts.sum(axis={"true": 1, "pred": 0, "all": None}[normalize], keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def classes_seen(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K,) every class that is a label or a prediction, ascending: what the rows of `confusion_matrix` stand for."""
    return np.union1d(labels, predictions)


def mean_class_accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy of each class, averaged over classes. scores (N, C), labels (N,).

    The classes are those seen in labels *or* predictions, as in MMAction2: a class that is predicted but has no video
    counts as 0. Of equal scores the lowest class wins. A row with NaN, as of a video that cannot be read, predicts no
    class: it is wrong.
    """
    labels, is_read = np.asarray(labels), ~np.isnan(scores).any(axis=1)
    predictions = np.argmax(scores, axis=1)
    classes = classes_seen(predictions[is_read], labels)
    rows, is_right = np.searchsorted(classes, labels), is_read & (predictions == labels)
    videos, right = (np.bincount(each, minlength=len(classes)) for each in (rows, rows[is_right]))
    return float(np.divide(right, videos, out=np.zeros(len(classes)), where=videos > 0).mean())


def telling_ks(num_classes: int) -> tuple[int, ...]:
    """The k of the top-k accuracies that are told unless others are asked for: among five classes, top-5 is all."""
    return (1, 5) if num_classes > 5 else (1,)


def evaluate_scores(
    scores: np.ndarray, labels: np.ndarray, metrics: Sequence[Metric], *, ks: Sequence[int] | None = None
) -> dict[str, float]:
    """The figures of the metrics, in their order: top1_acc and top5_acc (or of other `ks`); mean_class_accuracy.

    Unless `ks` asks for it, top5_acc is left out where there are no more than five classes.

    scores (N, num_classes), labels (N,). Raises DataError where they cannot belong together; without a metric, as for
    a test list that has no labels, nothing is asked of the labels.
    """
    if metrics:
        check_scores(scores, labels)
    figures: dict[str, float] = {}
    for metric in metrics:
        if metric == "top_k_accuracy":
            ks = telling_ks(scores.shape[1]) if ks is None else ks
            figures |= {f"top{k}_acc": share for k, share in zip(ks, top_k_accuracy(scores, labels, ks), strict=True)}
        else:
            figures["mean_class_accuracy"] = mean_class_accuracy(scores, labels)
    return figures


def metric_lines(metrics: Sequence[Metric], figures: dict[str, float]) -> list[str]:
    """What MMAction2 prints while it evaluates: for each metric its name, then its figures."""
    lines = []
    for metric in metrics:
        if metric == "top_k_accuracy":
            rows = {key: value for key, value in figures.items() if key != "mean_class_accuracy"}
        else:
            rows = {"mean_acc": figures["mean_class_accuracy"]}
        lines.append(f"\nEvaluating {metric} ...")
        lines.append("\n" + "\n".join(f"{name}\t{value:.4f}" for name, value in rows.items()))
    return lines


def check_scores(scores: np.ndarray, labels: np.ndarray) -> None:
    """Raise DataError unless there is one row of scores per label and a column for every label."""
    if scores.ndim != 2 or len(scores) == 0:
        raise DataError(f"scores must be one row of class scores per video, got an array of shape {scores.shape}")
    if len(scores) != len(labels):
        raise DataError(
            f"there are scores of {len(scores)} videos but {len(labels)} labels: are they of the same list?"
        )
    outside = [label for label in (min(labels), max(labels)) if not 0 <= label < scores.shape[1]]
    if outside:
        raise DataError(
            f"label {outside[0]} is not one of the {scores.shape[1]} classes scored (0 to {scores.shape[1] - 1})"
        )
