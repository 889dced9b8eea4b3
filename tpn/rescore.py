"""The metrics of saved result files: of one against a recipe's test list, or of several summed up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from tpn.config import Config
from tpn.data.annotations import read_labels, read_list
from tpn.engine.progress import print_line
from tpn.engine.results import read_results
from tpn.errors import DataError, UserError
from tpn.metrics import (
    Metric,
    check_scores,
    evaluate_scores,
    mean_class_accuracy,
    metric_lines,
    telling_ks,
    top_k_accuracy,
)


def evaluate_results(
    config: Config,
    results: Path,
    *,
    metrics: Sequence[Metric],
    ks: Sequence[int] | None = None,
    reference_lines: bool = False,
    console: Console,
) -> dict[str, float]:
    """Print and return the metrics of a result file, ours or MMAction2's.

    With `reference_lines` they are printed in the words of MMAction2's `eval_metric.py`, else as `name: value`.

    The labels are those of the recipe's test list; the videos need not be there. Raises DataError where list and
    results cannot be read or do not belong together.
    """
    scores = read_results(results)
    test, num_classes = config.data.test, config.model.cls_head.num_classes
    records = read_list(test.ann_file, format=config.data.format, num_classes=num_classes, check_files=False)
    values = evaluate_scores(scores, np.array([record.label for record in records]), metrics, ks=ks)
    pairs = ", ".join(f"({key!r}, {value!r})" for key, value in values.items())
    theirs = [*metric_lines(metrics, values), f"OrderedDict([{pairs}])"]
    for line in theirs if reference_lines else (f"{key}: {value:.4f}" for key, value in values.items()):
        print_line(line, console)
    return values


def evaluate_fusion(
    files: Sequence[Path], *, coefficients: Sequence[float], datalist: Path, apply_softmax: bool, console: Console
) -> dict[str, float]:
    """Print and return the accuracies of a weighted sum of result files, as MMAction2's `report_accuracy.py` does.

    Args:
        coefficients: one per file.
        datalist: the list the results are of; a line ends with the label.
        apply_softmax: to the scores of every file, before they are summed up.
    """
    scores = fuse_scores(files, coefficients, apply_softmax=apply_softmax)
    labels = np.array(read_labels(datalist))
    check_scores(scores, labels)
    ks = telling_ks(scores.shape[1])
    shares = zip(ks, top_k_accuracy(scores, labels, ks), strict=True)
    figures = {
        "Mean Class Accuracy": mean_class_accuracy(scores, labels),
        **{f"Top {k} Accuracy": share for k, share in shares},
    }
    for name, value in figures.items():
        print_line(f"{name}: {value:.04f}", console)
    return figures


def fuse_scores(files: Sequence[Path], coefficients: Sequence[float], *, apply_softmax: bool) -> np.ndarray:
    """(N, num_classes) float64: the files' scores, each times its coefficient, summed up."""
    if len(files) != len(coefficients):
        raise UserError(f"{len(files)} --scores need as many --coefficients, got {len(coefficients)}")
    tables = [read_results(path) for path in files]
    for path, table in zip(files, tables, strict=True):
        if table.shape != tables[0].shape:
            raise DataError(
                f"{path} has scores of {table.shape[0]} videos for {table.shape[1]} classes, {files[0]} of "
                f"{tables[0].shape[0]} for {tables[0].shape[1]}: they are not of the same list"
            )
    tables = [softmax(table) if apply_softmax else table for table in tables]
    return np.tensordot(np.array(coefficients), np.stack(tables), axes=1)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
