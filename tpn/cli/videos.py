"""Commands about the videos of a data set: its lists, a check of them, and their packing for fast reading."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt, PositiveInt
from cyclopts.validators import Number

from tpn.cli.app import CfgOptions, Flag, Many, app, console
from tpn.cli.flags import Hidden, warn, warn_without_effect
from tpn.config.frame_names import frame_name
from tpn.data.annotations import Format
from tpn.data.file_lists import DatasetName, Subset
from tpn.data.on_disk import Level
from tpn.errors import UserError

data = App(name="data", help="Prepare the videos of a data set.")
app.command(data)


@app.command(name="check")
def check_videos(
    config: Path,
    /,
    *,
    split: Subset = "train",
    output_file: Path = Path("invalid-video.txt"),
    num_processes: PositiveInt | None = None,
    full: Flag = False,
    remove_corrupted_videos: Flag = False,
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    decoder: Annotated[Literal["decord", "opencv", "pyav"] | None, Hidden] = None,
    options: Annotated[list[str] | None, Hidden, Many] = None,
) -> None:
    """Open every video of a list and decode five of its frames; list what is missing or damaged, with the reason.

    Ends with status 1 if there are any, and they are not deleted.

    Example: `tpn check configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py --split val`

    Parameters
    ----------
    config
        The recipe whose list is checked; folders of frames must have all the frames that the list promises.
    split
        Which of its lists.
    output_file
        Receives the path of each bad video. What it says of other lists stays; once it says nothing, it is removed.
    num_processes
        Videos checked at a time. Default: one per core but one.
    full
        Decode every frame: finds damage in the middle, and takes as long as the videos take to decode.
    remove_corrupted_videos
        Delete the bad video files, without asking; each is named.
    cfg_options
        Settings to change, as `data.train.ann_file=my_list.txt`.
    """
    from tpn.check import run_check
    from tpn.compat import load_config
    from tpn.config import parse_overrides

    others = "frames are decoded by PyAV, as in training and test"
    warn_without_effect({
        "--decoder": decoder not in (None, "pyav") and others,
        "--options": options is not None and "a check evaluates nothing",
    })  # fmt: skip
    bad = run_check(
        load_config(config, parse_overrides(cfg_options)),
        split,
        output_file=output_file,
        processes=num_processes or max(1, (os.cpu_count() or 1) - 1),
        full=full,
        remove=remove_corrupted_videos,
        console=console(),
    )
    if bad and not remove_corrupted_videos:
        sys.exit(1)


@app.command(name="build-list")
def build_file_list(
    dataset: DatasetName,
    src_folder: Path,
    /,
    *,
    subset: Subset = "train",
    format: Format = "rawframes",
    level: Level = 2,
    rgb_prefix: str = "img_",
    out_root_path: Path = Path("data"),
    output_format: Literal["txt", "json"] = "txt",
    annotations: Path | None = None,
    shuffle: Flag = False,
    seed: int | None = None,
    val_share: Annotated[float, Parameter(validator=Number(gte=0, lt=1))] = 0.0,
    num_split: Annotated[int, Hidden] = 1,
    flow_x_prefix: Annotated[str | None, Hidden] = None,
    flow_y_prefix: Annotated[str | None, Hidden] = None,
) -> None:
    """Write the list file of a data set's videos or folders of frames that are on the disk.

    Example: `tpn build-list sthv1 data/sthv1/rawframes --rgb-prefix 0 --level 1 --subset val`

    Your own, a folder per class: `tpn build-list folders data/mine/videos --format videos --val-share 0.2`

    Parameters
    ----------
    dataset
        Which annotations say what is what, or folders: a folder per class.
    src_folder
        Where the videos or folders of frames are.
    subset
        The part of the data set.
    format
        What there is: rawframes (a folder of images per video) or videos.
    level
        1: src_folder/VIDEO. 2: src_folder/CLASS/VIDEO.
    rgb_prefix
        What the names of frames begin with.
    out_root_path
        The list is written to OUT_ROOT_PATH/DATASET/DATASET_SUBSET_list_FORMAT.txt.
    output_format
        Lines of text, or JSON.
    annotations
        Folder of the data set's own annotation files. Default: data/DATASET/annotations.
    shuffle
        Put the list into random order.
    seed
        Of that order.
    val_share
        Of folders: put this share of each class into a second list, of the subset val; which videos, the names decide.
        One video of each class stays in the first.
    """
    from tpn.build_list import run_build_list

    if num_split != 1:
        raise UserError(f"--num-split {num_split}: {dataset} has one split; leave --num-split out")
    if val_share and (dataset != "folders" or subset != "train"):
        raise UserError("--val-share divides the training list of folders; the other data sets have a subset val")
    warn_without_effect({
        name: given is not None and "lists of optical flow are not made"
        for name, given in {"--flow-x-prefix": flow_x_prefix, "--flow-y-prefix": flow_y_prefix}.items()
    })  # fmt: skip
    if seed is not None and not shuffle:
        warn("--seed has no effect without --shuffle")
    run_build_list(
        dataset,
        src_folder,
        subset=subset,
        format=format,
        level=level,
        rgb_prefix=rgb_prefix,
        out_folder=out_root_path / dataset,
        output_format=output_format,
        annotations=annotations or Path("data") / dataset / "annotations",
        shuffle=shuffle,
        seed=seed,
        val_share=val_share,
        console=console(),
    )


@data.command(name="pack")
def pack_videos(
    list_file: Path,
    /,
    *,
    out: Path,
    data_prefix: Path = Path(),
    short_side: NonNegativeInt = 256,
    gop: PositiveInt = 16,
    crf: Annotated[int, Parameter(validator=Number(gte=0, lte=51))] = 20,
    workers: PositiveInt | None = None,
    skip_bad: Flag = False,
    format: Format = "videos",
    filename_tmpl: Annotated[str, Parameter(validator=lambda _, name: frame_name(name))] = "img_{:05}.jpg",
    start_index: NonNegativeInt = 1,
) -> None:
    """Encode the videos of a list once more, so that training and test read them several times faster.

    Example: `tpn data pack data/mine/train.txt --data-prefix data/mine/videos --out data/mine/packed`

    Every video keeps its number of frames, their order and its label; sound is left out. A run that was stopped goes on
    where it was when it is started again. Encoding loses a little: test before you compare with published accuracies.

    Parameters
    ----------
    list_file
        The list of the videos.
    out
        A new folder for the packed videos and their list. Lists of one data_prefix may share it.
    data_prefix
        The folder that the paths in the list start from.
    short_side
        Shrink frames whose shorter side is longer than this; 0 keeps every size.
    gop
        Frames from keyframe to keyframe: fewer are read faster and take more room.
    crf
        Quality of H.264: lower is better and larger.
    workers
        Videos encoded at a time. Default: one per core.
    skip_bad
        Leave out videos that cannot be read, instead of writing no list.
    format
        What the list names: videos, or rawframes (folders of images), which become videos.
    filename_tmpl
        Names of the images.
    start_index
        The number in the name of the first image.
    """
    from tpn.data.encode import Profile
    from tpn.pack import Source, run_pack

    run_pack(
        list_file,
        source=Source(
            data_prefix=str(data_prefix), format=format, filename_tmpl=filename_tmpl, start_index=start_index
        ),
        out=out,
        profile=Profile(short_side=short_side, gop=gop, crf=crf),
        processes=workers or os.cpu_count() or 1,
        skip_bad=skip_bad,
        console=console(),
    )
