#!/usr/bin/env bash
# Everything that has to be seen on a machine with a GPU, in one command of at most eight minutes.
#
#   benchmarks/gpu_check.sh                          # on one NVIDIA GPU
#   benchmarks/gpu_check.sh --quick --device cpu     # the rehearsal: every stage in small, on a CPU, under four minutes
#   benchmarks/gpu_check.sh --out FOLDER             # where logs and figures go (default: gpu_check)
#
# Needs Linux, an NVIDIA driver, Python 3.11 or later with PyTorch 2.10 or later, NumPy and OpenCV; no network. Packages
# that the machine lacks are taken from wheels in .whl/, which benchmarks/gpu_wheels.sh fills elsewhere. Tests against
# the reference read its figures from a folder shared/ beside the checkout, as all tests do.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
if compgen -G "$root/.whl/*.whl" > /dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$root"/.whl/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
PYTHONUNBUFFERED=1 "$python" "$root/benchmarks/gpu_check.py" "$@"
