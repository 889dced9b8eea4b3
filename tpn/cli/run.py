"""Train, test, benchmark, predict, demo: the commands that build a network and run it."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts.types import NonNegativeInt, PositiveFloat, PositiveInt

from tpn.cli.app import CfgOptions, Device, DType, Flag, Many, Metric, Seed, app, console, overrides_of
from tpn.cli.flags import (
    ALONE,
    NO_TEST_FLAGS,
    NO_TRAIN_FLAGS,
    PYTORCH,
    HiddenFlag,
    HiddenList,
    Launch,
    OldFormats,
    OldTestFlags,
    OldTrainFlags,
    ReferenceLines,
    newest,
    top_ks,
    warn_without_effect,
)  # fmt: skip
from tpn.errors import UserError


@app.command
def train(
    config: Path,
    /,
    *,
    work_dir: Path | None = None,
    validate: Flag = False,
    resume_from: Path | None = None,
    auto_resume: Flag = False,
    checkpoint_every: str | None = None,
    seed: Seed | None = None,
    deterministic: Flag = False,
    autoscale_lr: Flag = False,
    skip_nonfinite: NonNegativeInt = 0,
    dist_timeout: PositiveFloat | None = None,
    test_last: Flag = False,
    test_best: Flag = False,
    dtype: DType = None,
    compile: Flag = False,
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    device: Device = None,
    launch: Launch = ALONE,
    old: OldTrainFlags = NO_TRAIN_FLAGS,
) -> None:
    """Train a recognizer.

    Example: `tpn train configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py --validate --seed 0`

    On several GPUs: `torchrun --nproc-per-node 8 tools/train.py CONFIG --validate`

    Parameters
    ----------
    config
        The recipe, a file as those in configs/recognition/tpn.
    work_dir
        Folder for config, logs, checkpoints and curves. Default: the recipe's, or ./work_dirs/NAME.
    validate
        Score the validation videos every `evaluation.interval` epochs and keep the best checkpoint.
    resume_from
        Checkpoint of an earlier run of this config: go on exactly where it stood.
    auto_resume
        Go on from the newest intact checkpoint of the last run in the work_dir; without one, start. Restarts by
        torchrun (--max-restarts) do so by themselves.
    checkpoint_every
        Between checkpoints within an epoch: steps (200) or time (90s, 10min, 1h). Default: the recipe's, 30min.
    seed
        Seed of weights, order and augmentation. Default: drawn and printed.
    deterministic
        Two runs on the same machine are bitwise equal on the CPU; slower on GPUs.
    autoscale_lr
        Scale the learning rate, given for 64 videos a step, to the videos of one step of this run.
    skip_nonfinite
        Leave out up to so many steps whose loss is not finite. Default: the first one ends the run, nothing lost.
    dist_timeout
        Seconds after which a process that does not answer the others is taken for dead. Longer than a checkpoint takes.
    test_last
        After training, test the last checkpoint and write its scores to last_pred.pkl in the work_dir.
    test_best
        After training, test the best checkpoint (see --validate) and write its scores to best_pred.pkl.
    dtype
        Precision of the forward pass: float32, bfloat16 or float16. Default: the recipe's, float32.
    compile
        Have torch.compile make the network's code, which takes minutes at the start. Meant for GPUs.
    cfg_options
        Settings to change, as `data.videos_per_gpu=4 optimizer.lr=0.005`.
    device
        Default: a GPU where there is one.
    """
    launch.enter()
    old.apply()
    from tpn.compat import load_config
    from tpn.engine.distributed import joined_world
    from tpn.engine.setup import start_run
    from tpn.engine.test import test_after_training
    from tpn.engine.train import train as run_training

    overrides = overrides_of(cfg_options, dtype=dtype)
    if checkpoint_every is not None:
        overrides["checkpoint_config.every"] = checkpoint_every
    settings = load_config(config, overrides)
    with joined_world(device, timeout=dist_timeout) as world:
        run = start_run(
            settings,
            config_file=config,
            work_dir=work_dir or Path(settings.work_dir or Path("work_dirs") / config.stem),
            world=world,
            console=console(),
            validate=validate,
            seed=seed,
            deterministic=deterministic,
            autoscale_lr=autoscale_lr,
            resume_from=resume_from,
            auto_resume=auto_resume,
            skip_nonfinite=skip_nonfinite,
            compile=compile,
        )
        run_training(run)
        if test_last or test_best:
            test_after_training(run, last=test_last, best=test_best)


@app.command
def test(
    config: Path,
    checkpoint: Path,
    /,
    *,
    out: Path | None = None,
    eval: Annotated[list[Metric], Many] = [],  # noqa: B006 (read only)
    average_clips: Literal["score", "prob"] | None = None,
    eval_options: CfgOptions = [],  # noqa: B006 (read only)
    dtype: DType = None,
    compile: Flag = False,
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    device: Device = None,
    options: HiddenList = None,
    launch: Launch = ALONE,
    old: OldTestFlags = NO_TEST_FLAGS,
    formats: OldFormats = PYTORCH,
    reference_lines: ReferenceLines = False,
) -> None:
    """Score the test videos with the multi-view protocol.

    Example: `tpn test CONFIG CHECKPOINT --eval top_k_accuracy mean_class_accuracy --out result.json`

    Parameters
    ----------
    config
        The recipe the checkpoint was trained with.
    checkpoint
        A .pth or .safetensors file, ours or MMAction2's.
    out
        Write the scores of every video, in list order, to this .json, .pkl or .yaml file, and beside it a .meta.json.
    eval
        Print these metrics. One of --out and --eval is required.
    average_clips
        Average the views after the softmax (prob) or before it (score). Default: the recipe's.
    eval_options
        `topk=(1,3)`: other k for top_k_accuracy than 1 and 5 (5 only where there are more classes).
    dtype
        Precision of the forward pass: float32, bfloat16 or float16. Default: the recipe's, float32.
    compile
        Have torch.compile make the network's code, which takes minutes at the start. Meant for GPUs.
    cfg_options
        Settings to change, as `data.test.ann_file=my_list.txt`.
    device
        Default: a GPU where there is one.
    """
    if out is None and not eval:
        raise UserError("nothing to do: give --eval METRIC…, --out FILE, or both")
    launch.enter()
    formats.refuse()
    old.apply()
    from tpn.compat import load_config
    from tpn.config import parse_overrides
    from tpn.engine.distributed import joined_world
    from tpn.engine.test import test as run_test

    ks = top_ks(parse_overrides(newest(eval_options, options)))
    settings = load_config(config, overrides_of(cfg_options, dtype=dtype))
    if average_clips is not None:
        evaluation = settings.evaluation.model_copy(update={"average_clips": average_clips})
        settings = settings.model_copy(update={"evaluation": evaluation})
    with joined_world(device) as world:
        run_test(
            settings,
            checkpoint,
            metrics=eval,
            ks=ks,
            out=out,
            compile=compile,
            reference_lines=reference_lines,
            world=world,
            console=console(),
        )


@app.command
def benchmark(
    config: Path,
    /,
    *,
    checkpoint: Path | None = None,
    num_videos: PositiveInt | None = None,
    warm_up: NonNegativeInt | None = None,
    log_interval: PositiveInt = 10,
    dtype: DType = None,
    compile: Flag = False,
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    device: Device = None,
    fuse_conv_bn: HiddenFlag = False,
) -> None:
    """Measure inference: one device, one video at a time, its test views, the network alone (no reading, no decoding).

    Example: `tpn benchmark configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py`

    Parameters
    ----------
    config
        The recipe.
    checkpoint
        Weights to run; they do not change the speed. Default: random.
    num_videos
        Videos to time. Default: 200 on a GPU, 5 on a CPU.
    warm_up
        Videos run before the clock starts. Default: 5 on a GPU, 1 on a CPU.
    log_interval
        Videos between progress lines.
    dtype
        Precision of the forward pass: float32, bfloat16 or float16. Default: the recipe's, float32.
    compile
        Have torch.compile make the network's code, which takes minutes at the start. Meant for GPUs.
    cfg_options
        Settings to change, as `data.test.num_clips=1`.
    device
        Default: a GPU where there is one.
    """
    warn_without_effect({"--fuse-conv-bn": fuse_conv_bn and "norms are always folded into the convolutions"})
    from tpn.benchmark import run_benchmark
    from tpn.compat import load_config
    from tpn.engine.distributed import choose_device

    settings = load_config(config, overrides_of(cfg_options, dtype=dtype))
    run_benchmark(
        settings,
        checkpoint=checkpoint,
        num_videos=num_videos,
        warm_up=warm_up,
        log_interval=log_interval,
        compile=compile,
        device=choose_device(device, local_rank=0),
        console=console(),
    )


@app.command
def predict(
    config: Path,
    checkpoint: Path,
    video: Path,
    /,
    *,
    labels: Path | None = None,
    out: Path | None = None,
    dtype: DType = None,
    compile: Flag = False,
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    device: Device = None,
) -> None:
    """Classify one video: the same views and scores as `tpn test`.

    Example: `tpn predict CONFIG CHECKPOINT video.mp4 --labels labels.txt --out prediction.png`

    Parameters
    ----------
    config
        The recipe the checkpoint was trained with.
    checkpoint
        A .pth or .safetensors file.
    video
        A video file, or a folder of frames where the recipe reads frames.
    labels
        Class names, one per line in label order.
    out
        Draw the frames the network saw and the five likeliest classes to this PNG file.
    dtype
        Precision of the forward pass: float32, bfloat16 or float16. Default: the recipe's, float32.
    compile
        Have torch.compile make the network's code, which takes minutes at the start. Meant for GPUs.
    cfg_options
        Settings to change, as `data.test.num_clips=1`.
    device
        Default: a GPU where there is one.
    """
    from tpn.compat import load_config
    from tpn.engine.distributed import choose_device
    from tpn.predict import run_prediction

    run_prediction(
        load_config(config, overrides_of(cfg_options, dtype=dtype)),
        checkpoint,
        video,
        labels=labels,
        out=out,
        compile=compile,
        device=choose_device(device, local_rank=0),
        console=console(),
    )


@app.command
def demo(*, work_dir: Path = Path("work_dirs/demo"), epochs: PositiveInt | None = None, device: Device = None) -> None:
    """The whole job in a few minutes: make a small data set of mp4 files, train, validate, test, predict.

    The six classes are three motions and their mirror images: a network that cannot see the order of frames gets at
    most 50 % of them right.

    Example: `tpn demo --work-dir work_dirs/demo`

    Parameters
    ----------
    work_dir
        Folder for the videos, checkpoints, logs, curves and the prediction.
    epochs
        Train longer or shorter than the recipe says.
    device
        Default: a GPU where there is one.
    """
    from tpn.demo import run_demo
    from tpn.engine.distributed import choose_device

    run_demo(work_dir, epochs=epochs, device=choose_device(device, local_rank=0), console=console())
