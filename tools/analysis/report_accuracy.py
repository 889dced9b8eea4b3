"""`tpn fuse` at MMAction2's path."""

import sys

from tpn.cli import main

if __name__ == "__main__":
    main(["fuse", *sys.argv[1:]])
