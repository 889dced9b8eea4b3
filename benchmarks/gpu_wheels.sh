#!/usr/bin/env bash
# Fills .whl/ with the packages that a machine with PyTorch, NumPy and OpenCV lacks as a rule, for gpu_check.sh there.
#
#   benchmarks/gpu_wheels.sh [PLATFORM [PYTHON [FOLDER]]]     # default: x86_64 3.12 .whl; PLATFORM may be aarch64, too
#
# Run it where pip has its registry. It prints what it fetched, and fails beyond 55 MB.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
machine=${1:-x86_64} version=${2:-3.12} folder=${3:-$root/.whl}
limit=$((55 * 1000 * 1000))
platforms=()
for tag in 2_39 2_35 2_34 2_31 2_28 2_27 2_24 2_17 2_12 2_5; do platforms+=(--platform "manylinux_${tag}_$machine"); done
platforms+=(--platform "manylinux2014_$machine" --platform "manylinux1_$machine")

# What tpn needs besides torch, numpy and opencv, with all that these need; and what its tests need.
packages=(
    'av>=17' 'pydantic>=2.10,<3' 'cyclopts>=4,<6' 'rich>=13.9' 'safetensors>=0.5'
    'pytest>=8.3' 'pytest-timeout>=2.3' 'hypothesis>=6.100' 'pyyaml>=6'
)
mkdir -p "$folder"
rm -f "$folder"/*.whl
"${PYTHON:-python3}" -m pip download -q --only-binary=:all: --implementation cp --python-version "$version" \
    "${platforms[@]}" -d "$folder" "${packages[@]}"
rm -f "$folder"/numpy-*.whl "$folder"/torch-*.whl
size=$(cat "$folder"/*.whl | wc -c)
(cd "$folder" && wc -c *.whl)
if ((size > limit)); then
    echo "error: $size bytes are more than $limit: leave something out" >&2
    exit 1
fi
