"""How long a video file must be by its container's own word: what is shorter is cut off, even if it decodes.

AVI, MP4, Matroska and WebM, FLV and ASF (WMV) say it. MPEG streams and those of a writer that never finished do not.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

SEGMENT = b"\x18\x53\x80\x67"  # Matroska's element that holds all others but the header before it
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
PICTURES = {b"dc", b"db"}  # of names like 00dc in an AVI's index
HEAD = 1 << 16  # bytes in which a header is looked for


def promised_size(path: str | Path, container: str) -> int | None:
    """Bytes that the file must have; None where its header does not say, or cannot know.

    Args:
        container: FFmpeg's name of it, the first of them: 'avi', 'mov', 'matroska', 'flv', 'asf'.
    """
    if container not in READERS:
        return None
    with Path(path).open("rb") as file:
        try:
            return READERS[container](file)
        except (struct.error, ValueError, OverflowError, OSError):
            return None  # the file ends within what was to be read, or a size is none: FFmpeg has the word


def riff_end(file: BinaryIO) -> int | None:
    """AVI: the end of the last RIFF part; files of more than 1 GB have several."""
    end = None
    while (head := file.read(8))[:4] == b"RIFF" and len(head) == 8:
        (size,) = struct.unpack("<I", head[4:])
        if size in (0, 0xFFFFFFFF):  # as a writer leaves it that never finished
            return None
        end = file.tell() + size
        file.seek(end + size % 2)
    return end


def pauses_keep_promise(path: str | Path) -> bool:
    """Whether an AVI's index lists as many pictures as the header promises, some of them empty.

    FFmpeg writes empty ones where a picture is to stay: between all of them if it copies H.264 from a file whose times
    count fields, at twice the rate. The index is the end of the file: one that is cut off has none.
    """
    with Path(path).open("rb") as file:
        try:
            promised, sizes = read_index(file)
        except (struct.error, ValueError, OverflowError, OSError):
            return False
    return 0 in sizes and len(sizes) >= promised


def read_index(file: BinaryIO) -> tuple[int, list[int]]:
    """The frames that the header of an AVI promises, and the sizes of those in its index.

    Raises ValueError where there is no such header, struct.error where the file ends too early.
    """
    if file.read(12)[::8] != b"RA":
        raise ValueError("no AVI")
    promised, sizes = 0, []
    while len(head := file.read(8)) == 8:
        kind, size = head[:4], struct.unpack("<I", head[4:])[0]
        end = file.tell() + size + size % 2
        if kind == b"LIST" and file.read(4) == b"hdrl":
            header = file.read(size - 4)
            (promised,) = struct.unpack_from("<I", header, header.index(b"vids") + 32)  # of the video's strh
        elif kind == b"idx1":
            sizes = [size for name, _, _, size in struct.iter_unpack("<4sIII", file.read(size)) if name[2:] in PICTURES]
        file.seek(end)
    return promised, sizes


def boxes_end(file: BinaryIO) -> int | None:
    """MP4 and MOV: the end of the last box of samples or, in fragments, of their table."""
    end, at = None, 0
    while len(head := file.read(8)) == 8:
        (size,), kind = struct.unpack(">I", head[:4]), head[4:]
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        if size < 8 or not kind.isalnum():  # the last box, to the end of the file; or no box
            break
        at += size
        end = at if kind in (b"moof", b"mdat") else end
        file.seek(at)
    return end


def segment_end(file: BinaryIO) -> int | None:
    """Matroska and WebM: the end of the segment, whose size is a number of one to eight bytes."""
    head = file.read(HEAD)
    at = head.find(SEGMENT) + len(SEGMENT)
    if at < len(SEGMENT) or not head[at]:
        return None
    length = 9 - head[at].bit_length()
    size = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
    return at + length + size if size != (1 << 7 * length) - 1 else None  # all ones: unknown, as in a live stream


def flv_size(file: BinaryIO) -> int | None:
    """FLV: `filesize` in its metadata, a number as ActionScript writes them."""
    head, name = file.read(HEAD), b"\0\x08filesize\0"
    at = head.find(name) + len(name)
    return int(struct.unpack_from(">d", head, at)[0]) or None if at >= len(name) else None


def asf_size(file: BinaryIO) -> int | None:
    """ASF: the file's size in its properties, which does not count in a broadcast."""
    head = file.read(HEAD)
    at = head.find(ASF_PROPERTIES)
    if at < 0:
        return None
    (size,), (flags,) = struct.unpack_from("<Q", head, at + 40), struct.unpack_from("<I", head, at + 88)
    return None if flags & 1 else size


READERS: dict[str, Callable[[BinaryIO], int | None]] = {
    "avi": riff_end,
    "mov": boxes_end,
    "matroska": segment_end,
    "flv": flv_size,
    "asf": asf_size,
}
