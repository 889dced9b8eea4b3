#!/usr/bin/env bash
# A transport stream in which sound begins midway, as in recordings of television: PyAV reads it all, then an IndexError.
#
# Seen on 27 November 2026 with PyAV 18.1.0: demux(video) and decode(video=0) give all there is, and then fail on their
# way out, where empty packets mark the end: PyAV asks for streams that FFmpeg has met while reading and that are not in
# container.streams. A loop over the frames of a valid file ends in a traceback. One or two more streams may pass; here
# there are eight, as in a programme of many languages. PyAV 19.0.2 (Python 3.12) no longer does it. Exits 0 while that
# is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q av==18.1.0 numpy
venv/bin/python - <<'P'
import sys

import av
import numpy as np

FRAMES = 30
rng = np.random.default_rng(0)
NULL_PACKETS = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 30_000  # 5.6 MB that say nothing: beyond what FFmpeg probes


def write(path, sounds=0, **muxer):
    with av.open(path, "w", options=muxer) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "x264-params": "bframes=2"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        tracks = [container.add_stream("mp2", rate=48000, layout="stereo") for _ in range(sounds)]
        for track in tracks:
            frame = av.AudioFrame("s16", "stereo", 1152)
            frame.sample_rate, frame.pts = 48000, 0
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
        for _ in range(FRAMES):
            image = rng.integers(256, size=(96, 128, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return open(path, "rb").read()


silent = write("silent.ts")
heard = write("heard.ts", sounds=8, tables_version="5")  # a new table of programmes, with eight languages
parts = {"silent throughout": silent + NULL_PACKETS + silent + silent, "sound begins midway": silent + NULL_PACKETS + heard + silent}
seen = {}
for name, content in parts.items():
    with open("a.ts", "wb") as file:
        file.write(content)
    told = {}
    for how in ("demux", "decode"):
        count, end = 0, "ends as it should"
        with av.open("a.ts") as container:
            try:
                for each in getattr(container, how)(video=0):
                    count += 1 if how == "decode" or each.size else 0
            except IndexError as error:
                end = f"IndexError: {error}"
        told[how] = count, end
        print(f"{name}: {how} gives {count} of {3 * FRAMES}, {end}")
    seen[name] = told
good, bad = seen["silent throughout"], seen["sound begins midway"]
sys.exit(not (good["decode"] == (3 * FRAMES, "ends as it should") and bad["demux"][0] == 3 * FRAMES and "IndexError" in bad["demux"][1]))
P
echo "as seen: PyAV fails at the end of a valid file"
