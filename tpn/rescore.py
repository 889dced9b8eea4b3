"""The metrics of saved result files: of one against a recipe's test list, or of several summed up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from tpn.config import Config
from tpn.data.annotations import Format, list_hash, read_labels, read_list, read_names
from tpn.engine.progress import print_line
from tpn.engine.results import read_meta, read_results
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
    test, num_classes, format = config.data.test, config.model.cls_head.num_classes, config.data.format
    records = read_list(test.ann_file, format=format, num_classes=num_classes, check_files=False)
    scores = read_results_of(test.ann_file, results, format=format, console=console)
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
    tables = [read_results_of(datalist, path, console=console) for path in files]
    scores = fuse_scores(files, tables, coefficients, apply_softmax=apply_softmax)
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


def read_results_of(
    ann_file: str | Path, results: Path, *, format: Format | None = None, console: Console
) -> np.ndarray:
    """(N, num_classes) scores of a result file in the order of a list: by their names, where it was made of another.

    Args:
        format: of the list; None: whichever of the two has the names of the results.
    Raises:
        DataError: the results are of another list, by its hash, and do not name all videos of this one.
    """
    scores, meta = read_results(results), read_meta(results)
    if meta.get("ann_file_sha256") in (None, list_hash(ann_file)):
        return scores
    videos = meta.get("videos")
    rows = dict(zip(videos, scores, strict=True)) if isinstance(videos, list) and len(videos) == len(scores) else {}
    formats: list[Format] = ["videos", "rawframes"] if format is None else [format]
    other = f"{results} was made of another list than {ann_file} is now ({meta.get('ann_file')})"
    for names in (read_names(ann_file, format=each) for each in formats):
        if all(name in rows for name in names):
            print_line(f"{other}: the scores are matched to its {len(names)} videos by name", console)
            return np.stack([rows[name] for name in names])
    raise DataError(
        f"{other} and does not name all of its videos, so scores and labels would not belong together: test again, or "
        f"give the list that it was made of"
    )


def fuse_scores(
    files: Sequence[Path], tables: Sequence[np.ndarray], coefficients: Sequence[float], *, apply_softmax: bool
) -> np.ndarray:
    """(N, num_classes) float64: the files' scores, each times its coefficient, summed up."""
    if len(files) != len(coefficients):
        raise UserError(f"{len(files)} --scores need as many --coefficients, got {len(coefficients)}")
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
