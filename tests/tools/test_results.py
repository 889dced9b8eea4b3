"""eval_metric.py and report_accuracy.py: result files in MMAction2's layouts give the figures MMAction2 prints."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tpn.data.annotations import list_hash, read_names
from tpn.engine.results import write_meta, write_results

NUM_VIDEOS, NUM_CLASSES = 40, 12


@pytest.fixture
def scores() -> np.ndarray:
    """(40, 12) float32 without ties."""
    return np.random.default_rng(0).permutation(NUM_VIDEOS * NUM_CLASSES).reshape(NUM_VIDEOS, -1).astype(np.float32)


@pytest.fixture
def labels(scores) -> np.ndarray:
    """(40,): of three videos the best class, of one the third best, and so on."""
    ranking = np.argsort(-scores, axis=1)
    return ranking[np.arange(NUM_VIDEOS), np.arange(NUM_VIDEOS) % 4 * (np.arange(NUM_VIDEOS) % 3)]


@pytest.fixture
def config(tmp_path, labels) -> Path:
    """A recipe with a test list whose videos are not there."""
    (tmp_path / "list.txt").write_text("".join(f"some where/{i}.mp4 {label}\n" for i, label in enumerate(labels)))
    path = tmp_path / "config.py"
    path.write_text(f"""
model = dict(backbone=dict(type="ResNet3dSlowOnly"), cls_head=dict(num_classes={NUM_CLASSES}))
_split = dict(ann_file={str(tmp_path / "list.txt")!r}, data_prefix="nowhere")
data = dict(format="videos", clip_len=8, train=_split, val=_split, test=_split)
lr_config = dict(policy="step", step=[1])
total_epochs = 1
""")
    return path


def save(path: Path, scores: np.ndarray) -> Path:
    """Write scores as MMAction2 0.24.1 with NumPy 1 does: mmcv.dump of a list of arrays, or of their lists."""
    if path.suffix == ".pkl":
        content = pickle.dumps([row.copy() for row in scores], protocol=2)
        path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    elif path.suffix == ".json":
        path.write_text(json.dumps([row.tolist() for row in scores]))
    else:
        path.write_text("".join(f"- - {row[0]}\n" + "".join(f"  - {x}\n" for x in row[1:]) for row in scores.tolist()))
    return path


def expected_top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    return float(np.mean([label in np.argsort(row)[-k:] for row, label in zip(scores, labels, strict=True)]))


@pytest.mark.parametrize("suffix", ["json", "pkl", "yaml"])
def test_mmaction2s_result_files_are_evaluated(tool, config, scores, labels, tmp_path, suffix):
    results = save(tmp_path / f"result.{suffix}", scores)
    outcome = tool("analysis/eval_metric.py", config, results, "--eval", "top_k_accuracy", "mean_class_accuracy")
    top1, top5 = (expected_top_k(scores, labels, k) for k in (1, 5))
    assert 0 < top1 < top5 < 1
    predictions, classes = scores.argmax(1), np.union1d(labels, scores.argmax(1))
    mean = float(np.mean([(predictions[labels == c] == c).mean() if (labels == c).any() else 0 for c in classes]))
    assert outcome.out == (
        f"\nEvaluating top_k_accuracy ...\n\ntop1_acc\t{top1:.4f}\ntop5_acc\t{top5:.4f}\n"
        f"\nEvaluating mean_class_accuracy ...\n\nmean_acc\t{mean:.4f}\n"
        f"OrderedDict([('top1_acc', {top1!r}), ('top5_acc', {top5!r}), ('mean_class_accuracy', {mean!r})])\n"
    )


def test_our_result_files_are_evaluated(tool, config, scores, tmp_path):
    outcomes = set()
    for suffix in ("json", "pkl", "yaml"):
        write_results(tmp_path / f"r.{suffix}", scores)
        outcomes.add(tool("analysis/eval_metric.py", config, tmp_path / f"r.{suffix}", "--eval", "top_k_accuracy").out)
    assert len(outcomes) == 1


def test_metrics_come_in_the_order_asked_for(tool, config, scores, tmp_path):
    results = save(tmp_path / "r.json", scores)
    out = tool("analysis/eval_metric.py", config, results, "--eval", "mean_class_accuracy", "top_k_accuracy").out
    assert out.splitlines()[-1].startswith("OrderedDict([('mean_class_accuracy'")


def test_other_k_are_asked_for_by_eval_options(tool, config, scores, labels, tmp_path):
    results = save(tmp_path / "r.json", scores)
    out = tool(
        "analysis/eval_metric.py", config, results, "--eval", "top_k_accuracy", "--eval-options", "topk=(2,3)"
    ).out
    assert out.splitlines()[-1] == (
        f"OrderedDict([('top2_acc', {expected_top_k(scores, labels, 2)!r}), "
        f"('top3_acc', {expected_top_k(scores, labels, 3)!r})])"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eval", "top_k_accuracy", "--eval-options", "top=3"], "the only option is topk"),
        (["--eval", "top_k_accuracy", "--eval-options", "topk=0"], "expected whole numbers from 1 on"),
        (["--eval", "top_k_accuracy", "--cfg-options", "data.test.ann_file=gone.txt"], "gone.txt cannot be read"),
        (["--eval", "top_k_accuracy", "--cfg-options", "model.cls_head.num_classes=3"], "is outside 0..2"),
    ],
)
def test_mistakes_are_named(tool, config, scores, tmp_path, arguments, message):
    outcome = tool("analysis/eval_metric.py", config, save(tmp_path / "r.json", scores), *arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_results_of_another_list_are_refused(tool, config, scores, tmp_path):
    outcome = tool("analysis/eval_metric.py", config, save(tmp_path / "r.pkl", scores[1:]), "--eval", "top_k_accuracy")
    assert outcome.code == 2
    assert "scores of 39 videos but 40 labels" in outcome.err


def test_eval_is_required(tool, config, scores, tmp_path):
    outcome = tool("analysis/eval_metric.py", config, save(tmp_path / "r.pkl", scores))
    assert outcome.code == 2


# ------------------------------------------------------------------------------------------------------------- fusing


def test_fusing_nothing_says_what_to_give(tool, tmp_path):
    outcome = tool("analysis/report_accuracy.py")
    assert outcome.code == 2
    assert "--scores" in outcome.err
    assert "--datalist" in tool("analysis/report_accuracy.py", "--scores", tmp_path / "rgb.pkl").err


def test_fused_scores_are_evaluated_in_mmaction2s_words(tool, config, scores, labels, tmp_path):
    rng = np.random.default_rng(1)
    other = rng.normal(size=scores.shape).astype(np.float32)
    files = save(tmp_path / "rgb.pkl", scores / 100), save(tmp_path / "flow.json", other)
    outcome = tool("analysis/report_accuracy.py", "--scores", *files, "--coefficients", "1", "0.5",
                   "--datalist", tmp_path / "list.txt", "--apply-softmax")  # fmt: skip

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)

    fused = softmax(scores / 100) + 0.5 * softmax(other)
    top1, top5 = (expected_top_k(fused, labels, k) for k in (1, 5))
    name, mean = outcome.out.splitlines()[0].split(": ")
    assert name == "Mean Class Accuracy" and len(mean) == 6
    assert outcome.out.splitlines()[1:] == [f"Top 1 Accuracy: {top1:.4f}", f"Top 5 Accuracy: {top5:.4f}"]


def test_coefficients_are_one_each_if_not_given(tool, config, scores, labels, tmp_path):
    file = save(tmp_path / "rgb.pkl", scores)
    outcome = tool("analysis/report_accuracy.py", "--scores", file, file, file, "--datalist", tmp_path / "list.txt")
    assert f"Top 1 Accuracy: {expected_top_k(scores, labels, 1):.4f}\n" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scores", "a.pkl", "--coefficients", "1", "2"], "1 --scores need as many --coefficients, got 2"),
        (["--scores", "a.pkl", "b.pkl"], "b.pkl has scores of 39 videos for 12 classes, a.pkl of 40 for 12"),
        (["--scores", "a.pkl", "--datalist", "gone.txt"], "gone.txt cannot be read"),
        (["--scores", "gone.pkl"], "gone.pkl: cannot be read"),
        (["--scores", "a.pkl", "--datalist", "unlabelled.txt"], "unlabelled.txt:2: expected a label at the end"),
    ],
)
def test_files_that_do_not_belong_together_are_named(tool, config, scores, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    save(Path("a.pkl"), scores)
    save(Path("b.pkl"), scores[1:])
    Path("unlabelled.txt").write_text("a.mp4 1\nb.mp4\n")
    if "--datalist" not in arguments:
        arguments = [*arguments, "--datalist", "list.txt"]
    outcome = tool("analysis/report_accuracy.py", *arguments)
    assert outcome.code == 2
    assert message in outcome.err


# ------------------------------------------------------------------------------------------ a list that is another now


@pytest.fixture
def meta(config, tmp_path):
    """meta(results) writes what `tpn test` puts beside them: the hash of the list, and its videos."""

    def write(results: Path, *, videos: bool = True) -> None:
        facts = {"ann_file": "list.txt", "ann_file_sha256": list_hash(tmp_path / "list.txt")}
        names = read_names(tmp_path / "list.txt", format="videos")
        write_meta(results, facts | ({"videos": names} if videos else {}))

    return write


def reorder(path: Path, *, drop: int = 0) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[::-1]][drop:]))


@pytest.mark.parametrize("command", ["eval_metric", "report_accuracy"])
def test_a_list_in_another_order_is_matched_by_name(tool, config, scores, meta, tmp_path, command):
    results = save(tmp_path / "r.pkl", scores)
    meta(results)
    arguments = [config, results, "--eval", "top_k_accuracy"]
    if command == "report_accuracy":
        arguments = ["--scores", results, "--coefficients", 1, "--datalist", tmp_path / "list.txt"]
    before = tool(f"analysis/{command}.py", *arguments)
    assert "matched" not in before.out
    reorder(tmp_path / "list.txt")
    after = tool(f"analysis/{command}.py", *arguments)
    line, *figures = after.out.splitlines()
    assert line.endswith("the scores are matched to its 40 videos by name")
    assert figures == before.out.splitlines()


def test_a_list_of_some_of_the_videos_is_matched_by_name(tool, config, scores, labels, meta, tmp_path):
    results = save(tmp_path / "r.pkl", scores)
    meta(results)
    reorder(tmp_path / "list.txt", drop=10)
    out = tool("analysis/eval_metric.py", config, results, "--eval", "top_k_accuracy").out
    assert f"top1_acc\t{expected_top_k(scores[:30], labels[:30], 1):.4f}" in out


@pytest.mark.parametrize("case", ["other videos", "results that do not name theirs"])
def test_results_that_cannot_be_matched_are_refused(tool, config, scores, meta, tmp_path, case):
    results = save(tmp_path / "r.pkl", scores)
    meta(results, videos=case == "other videos")
    text = (tmp_path / "list.txt").read_text()
    (tmp_path / "list.txt").write_text(text.replace("/0.mp4", "/new.mp4"))
    outcome = tool("analysis/eval_metric.py", config, results, "--eval", "top_k_accuracy")
    assert outcome.code == 2
    assert "was made of another list than" in outcome.err
    assert "test again" in outcome.err
