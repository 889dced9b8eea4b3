#!/usr/bin/env bash
# Colours of interlaced 4:2:0 frames: the same file gives other RGB with FFmpeg 8.1 than with earlier versions.
#
# Seen on 27 November 2026: PyAV 18.1.0 (FFmpeg 8.1), asked for rgb24 of a frame that is marked as interlaced, takes each
# row's colours from its own field (rows 0 and 2 share a row of colours, 1 and 3 the next), as the standards have it.
# decord 0.6.0 ignores the mark: rows 0 and 1 share one. On a picture of moving stripes the two are tens of levels apart.
# Nothing says so: both read "the same frame". Exits 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q decord==0.6.0 av==18.1.0 numpy
venv/bin/python - <<'P'
import sys

import av
import decord
import numpy as np

H, W = 64, 96
planes = np.full((H * 3 // 2, W), 128, np.uint8)
u = planes[H : H + H // 4].reshape(H // 2, W // 2)
u[0::2], u[1::2] = 60, 190  # the two fields have different colours
with av.open("a.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"x264-params": "interlaced=1:qp=0", "flags": "+ilme+ildct"})
    stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
    for _ in range(5):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
    container.mux(stream.encode(None))
with av.open("a.mp4") as container:
    frame = next(container.decode(video=0))
    ours = frame.to_ndarray(format="rgb24")[:8, 40, 2].tolist()
theirs = decord.VideoReader("a.mp4")[0].asnumpy()[:8, 40, 2].tolist()
print("interlaced:", frame.interlaced_frame, "blue of rows 0..7: PyAV", ours, "decord", theirs)
by_field = ours[0] == ours[2] != ours[1] == ours[3]
by_frame = theirs[0] == theirs[1] != theirs[2] == theirs[3]
sys.exit(not (by_field and by_frame))
P
echo "as seen: FFmpeg 8.1 by field, decord by frame"
