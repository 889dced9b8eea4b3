"""`tpn print-config` at MMAction2's path."""

import sys

from tpn.cli import main

if __name__ == "__main__":
    main(["print-config", *sys.argv[1:]])
