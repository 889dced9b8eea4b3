"""`tpn test` at MMAction2's path."""

import sys

from tpn.cli import main

if __name__ == "__main__":
    main(["test", "--reference-lines", *sys.argv[1:]])
