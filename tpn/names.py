"""Names of files as text: Python has a lone surrogate for each byte of a name that is not UTF-8 (PEP 383)."""

import re

SURROGATES = re.compile("[\ud800-\udfff]")
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.IGNORECASE | re.DOTALL)  # two letters: C:/ is a drive


def is_utf8(text: str) -> bool:
    """Whether the text can be written to a file that is UTF-8 and has to be read back, as lists and configs."""
    return not SURROGATES.search(text)


def as_utf8(text: str) -> bytes:
    r"""The text for people and for JSON: the byte E9 of a name that is not UTF-8 is \udce9, which JSON reads back."""
    return text.encode(errors="backslashreplace")


def address_problem(path: object) -> str:
    """What is wrong with a path that is an address (its `//` may have become `/`) and no file; '' for any other."""
    match = ADDRESS.fullmatch(str(path))
    return f"{match[1]}://{match[2]} is an address: download the file, and give its path" if match else ""
