"""Where the published recipes are: in the checkout, or inside an installed package."""

from pathlib import Path

import tpn


def find_recipe(name: str) -> Path:
    """The path of configs/recognition/tpn/<name>.py."""
    package = Path(tpn.__file__).parent
    places = [root / "configs/recognition/tpn" / f"{name}.py" for root in (package.parent, package)]
    return next((place for place in places if place.is_file()), places[0])
