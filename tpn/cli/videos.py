"""Commands about the videos of a data set, which tools/ has at MMAction2's paths: its lists, and a check of them."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts.types import PositiveInt

from tpn.cli.app import CfgOptions, Flag, Many, app, console
from tpn.cli.flags import Hidden, warn, warn_without_effect
from tpn.data.annotations import Format
from tpn.data.file_lists import DatasetName, Level, Subset
from tpn.errors import UserError


@app.command(name="check")
def check_videos(
    config: Path,
    /,
    *,
    split: Subset = "train",
    output_file: Path = Path("invalid-video.txt"),
    num_processes: PositiveInt | None = None,
    remove_corrupted_videos: Flag = False,
    cfg_options: CfgOptions = [],  # noqa: B006 (read only)
    decoder: Annotated[Literal["decord", "opencv", "pyav"] | None, Hidden] = None,
    options: Annotated[list[str] | None, Hidden, Many] = None,
) -> None:
    """Open every video of a list and decode five of its frames; list what is missing or damaged, with the reason.

    Example: `tpn check configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py --split val`

    Parameters
    ----------
    config
        The recipe whose list is checked; folders of frames must have all the frames that the list promises.
    split
        Which of its lists.
    output_file
        Receives the path of each bad video; without one, it is removed.
    num_processes
        Videos checked at a time. Default: one per core but one.
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
    run_check(
        load_config(config, parse_overrides(cfg_options)),
        split,
        output_file=output_file,
        processes=num_processes or max(1, (os.cpu_count() or 1) - 1),
        remove=remove_corrupted_videos,
        console=console(),
    )


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
    num_split: Annotated[int, Hidden] = 1,
    flow_x_prefix: Annotated[str | None, Hidden] = None,
    flow_y_prefix: Annotated[str | None, Hidden] = None,
) -> None:
    """Write the list file of a data set's videos or folders of frames that are on the disk.

    Example: `tpn build-list sthv1 data/sthv1/rawframes --rgb-prefix 0 --level 1 --subset val`

    Your own videos, in folders called by their classes: `tpn build-list folders my/videos --format videos`

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
    """
    from tpn.build_list import run_build_list

    if num_split != 1:
        raise UserError(f"--num-split {num_split}: {dataset} has one split; leave --num-split out")
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
        console=console(),
    )
