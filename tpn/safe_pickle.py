"""Pickled NumPy arrays and numbers read as data: no function that the file names is ever called.

An allow-list of NumPy's own functions is not enough: `numpy.dtype.__setstate__` accepts a type whose bytes are read as
object pointers. So each name is answered by a stand-in below, which builds plain numbers and nothing else.
"""

import io
import math
import pickle
from typing import Any

import numpy as np


def load_arrays(content: bytes) -> Any:
    """What was pickled: an array or a list of arrays, or lists, strings and numbers.

    Raises pickle.UnpicklingError for anything else and for a damaged file.
    """
    try:
        value = ArrayUnpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged pickle fails in as many ways as it has bytes
        raise pickle.UnpicklingError(f"damaged pickle: {error}") from error
    if isinstance(value, list):
        return [item.array if isinstance(item, Array) else item for item in value]
    return value.array if isinstance(value, Array) else value


class DType:
    """Stands for numpy.dtype: a number type and its byte order."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "fiub":
            raise pickle.UnpicklingError(f"arrays of type {name!r} are not scores")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """Stands for numpy.ndarray: filled from bytes when the pickle gives its state."""

    array = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        self.array = from_buffer(content, dtype, shape, "F" if is_fortran else "C")


def reconstruct(_subtype: Any, _shape: Any, _dtype: Any) -> Array:
    return Array()


def from_buffer(content: bytes | bytearray, dtype: DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    if not content or len(content) != math.prod(shape) * dtype.dtype.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {shape} has {len(content)} bytes")
    return np.frombuffer(bytes(content), dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def scalar(dtype: DType, content: bytes) -> float:
    return from_buffer(content, dtype, (), "C").item()


def encode(text: str, _encoding: str = "latin1") -> bytes:
    return text.encode("latin1")  # how protocols below 3 spell bytes


STAND_INS = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): DType,
    ("_codecs", "encode"): encode,
} | {
    (f"numpy.{core}.{module}", name): stand_in
    for core in ("core", "_core")  # NumPy 1 and 2
    for module, name, stand_in in [
        ("multiarray", "_reconstruct", reconstruct),
        ("multiarray", "scalar", scalar),
        ("numeric", "_frombuffer", from_buffer),
    ]
}


class ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in STAND_INS:
            raise pickle.UnpicklingError(f"the file asks for {module_name}.{global_name}, which arrays do not need")
        return STAND_INS[module_name, global_name]
