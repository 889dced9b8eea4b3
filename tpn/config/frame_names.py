"""The name of an image in a folder of frames: text, with the frame's number at one place in it."""

import re

FRAME_NAME = re.compile(r"[^{}]*\{0?(:[0-9]{0,2}d?)?\}[^{}]*")  # more of Python's format language asks for gigabytes


def frame_name(template: str) -> str:
    """The template, as it is: `template.format(7)` puts the number into it, in up to 99 digits, and does nothing else.

    Raises ValueError for any other text.
    """
    if not FRAME_NAME.fullmatch(template):
        raise ValueError(f"expected the frame's number once, as in 'img_{{:05}}.jpg', got {template!r:.80}")
    return template
