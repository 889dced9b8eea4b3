"""Commands about checkpoint files: the models there are, conversion, publication."""

from pathlib import Path

from tpn.cli.app import Flag, app, console


@app.command
def zoo(*, json: Flag = False, markdown: Flag = False) -> None:
    """List every published model: recipe, scores and their source, weights, size, measured parity.

    Example: `tpn zoo --json`

    Parameters
    ----------
    json
        Print all that is known, for programs.
    markdown
        Print the tables of configs/recognition/tpn/README.md.
    """
    from tpn.zoo import list_zoo

    list_zoo(as_json=json, markdown=markdown, console=console())


@app.command
def convert(in_file: Path, out_file: Path, /) -> None:
    """Rewrite a checkpoint of any origin: ours, MMAction2's, the paper's authors'. Weights stay bit for bit.

    Example: `tpn convert r50f8s8.pth r50f8s8.safetensors`

    Parameters
    ----------
    in_file
        A .pth or .safetensors file. It is read as data, nothing in it is executed.
    out_file
        The new file: .safetensors, or .pth, which MMAction2 0.x loads too.
    """
    from tpn.convert import run_convert

    run_convert(in_file, out_file, console=console())


@app.command
def publish_model(in_file: Path, out_file: Path, /) -> None:
    """Write a checkpoint for others: weights and meta alone, named OUT-<first 8 hex digits of its SHA-256>.pth.

    Example: `tpn publish-model work_dirs/my_run/best_top1_acc_epoch_150.pth my_tpn.pth`

    Parameters
    ----------
    in_file
        A .pth or .safetensors file of any origin.
    out_file
        Name of the new file; the hash is added to it.
    """
    from tpn.convert import publish

    publish(in_file, out_file, console=console())
