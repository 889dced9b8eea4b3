"""The figures are MMAction2's to the last bit, unseen classes included; ties follow one rule everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tpn.engine.optim import hits
from tpn.errors import DataError
from tpn.metrics import classes_seen, confusion_matrix, evaluate_scores, mean_class_accuracy, top_k_accuracy


def test_mean_class_accuracy_is_the_references(parity):
    reference = parity("metrics.npz")
    assert mean_class_accuracy(reference["scores"], reference["labels"]) == reference["mean_class"]


def test_top_k_accuracy_is_the_references_but_for_ties(parity):
    """MMAction2's figures were made with AVX2, where argsort puts other classes first among equal scores."""
    reference = parity("metrics.npz")
    scores, labels = reference["scores"], reference["labels"]
    assert (reference["top1"], reference["top5"]) == (0.07, 0.278)
    assert top_k_accuracy(scores, labels) == [0.068, 0.284]
    own = scores[np.arange(len(labels)), labels][:, None]
    above, level = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
    for k, figure in ((1, reference["top1"]), (5, reference["top5"])):  # with every tie lost, or won
        assert (above + level <= k).mean() <= figure <= (above < k).mean()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_of_equal_scores_the_lower_class_comes_first(dtype):
    scores, labels = np.zeros((400, 400), dtype), np.arange(400)
    assert top_k_accuracy(scores, labels, ks=(1, 5, 400)) == [1 / 400, 5 / 400, 1.0]
    assert mean_class_accuracy(scores, labels) == 1 / 400
    logits = torch.from_numpy(scores.astype(np.float32))
    assert [hits(logits, torch.from_numpy(labels), k).item() for k in (1, 5)] == pytest.approx([1 / 400, 5 / 400])


def test_a_row_with_nan_hits_nothing():
    scores = np.array([[0.1, 0.9], [np.nan, np.nan]])
    assert top_k_accuracy(scores, np.array([1, 1]), ks=(1, 2)) == [0.5, 0.5]


def test_evaluate_scores_names_the_figures_as_the_reference_in_the_order_of_the_metrics(parity):
    reference = parity("metrics.npz")
    figures = evaluate_scores(
        reference["scores"], reference["labels"], metrics=["mean_class_accuracy", "top_k_accuracy"]
    )
    assert list(figures) == ["mean_class_accuracy", "top1_acc", "top5_acc"]
    assert all(type(value) is float for value in figures.values())


def test_only_the_metrics_asked_for_are_computed():
    scores, labels = np.eye(6), np.arange(6)
    assert evaluate_scores(scores, labels, metrics=["top_k_accuracy"]) == {"top1_acc": 1.0, "top5_acc": 1.0}
    assert evaluate_scores(scores, labels, metrics=["mean_class_accuracy"]) == {"mean_class_accuracy": 1.0}


def test_list_without_labels_needs_none_where_no_metric_is_asked_for():
    assert evaluate_scores(np.eye(3), np.full(3, -1), metrics=[]) == {}


def test_class_predicted_but_never_a_label_counts_as_zero():
    scores = np.eye(4)[[0, 0, 1, 3]]  # class 3 is predicted once and has no video; class 2 is seen nowhere
    labels = np.array([0, 0, 1, 1])
    assert mean_class_accuracy(scores, labels) == pytest.approx((1 + 0.5 + 0) / 3)
    assert classes_seen(np.argmax(scores, axis=1), labels).tolist() == [0, 1, 3]


def test_confusion_matrix_has_labels_in_rows():
    counts = confusion_matrix(predictions=np.array([2, 2, 5]), labels=np.array([2, 5, 5]))
    assert counts.tolist() == [[1, 0], [1, 1]]
    assert counts.dtype == np.int64


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [("true", [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 0]]),
     ("pred", [[0.5, 0, 0], [0.5, 0, 1], [0, 0, 0]]),
     ("all", [[1 / 3, 0, 0], [1 / 3, 0, 1 / 3], [0, 0, 0]])],
)  # fmt: skip
def test_confusion_matrix_normalises_and_zero_by_zero_is_zero(normalize, expected):
    matrix = confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 1]), normalize=normalize)
    np.testing.assert_array_equal(matrix, expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12))
def test_top_k_without_ties_counts_labels_among_the_k_best(seed, num_videos, num_classes):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(num_classes, dtype=np.float32), (num_videos, 1)), axis=1)
    labels = rng.integers(num_classes, size=num_videos)
    rank = (scores > scores[np.arange(num_videos), labels][:, None]).sum(axis=1)
    assert top_k_accuracy(scores, labels, ks=(1, 3, 50)) == [float((rank < k).mean()) for k in (1, 3, 50)]


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [(np.eye(3), [0, 1], "scores of 3 videos but 2 labels"),
     (np.eye(3), [0, 1, 3], "label 3 is not one of the 3 classes"),
     (np.eye(3), [0, -1, 2], "label -1 is not one of the 3 classes"),
     (np.zeros((0, 3)), [], "shape \\(0, 3\\)"),
     (np.zeros(3), [0, 1, 2], "shape \\(3,\\)")],
)  # fmt: skip
def test_scores_that_do_not_fit_the_labels_are_refused(scores, labels, message):
    with pytest.raises(DataError, match=message):
        evaluate_scores(scores, np.array(labels), metrics=["top_k_accuracy"])
