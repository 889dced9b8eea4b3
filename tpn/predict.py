"""One video's classes, by the same views and the same scores as the test."""

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from tpn.config import Config
from tpn.data.dataset import FixedViews, build_fixed_views, read_views
from tpn.data.decode import VideoFile
from tpn.data.frame_folders import count_frames, first_file, naming_fix, no_frame
from tpn.data.frames import FrameFolder
from tpn.data.paths import kind_of
from tpn.engine.evaluate import Scorer, load_scorer
from tpn.engine.progress import ProgressBar, print_line
from tpn.engine.results import check_output_path
from tpn.errors import DataError, UserError
from tpn.names import address_problem
from tpn.report import draw_prediction

SHOWN_CLASSES = 5


def run_prediction(
    config: Config,
    checkpoint: Path,
    video: Path,
    *,
    labels: Path | None,
    out: Path | None,
    compile: bool = False,
    device: torch.device,
    console: Console,
) -> None:
    """Load the network, classify one video, print the five likeliest classes and draw them to `out`."""
    names = read_labels(labels, config.model.cls_head.num_classes)
    if out is not None:
        check_output_path(out, suffixes=[".png"], what="pictures")
    scorer = load_scorer(config, checkpoint, device, compile=compile)
    predict(scorer, config, video, names=names, out=out, console=console)


def predict(
    scorer: Scorer, config: Config, video: Path, *, names: list[str], out: Path | None, console: Console
) -> torch.Tensor:
    """Classify one video and show the answer.

    Args:
        video: a video file, or a folder of frames named as `data.filename_tmpl` says.
        names: of the classes, in label order.
        out: PNG file for the frames of the first view and the five likeliest classes.
    Returns:
        (num_classes,) scores, equal to the video's row of a test.
    Raises:
        DataError: the video cannot be read.
    """
    views = build_fixed_views(config, "test")
    with open_video(video, config) as frames:
        pixels = torch.from_numpy(read_views(frames, views))  # (V, T, H, W, 3) uint8
        if isinstance(frames, VideoFile) and frames.turn is None:
            print_line(f"warning: {video} asks to be turned by no quarter turn; its frames are used as stored", console)
        if repeats := repetition(len(frames), views):
            print_line(f"warning: {video} has {repeats}", console)
    with ProgressBar(len(pixels), console=console, description="views", unit="view") as bar:
        scores = ShownScorer(**vars(scorer), bar=bar)(pixels[None])[0]
    shown = min(SHOWN_CLASSES, len(names))
    print_line(f"The top-{shown} labels with corresponding scores are:", console)
    ranked = scores.sort(descending=True, stable=True)  # of equal scores the lower class comes first
    for score, label in zip(ranked.values[:shown], ranked.indices[:shown], strict=True):
        print_line(f"{names[label]}: {score:.4f}", console)
    if out is not None:
        draw_prediction(
            pixels[0].numpy(), names, scores.numpy(), out, note=f"The video has {repeats}." if repeats else ""
        )
        print_line(f"drawn to {out}", console)
    return scores


def repetition(num_frames: int, views: FixedViews) -> str:
    """How a clip that is longer than its video repeats frames, in words that follow 'it has'; '' where none is."""
    if num_frames == 1:
        return "a single frame, which every clip repeats: there is no motion in it"
    span = (views.clip_len - 1) * views.frame_interval + 1
    if num_frames >= span:
        return ""
    how = "begins the video again" if views.out_of_bound == "loop" else "repeats its last frame"
    return f"{num_frames} frames and a clip spans {span}: every clip {how}"


@dataclass(frozen=True, kw_only=True)
class ShownScorer(Scorer):
    """A scorer that counts the views it has done: on a CPU those of a large network take half a minute."""

    bar: ProgressBar

    def logits(self, views: torch.Tensor) -> torch.Tensor:
        logits = super().logits(views)
        self.bar.advance(len(views))
        return logits


def open_video(video: Path, config: Config) -> VideoFile | FrameFolder:
    """A video file, or a folder of frames. Raises DataError where there is neither."""
    kind = kind_of(video)
    if kind is None:
        raise DataError(address_problem(video) or f"{video}: there is no such video file or folder of frames")
    if kind != "folder":
        return VideoFile(video, rotation=config.data.rotation)
    template, start_index = config.data.filename_tmpl, config.data.start_index
    num_frames = count_frames(video, filename_tmpl=template, start_index=start_index)
    if not num_frames and config.data.format == "videos":
        raise DataError(
            f"{video}: is a folder, a video file is expected; for a folder of frames set data.format=rawframes"
        )
    if not num_frames:
        raise DataError(
            f"{no_frame(video, template, start_index)}; name a folder of frames, or "
            f"{naming_fix(first_file(video)) or 'set data.filename_tmpl and data.start_index'}"
        )
    return FrameFolder(video, num_frames=num_frames, filename_tmpl=template, start_index=start_index)


def read_labels(path: Path | None, num_classes: int) -> list[str]:
    """Class names, one per line in label order; without a file, 'class 0' and so on."""
    if path is None:
        return [f"class {label}" for label in range(num_classes)]
    try:
        names = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        if problem := address_problem(path):
            raise UserError(problem) from error
        raise UserError(f"{path}: the class names cannot be read ({getattr(error, 'strerror', error)})") from error
    if len(names) != num_classes:
        raise UserError(
            f"{path}: has {len(names)} class names, the config has {num_classes} classes; one name per line"
        )
    return names
