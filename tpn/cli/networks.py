"""Commands around a network, most of them at MMAction2's paths, too: logs, size, time, settings, metrics, features."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt

from tpn.cli.app import CfgOptions, Device, Flag, Many, Metric, app, console
from tpn.cli.flags import (
    ALONE,
    NO_TEST_FLAGS,
    Hidden,
    Launch,
    OldTestFlags,
    ReferenceLines,
    top_ks,
    warn_without_effect,
)
from tpn.errors import UserError

EvalOptions = Annotated[list[str], Many]
logs = App(name="logs", help="What the .log.json files of runs say, ours and MMAction2's.")
app.command(logs)


@logs.command(name=["plot_curve", "plot-curve"])
def plot_curve(
    *json_logs: Path,
    keys: Annotated[list[str], Many] = ["top1_acc"],  # noqa: B006 (read only)
    title: str | None = None,
    legend: Annotated[list[str] | None, Many] = None,
    out: Path | None = None,
    backend: Annotated[str | None, Hidden] = None,
    style: Annotated[str | None, Hidden] = None,
) -> None:
    """Draw logged values of one or several runs over the iterations.

    Example: `tpn logs plot_curve work_dirs/a/*.log.json --keys loss val/top1_acc --out curves.png`

    Parameters
    ----------
    json_logs
        The .log.json files.
    keys
        Values to draw. Where training and validation log the same name, it means training's; val/top1_acc is the other.
    title
        Default: the keys.
    legend
        A name for each curve: for all keys of the first log, then of the next. Default: LOG_KEY.
    out
        A .png or .pdf file. Default: beside the first log.
    """
    from tpn.log_curves import plot_logs

    check_logs_given(json_logs)
    own = "curves are drawn without Matplotlib"
    warn_without_effect({"--backend": backend is not None and own, "--style": style is not None and own})
    plot_logs(json_logs, keys=keys, title=title, legend=legend, out=out, console=console())


@logs.command(name=["cal_train_time", "cal-train-time"])
def cal_train_time(*json_logs: Path, include_outliers: Flag = False) -> None:
    """Print the mean time of a training step, and the slowest and the fastest epoch.

    Example: `tpn logs cal_train_time work_dirs/a/20260102_030405.log.json`

    Parameters
    ----------
    json_logs
        The .log.json files.
    include_outliers
        Count the first logged time of every epoch, too, which contains the start of the workers.
    """
    from tpn.log_curves import print_step_times

    check_logs_given(json_logs)
    print_step_times(json_logs, include_outliers=include_outliers, console=console())


def check_logs_given(json_logs: tuple[Path, ...]) -> None:
    if not json_logs:
        raise UserError("name at least one .log.json file")


@app.command(name="flops")
def get_flops(
    config: Path,
    /,
    *,
    shape: Annotated[list[PositiveInt], Many] = [340, 256],  # noqa: B006 (read only)
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
) -> None:
    """Count the multiply-adds and the parameters of a recipe's network, without running it.

    Example: `tpn flops configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py --shape 1 3 8 224 224`

    Parameters
    ----------
    config
        The recipe.
    shape
        Of the input: H W of one view of the recipe's frames (one number for a square), T 3 H W, or N 3 T H W.
        Default: 340 256, as MMAction2's.
    cfg_options
        Settings to change, as `model.backbone.depth=101`.
    """
    import torch

    from tpn.compat import load_config
    from tpn.config import parse_overrides
    from tpn.flops import clips_shape, count_flops, count_parameters
    from tpn.models.recognizer import build_recognizer

    settings = load_config(config, parse_overrides(cfg_options))
    clips = clips_shape(shape, settings)
    with torch.device("meta"):
        model = build_recognizer(settings.model, pretrained=False)
    flops, parameters = count_flops(model, clips), count_parameters(model)
    line = "=" * 30
    print(f"{line}\nInput shape: {tuple(shape) if len(shape) > 2 else clips}")
    print(f"Flops: {round(flops / 1e9, 2)} GFLOPs\nParams: {round(parameters / 1e6, 2)} M\n{line}")
    print("A multiply-add counts as one; batch normalisation, ReLU and pooling count, additions and copies do not.")


@app.command
def profile(
    config: Path,
    /,
    *,
    checkpoint: Path | None = None,
    mode: Literal["train", "test"] = "train",
    steps: PositiveInt | None = None,
    out: Path | None = None,
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    device: Device = None,
) -> None:
    """Show where the time of a training or a test goes on this machine, as a table and a picture; say what to change.

    Example: `tpn profile configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py --mode test`

    Parameters
    ----------
    config
        The recipe; its own lists and videos are used.
    checkpoint
        Weights to run; they do not change the speed. Default: random.
    mode
        Whether to run some steps of the training, or the test of some videos.
    steps
        Steps or videos to measure, after the first ones. Default: 20 on a GPU, 5 on a CPU.
    out
        The PNG file for the picture. Default: profile_MODE.png.
    cfg_options
        Settings to change, as `data.workers_per_gpu=4 dtype=bfloat16`.
    device
        Default: a GPU where there is one.
    """
    from tpn.compat import load_config
    from tpn.config import parse_overrides
    from tpn.engine.distributed import choose_device
    from tpn.profile import run_profile

    run_profile(
        load_config(config, parse_overrides(cfg_options)),
        config_file=config,
        checkpoint=checkpoint,
        mode=mode,
        steps=steps,
        out=out or Path(f"profile_{mode}.png"),
        device=choose_device(device, local_rank=0),
        console=console(),
    )


@app.command(name="config")
def show_config(config: Path, /, *, cfg_options: CfgOptions = []) -> None:  # noqa: B006 (read only)
    """Print the resolved settings of a recipe, or every problem it has.

    Example: `tpn config my_recipe.py --cfg-options model.backbone.depth=101`

    Parameters
    ----------
    config
        The recipe.
    cfg_options
        Settings to change.
    """
    from tpn.compat import load_config
    from tpn.config import dump_config, parse_overrides

    print(dump_config(load_config(config, parse_overrides(cfg_options))), end="")


@app.command(name="print-config", show=False)
def print_config(
    config: Path,
    /,
    *,
    cfg_options: Annotated[CfgOptions, Parameter(name=["--cfg-options", "--options"])] = [],  # noqa: B006 (read only)
) -> None:
    """Print `Config:` and the resolved settings; `tpn config` prints the settings alone.

    Example: `python tools/analysis/print_config.py CONFIG --options data.videos_per_gpu=4`

    Parameters
    ----------
    config
        The recipe.
    cfg_options
        Settings to change.
    """
    from tpn.compat import load_config
    from tpn.config import dump_config, parse_overrides

    print(f"Config:\n{dump_config(load_config(config, parse_overrides(cfg_options)))}", end="")


@app.command(name="evaluate")
def eval_metric(
    config: Path,
    results: Path,
    /,
    *,
    eval: Annotated[list[Metric], Many],
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    eval_options: EvalOptions = [],  # noqa: B006 (read only)
    reference_lines: ReferenceLines = False,
) -> None:
    """Compute the metrics of a result file that `tpn test --out` or MMAction2 wrote.

    Example: `tpn evaluate CONFIG result.json --eval top_k_accuracy mean_class_accuracy`

    Parameters
    ----------
    config
        The recipe, whose test list has the labels; the videos need not be there.
    results
        The scores of its videos, in list order: .json, .pkl or .yaml.
    eval
        The metrics.
    cfg_options
        Settings to change, as `data.test.ann_file=my_list.txt`.
    eval_options
        `topk=(1,3)`: other k than 1 and 5 (5 only where there are more classes).
    """
    from tpn.compat import load_config
    from tpn.config import parse_overrides
    from tpn.rescore import evaluate_results

    settings = load_config(config, parse_overrides(cfg_options))
    evaluate_results(
        settings,
        results,
        metrics=eval,
        ks=top_ks(parse_overrides(eval_options)),
        reference_lines=reference_lines,
        console=console(),
    )


@app.command(name="fuse")
def report_accuracy(
    *,
    scores: Annotated[list[Path], Many],
    coefficients: Annotated[list[float] | None, Many] = None,
    datalist: Path,
    apply_softmax: Flag = False,
) -> None:
    """Print the accuracies of a weighted sum of result files.

    Example: `tpn fuse --scores rgb.pkl flow.pkl --coefficients 1 0.5 --datalist val.txt --apply-softmax`

    Parameters
    ----------
    scores
        Result files of the same videos: .json, .pkl or .yaml.
    coefficients
        A factor for each file. Default: 1 each.
    datalist
        The list file of the videos; a line ends with the label.
    apply_softmax
        Take the softmax of every file's scores first.
    """
    from tpn.rescore import evaluate_fusion

    factors = [1.0] * len(scores) if coefficients is None else coefficients
    evaluate_fusion(scores, coefficients=factors, datalist=datalist, apply_softmax=apply_softmax, console=console())


@app.command(name="features")
def clip_feature_extraction(
    config: Path,
    checkpoint: Path,
    /,
    *,
    out: Path,
    video_list: Path | None = None,
    video_root: Path | None = None,
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    device: Device = None,
    launch: Launch = ALONE,
    old: OldTestFlags = NO_TEST_FLAGS,
) -> None:
    """Write one feature vector per video: what the network's last layer sees, averaged over the views of the test.

    Example: `tpn features CONFIG CHECKPOINT --video-list videos.txt --video-root data/videos --out features.pkl`

    Parameters
    ----------
    config
        The recipe the checkpoint was trained with.
    checkpoint
        A .pth or .safetensors file.
    out
        The .pkl, .json or .yaml file for the vectors, in list order.
    video_list
        A video a line, without labels. Default: the recipe's test list.
    video_root
        Folder the paths of the list start from. Default: the recipe's.
    cfg_options
        Settings to change, as `data.test.num_clips=1`.
    device
        Default: a GPU where there is one.
    """
    launch.enter()
    old.apply()
    from tpn.compat import load_config
    from tpn.config import parse_overrides
    from tpn.engine.distributed import joined_world
    from tpn.features import extract_features

    settings = load_config(config, parse_overrides(cfg_options))
    with joined_world(device) as world:
        extract_features(
            settings,
            checkpoint,
            video_list=video_list,
            video_root=video_root,
            out=out,
            world=world,
            console=console(),
        )
