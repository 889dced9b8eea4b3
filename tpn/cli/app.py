"""The command's frame: the app, the types its options share, and what becomes of a mistake."""

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

import tpn
from tpn.cli.mistakes import usage_problem
from tpn.errors import UserError
from tpn.memory import keep_freed_memory

if TYPE_CHECKING:
    from rich.console import Console

app = App(
    name="tpn",
    help="Temporal Pyramid Network for action recognition in video. Start with `tpn demo`.",
    version=tpn.__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # `main` answers it
)

Many = Parameter(consume_multiple=True, negative="", show_default=False)
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
CfgOptions = Annotated[list[str], Many]
Seed = Annotated[int, Parameter(validator=Number(gte=0, lt=2**32))]
Device = Literal["cpu", "cuda"] | None
DType = Literal["float32", "bfloat16", "float16"] | None
Metric = Literal["top_k_accuracy", "mean_class_accuracy"]


def console() -> "Console":
    """Where progress and results go: the terminal, or plain lines in a pipe."""
    from rich.console import Console

    return Console()


def overrides_of(cfg_options: Sequence[str], *, dtype: DType) -> dict[str, Any]:
    """What --cfg-options changes, and --dtype where it was given. Raises ConfigError where one is not name=value."""
    from tpn.config import parse_overrides

    return parse_overrides(cfg_options) | ({} if dtype is None else {"dtype": dtype})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake ends in one message and status 2, never in a traceback."""
    # Before torch is imported: its threads then sleep between two operations. By default they spin, and where others
    # want the cores too (data workers, another process) everything gets several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8, nor the terminal
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        command = " ".join(["tpn", *(error.command_chain or ())])
        print(f"error: {usage_problem(error)} (see {command} --help)", file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
