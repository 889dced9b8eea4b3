"""Names of files as text: Python has a lone surrogate for each byte of a name that is not UTF-8 (PEP 383)."""

import re

SURROGATES = re.compile("[\ud800-\udfff]")


def is_utf8(text: str) -> bool:
    """Whether the text can be written to a file that is UTF-8 and has to be read back, as lists and configs."""
    return not SURROGATES.search(text)


def as_utf8(text: str) -> bytes:
    r"""The text for people and for JSON: the byte E9 of a name that is not UTF-8 is \udce9, which JSON reads back."""
    return text.encode(errors="backslashreplace")
