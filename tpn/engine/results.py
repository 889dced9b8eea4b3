"""Result files as MMAction2 writes them (`--out`): one row of class scores per video, in list-file order."""

import json
import logging
import os
import pickle
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tpn.data.paths import closed_folder, kind_of
from tpn.errors import DataError, UserError
from tpn.names import as_utf8
from tpn.safe_pickle import load_arrays

logger = logging.getLogger("tpn")
NUMPY_2_NAME, NUMPY_1_NAME = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"


def check_results_path(path: Path) -> None:
    """Raise UserError unless `write_results(path, ...)` can work. Call it before the first video is scored.

    Makes the folder the file goes into where it is missing, as MMAction2 does, and says so.
    """
    check_output_path(path, suffixes=ENCODERS, what="results")
    if path.suffix in (".yaml", ".yml"):
        import_yaml()


def check_output_path(path: Path, *, suffixes: Collection[str], what: str) -> None:
    """Raise UserError unless a file of one of these suffixes can be written to `path`; make its folder if need be."""
    if path.suffix not in suffixes:
        raise UserError(f"{path}: {what} are written as {', '.join(suffixes)}, not as {path.suffix or 'a bare name'!r}")
    if kind_of(path) == "folder":
        raise UserError(f"{path}: this is a folder; name a file in it for the {what}")
    make_folder_of(path)


def make_folder_of(path: Path) -> None:
    """Make the folder a file goes into, and say so: it may be misspelt. Raises UserError if no file can be there."""
    try:
        if kind_of(path.parent) is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            logger.warning(f"made the folder {path.parent}")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        folder = closed_folder(path) if isinstance(error, PermissionError) else path.parent
        raise UserError(f"{path}: no file can be written into {folder} ({error.strerror})") from error


def write_results(path: Path, scores: np.ndarray | Sequence[np.ndarray]) -> None:
    """Write scores (N, num_classes) in the format of the suffix; the file is whole or, where that fails, the old one.

    .json is one line, a list of lists; .pkl and .pickle a list of float32 arrays that NumPy 1 and 2 both read;
    .yaml and .yml a list of lists. Raises UserError for another suffix and where the disk refuses.
    """
    check_results_path(path)
    write_atomically(path, ENCODERS[path.suffix](np.asarray(scores, dtype=np.float32)))


def read_results(path: Path) -> np.ndarray:
    """(N, num_classes) scores of a file that `write_results` or MMAction2 wrote: float32, or float64 if it holds more.

    The file is data: reading a pickle calls nothing it names. Raises DataError for a file that is not such a table.
    """
    if path.suffix not in DECODERS:
        raise DataError(
            f"{path}: results are read from {', '.join(DECODERS)}, not from {path.suffix or 'a bare name'!r}"
        )
    try:
        table = to_table(DECODERS[path.suffix](path.read_bytes()))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: not a list with one row of class scores per video ({error})") from error
    single = table.astype(np.float32)
    return single if np.array_equal(single, table, equal_nan=True) else table


def to_table(rows: Any) -> np.ndarray:
    """(N, num_classes) float64. A row is read flat, so that lists nested by the thousand cost nothing."""
    if not isinstance(rows, list | np.ndarray):
        raise TypeError(f"it holds a {type(rows).__name__}")
    return np.stack([np.fromiter(row, dtype=np.float64) for row in rows])


def write_meta(path: Path, meta: Mapping[str, Any]) -> Path:
    """Write what the results at `path` were made from to `<path>.meta.json` and return that path.

    Single facts come first and lists after them, each in the given order; what JSON does not know is written as text.
    """
    meta_path = path.with_name(path.name + ".meta.json")
    ordered = dict(sorted(meta.items(), key=lambda item: isinstance(item[1], list | tuple | dict)))
    write_atomically(meta_path, as_utf8(json.dumps(ordered, indent=2, ensure_ascii=False, default=str) + "\n"))
    return meta_path


def read_meta(path: Path) -> dict[str, Any]:
    """What the file beside the results at `path` says of them; nothing where there is none, as beside MMAction2's."""
    meta_path = path.with_name(path.name + ".meta.json")
    try:
        meta = json.loads(meta_path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise DataError(f"{meta_path}: cannot be read ({reason}); delete it if the results are of this list") from None
    return meta if isinstance(meta, dict) else {}


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file by `content` at once: a reader, or a run that is killed here, finds the old file or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------- the formats


def to_json(scores: np.ndarray) -> bytes:
    return json.dumps(scores.tolist()).encode()


def to_pickle(scores: np.ndarray) -> bytes:
    """Protocol 2, as MMAction2; NumPy's functions by the module name that its versions 1 and 2 both understand."""
    content = pickle.dumps([row.copy() for row in scores], protocol=2)
    return content.replace(NUMPY_2_NAME, NUMPY_1_NAME, 1)  # named once, before the first score; later rows refer to it


def to_yaml(scores: np.ndarray) -> bytes:
    yaml = import_yaml()
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(scores.tolist(), Dumper=dumper, default_flow_style=None).encode()


def from_yaml(content: bytes) -> Any:
    yaml = import_yaml()
    try:
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"not plain YAML: {str(error).splitlines()[0]}") from error


def import_yaml() -> ModuleType:
    try:
        import yaml
    except ImportError as error:
        raise UserError("YAML results need PyYAML: pip install tpn[yaml]") from error
    return yaml


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    ".json": to_json, ".pkl": to_pickle, ".pickle": to_pickle, ".yaml": to_yaml, ".yml": to_yaml,
}  # fmt: skip
DECODERS: dict[str, Callable[[bytes], Any]] = {
    ".json": json.loads, ".pkl": load_arrays, ".pickle": load_arrays, ".yaml": from_yaml, ".yml": from_yaml,
}  # fmt: skip
