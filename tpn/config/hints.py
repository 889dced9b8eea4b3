"""The known name nearest to an unknown one."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name that `name` probably is a misspelling of."""
    return next(iter(get_close_matches(str(name)[:100], list(known), n=1, cutoff=0.7)), None)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of an error message: "; did you mean 'depth'?", or nothing."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""
