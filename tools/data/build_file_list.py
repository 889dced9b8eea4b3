"""`tpn build-list` at MMAction2's path."""

import sys

from tpn.cli import main

if __name__ == "__main__":
    main(["build-list", *sys.argv[1:]])
