"""The model zoo: every recipe with its published figures, weights, size and measured parity; its data are zoo.toml."""

import json
import tomllib
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from tpn.config import Config, load_config
from tpn.config.recipes import find_recipe
from tpn.config.settings import Settings

DATA = Path(__file__).with_name("zoo.toml")


class Published(Settings):
    """One published figure of a recipe, and the weights it was measured on."""

    source: str
    top1: Decimal
    """In percent, with the digits that were published."""
    top5: Decimal | None = None
    mirrored: bool = False
    """Whether the mirrored views were tested too."""
    url: str | None = None

    @property
    def checkpoint(self) -> str | None:
        """File name of the weights, where it is known."""
        name = (self.url or "").rpartition("/")[2]
        return name if name.endswith(".pth") else None

    @property
    def sha8(self) -> str | None:
        """The first 8 hex digits of the file's SHA-256."""
        return self.checkpoint[-12:-4] if self.checkpoint else None


class Parity(Settings):
    """How far our scores are from a reference implementation's on the same weights and input."""

    reference: str
    case: str
    relative_error: float


class ZooModel(Settings):
    """A recipe of the zoo."""

    recipe: str
    """Path under configs/recognition/tpn, without .py."""
    dataset: str
    parameters: int
    flops_224: int
    flops_256: int
    published: tuple[Published, ...] = ()
    parity: tuple[Parity, ...] = ()


def read_zoo() -> list[ZooModel]:
    """Every recipe of the zoo, in the table's order."""
    return [ZooModel.model_validate(model) for model in tomllib.loads(DATA.read_text(), parse_float=Decimal)["models"]]


class ImageNet(Settings):
    """Weights of a 2-D ResNet that training may start from."""

    depth: int
    url: str


def read_imagenet() -> list[ImageNet]:
    """Where torchvision's weights for model.backbone.pretrained="imagenet" are published."""
    return [ImageNet.model_validate(file) for file in tomllib.loads(DATA.read_text())["imagenet"]]


def count_views(config: Config) -> tuple[int, int]:
    """Views of a test video: (clips, crops)."""
    data, test = config.data, config.data.test
    frames = (test.num_clips or data.num_clips) * data.clip_len
    return frames // config.frames_per_view * (1 + test.twice_sample), test.num_crops


def list_zoo(*, as_json: bool, markdown: bool, console: Console) -> None:
    """Print the zoo: a table to read, JSON to process, or the tables of configs/recognition/tpn/README.md."""
    models = read_zoo()
    if as_json:
        text = json.dumps([describe(model) for model in models], indent=2, default=float)
    else:
        text = zoo_markdown(models) if markdown else zoo_text(models)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def describe(model: ZooModel) -> dict[str, Any]:
    """Everything known about a recipe, as JSON has it."""
    clips, crops = count_views(load_config(find_recipe(model.recipe)))
    published = [
        {**figure.model_dump(), "checkpoint": figure.checkpoint, "sha8": figure.sha8} for figure in model.published
    ]
    return {**model.model_dump(), "clips": clips, "crops": crops, "published": published}


def zoo_text(models: list[ZooModel]) -> str:
    """For a terminal: a line for each recipe and, under it, one for each published figure."""
    lines = []
    for dataset, group in groupby(models, key=lambda model: model.dataset):
        lines.append(f"{dataset}\n  top-1  top-5")
        for model in group:
            clips, crops = count_views(load_config(find_recipe(model.recipe)))
            lines.append(
                f"  {model.recipe}\n    {clips} x {crops} views, {millions(model.parameters)} parameters, "
                f"{giga(model.flops_224)} at 224, {giga(model.flops_256)} at 256; {parity_text(model)}"
            )
            for figure in model.published:
                weights = figure.url or ""
                lines.append(f"  {figure.top1:<5}  {figure.top5 or '-':<5}  {source_text(figure)}  {weights}".rstrip())
        lines.append("")
    lines.append('ImageNet, for model.backbone.pretrained="imagenet" (torchvision\'s V1 weights)')
    return "\n".join([*lines, *(f"  ResNet-{file.depth}  {file.url}" for file in read_imagenet())])


def zoo_markdown(models: list[ZooModel]) -> str:
    """For the README: a table for each data set, a row for each published figure."""
    parts = []
    for dataset, group in groupby(models, key=lambda model: model.dataset):
        rows = [row for model in group for row in markdown_rows(model)]
        parts.append("\n".join([f"## {dataset}", "", MARKDOWN_HEAD, *rows]))
    files = [f"| ResNet-{file.depth} | [{file.url.rpartition('/')[2]}]({file.url}) |" for file in read_imagenet()]
    parts.append("\n".join(["## ImageNet", "", "| backbone | torchvision's V1 weights |", "|---|---|", *files]))
    return "\n\n".join(parts)


COLUMNS = ["recipe", "views", "parameters", "FLOPs at 224", "at 256", "parity", "top-1", "top-5", "source", "weights"]
MARKDOWN_HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def markdown_rows(model: ZooModel) -> list[str]:
    """The recipe and its first figure, then its other figures."""
    clips, crops = count_views(load_config(find_recipe(model.recipe)))
    size = [millions(model.parameters), giga(model.flops_224), giga(model.flops_256)]
    name = Path(model.recipe).name
    cells = [f"[{name}]({model.recipe}.py)", f"{clips} x {crops}", *size, parity_text(model)]
    rows = []
    for figure in model.published or [None]:
        rows.append([*cells, *figure_cells(figure)])
        cells = [""] * len(cells)
    return [f"| {' | '.join(row)} |" for row in rows]


def figure_cells(figure: Published | None) -> list[str]:
    if figure is None:
        return ["–", "–", "–", "–"]
    weights = f"[{figure.sha8 or 'Google Drive'}]({figure.url})" if figure.url else "–"
    return [str(figure.top1), str(figure.top5 or "–"), source_text(figure), weights]


def source_text(figure: Published) -> str:
    return figure.source + (", mirrored views too" if figure.mirrored else "")


def parity_text(model: ZooModel) -> str:
    """E.g. 5e-07 from decisionforce/TPN: the relative error of our scores."""
    return "; ".join(f"{p.relative_error:.0e} from {p.reference}" for p in model.parity) or "not measured"


def millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def giga(count: int) -> str:
    return f"{count / 1e9:.2f} G"
