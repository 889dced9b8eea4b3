#!/usr/bin/env bash
# Train on several GPUs of this machine, or of several: one process per GPU, started by torchrun.
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# On NNODES machines run it on each, with NODE_RANK from 0 and MASTER_ADDR, PORT of the first.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1 gpus=$2
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
# Restarted processes that share the agent's store sometimes find an old address in it and hang.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    --nproc-per-node="$gpus" "$tools/train.py" "$config" --launcher pytorch "${@:3}"
