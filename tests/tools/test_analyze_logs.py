"""analyze_logs.py reads MMAction2's logs and ours, draws any key of training or validation, and times the steps."""

import cv2
import numpy as np
import pytest
from rich.console import Console

from tpn.engine.log import RunLog
from tpn.log_curves import logged_values
from tpn.plot import BLUE, ORANGE
from tpn.report import read_logs

SCRIPT = "analysis/analyze_logs.py"


def test_train_time_is_printed_in_mmaction2s_words(tool, log_json):
    assert tool(SCRIPT, "cal_train_time", log_json).out == (
        f"-----Analyze train time of {log_json}-----\n"
        "slowest epoch 2, average time is 0.9000\n"
        "fastest epoch 1, average time is 0.5000\n"
        "time std over epochs is 0.1633\n"
        "average iter time: 0.7000 s/iter\n\n"
    )


def test_outliers_are_the_first_time_of_each_epoch(tool, log_json):
    out = tool(SCRIPT, "cal_train_time", log_json, "--include-outliers").out
    assert "average iter time: 4.8500 s/iter\n" in out  # (3 x 9 + 0.5 + 0.9 + 0.7) / 6


def test_epochs_of_different_lengths_are_timed(tool, log_json):
    with log_json.open("a") as file:
        file.write('{"mode": "train", "epoch": 4, "iter": 20, "time": 9}\n')  # killed: only its outlier is there
    assert "average iter time: 0.7000 s/iter\n" in tool(SCRIPT, "cal_train_time", log_json).out


def test_log_without_times_is_an_error(tool, tmp_path):
    path = tmp_path / "a.log.json"
    path.write_text('{"mode": "train", "epoch": 1, "iter": 20, "time": 1.0}\n')
    outcome = tool(SCRIPT, "cal_train_time", path)
    assert outcome.code == 2
    assert "--include-outliers" in outcome.err


def test_curves_are_drawn_to_out_with_title_and_legend(tool, log_json, tmp_path):
    png = tmp_path / "curves.png"
    outcome = tool(SCRIPT, "plot_curve", log_json, "--keys", "loss", "val/top1_acc", "--title", "a run",
                   "--legend", "training", "validation", "--out", png)  # fmt: skip
    assert outcome == (
        0,
        f"plot curve of {log_json}, metric is loss\nplot curve of {log_json}, metric is val/top1_acc\n"
        f"save curve to: {png}\n",
        "",
    )
    image = np.asarray(cv2.imread(str(png)))[..., ::-1].astype(int)
    for colour in (BLUE, ORANGE):
        assert (np.abs(image - colour) < 12).all(axis=2).sum() > 20


def test_curves_without_out_lie_beside_the_log(tool, log_json):
    picture = log_json.with_name("20210709_101213.top1_acc.png")
    assert tool(SCRIPT, "plot_curve", log_json).out.endswith(f"save curve to: {picture}\n")
    assert picture.is_file()


def test_curves_as_pdf_hold_the_picture(tool, log_json, tmp_path):
    pdf = tmp_path / "results.pdf"
    assert tool(SCRIPT, "plot_curve", log_json, "--keys", "top1_acc", "top5_acc", "--out", pdf).code == 0
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-1.4\n") and content.endswith(b"%%EOF\n")
    table = content[int(content.split()[-2]) :].splitlines()  # startxref says where it is
    assert table[0] == b"xref"
    for number, line in enumerate(table[3:8], 1):
        assert content[int(line[:10]) :].startswith(b"%d 0 obj" % number)


def test_flags_of_matplotlib_warn_and_draw(tool, log_json):
    outcome = tool(SCRIPT, "plot_curve", log_json, "--backend", "agg", "--style", "dark")
    assert outcome.code == 0
    assert [line.split(":")[:2] for line in outcome.err.splitlines()] == [
        ["warning", " --backend has no effect"],
        ["warning", " --style has no effect"],
    ]


def test_validation_is_at_the_last_iteration_of_its_epoch(log_json):
    _, train, val = read_logs([log_json])
    for key in ("mean_class_accuracy", "val/mean_class_accuracy"):
        x, y = logged_values(log_json, train, val, key)
        assert (x.tolist(), y.tolist()) == ([80], [0.5121])


def test_name_that_both_log_means_training(log_json):
    _, train, val = read_logs([log_json])
    x, y = logged_values(log_json, train, val, "top1_acc")
    assert x.tolist() == [20, 40, 60, 80, 100, 120]
    np.testing.assert_allclose(y, [0.1, 0.1, 0.2, 0.2, 0.3, 0.3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keys", "top1_ac"], "does not contain metric top1_ac; did you mean top1_acc?"),
        (["--keys", "val/loss"], "does not contain metric val/loss"),
        (["--legend", "a", "b"], "1 logs x 1 keys are drawn, but --legend names 2 curves"),
        (["--out", "curves.jpg"], "curves are written as .png, .pdf, not as '.jpg'"),
    ],
)
def test_what_cannot_be_drawn_is_said(tool, log_json, arguments, message):
    outcome = tool(SCRIPT, "plot_curve", log_json, *arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_our_logs_are_read_too(tool, tmp_path):
    log = RunLog(tmp_path, "t", console=Console(quiet=True))
    for iter in (20, 40):
        values = {"time": 0.5, "data_time": 0.1, "loss": 1.5, "top1_acc": 0.25}
        log.train(epoch=1, iter=iter, iters_per_epoch=40, lr=0.01, eta_seconds=10, values=values)
    log.val(epoch=1, iter=3, lr=0.01, values={"top1_acc": 0.5})
    log.close()
    assert tool(SCRIPT, "plot_curve", log.json_path, "--keys", "val/top1_acc").code == 0
    assert "average iter time: 0.5000 s/iter" in tool(SCRIPT, "cal_train_time", log.json_path).out


@pytest.fixture
def three_logs(log_json, tmp_path) -> list:
    """A good log between one that is a folder and one of a run that was killed before its first line."""
    (tmp_path / "0.log.json").mkdir()
    killed = tmp_path / "killed.log.json"
    killed.write_text('{"env_info": "", "seed": 0}\n')
    return [tmp_path / "0.log.json", log_json, killed]


def test_a_log_that_cannot_be_read_is_named_and_left_out(tool, three_logs, tmp_path):
    png = tmp_path / "curves.png"
    outcome = tool(SCRIPT, "plot_curve", *three_logs, "--keys", "loss", "--legend", "a", "b", "c", "--out", png)
    assert outcome == (
        0,
        f"left out: {three_logs[0]}: cannot be read (Is a directory)\n"
        f"left out: {three_logs[2]}: no line is about a training step or a validation\n"
        f"plot curve of {three_logs[1]}, metric is loss\nsave curve to: {png}\n",
        "",
    )
    alone = tmp_path / "alone.png"
    assert tool(SCRIPT, "plot_curve", three_logs[1], "--keys", "loss", "--legend", "b", "--out", alone).code == 0
    assert png.read_bytes() == alone.read_bytes()
    default = tool(SCRIPT, "plot_curve", *three_logs).out.splitlines()[-1]
    assert default == f"save curve to: {three_logs[1].with_name('20210709_101213.top1_acc.png')}"


def test_times_are_told_of_the_logs_that_have_them(tool, three_logs):
    outcome = tool(SCRIPT, "cal_train_time", *three_logs)
    assert outcome.out.startswith(tool(SCRIPT, "cal_train_time", three_logs[1]).out)
    assert [line.split(":")[0] for line in outcome.out.splitlines()[-2:]] == ["left out", "left out"]


def test_where_no_log_can_be_read_that_is_an_error(tool, three_logs):
    for command in ("plot_curve", "cal_train_time"):
        outcome = tool(SCRIPT, command, three_logs[0], three_logs[2])
        assert (outcome.code, outcome.out) == (2, "")
        assert f"{three_logs[0]}: cannot be read" in outcome.err


def test_a_value_that_one_log_lacks_is_drawn_of_the_others(tool, log_json, tmp_path):
    short = tmp_path / "short.log.json"
    short.write_text('{"mode": "train", "epoch": 1, "iter": 20, "lr": 0.1, "loss": 1.0}\n')
    outcome = tool(SCRIPT, "plot_curve", short, log_json, "--keys", "top1_acc", "--out", tmp_path / "c.png")
    assert outcome.out.startswith(f"left out: {short} does not contain metric top1_acc")
    outcome = tool(SCRIPT, "plot_curve", short, log_json, "--keys", "top1_ac")
    assert outcome.code == 2 and "does not contain metric top1_ac" in outcome.err
