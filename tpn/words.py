"""Small words of messages: a number with its noun, and the first of many names."""

from collections.abc import Collection
from itertools import islice


def counted(number: int, noun: str) -> str:
    """'1 video', '2 videos', '2 classes'."""
    return f"{number} {noun if number == 1 else noun + ('es' if noun.endswith('s') else 's')}"


def first_of(names: Collection[str], most: int) -> str:
    """'a, b, c and 2 more'."""
    rest = len(names) - most
    return ", ".join(islice(names, most)) + (f" and {rest} more" if rest > 0 else "")
