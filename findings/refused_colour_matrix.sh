#!/usr/bin/env bash
# H.264 that names a rare colour matrix (BT.2020 of constant luminance): OpenCV 5.0 reads every frame, and none of them.
#
# Seen on 27 November 2026 with opencv-python-headless 5.0.0.93: its FFmpeg cannot convert by this matrix (nor by YCgCo,
# ICtCp or those derived from the primaries), so VideoCapture.read() returns True and a picture that nothing was written
# to, the same each time. isOpened() and the number of frames are as they should be; the
# only sign is a line of FFmpeg on stderr. PyAV 18.1.0, of the same FFmpeg, raises OSError 95; decord 0.6.0, of an older
# one, reads the pictures as those of an equal file that names the usual BT.2020. Exits 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q opencv-python-headless==5.0.0.93 av==18.1.0 decord==0.6.0 numpy
venv/bin/python - 2>/dev/null <<'P'
import sys

import av
import cv2
import decord
import numpy as np

COUNT, HEIGHT, WIDTH = 5, 96, 128


def write(matrix):
    """A grey square that moves over a gradient."""
    path = f"{matrix}.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": f"colormatrix={matrix}"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(COUNT):
            image = np.repeat(np.tile(np.arange(WIDTH, dtype=np.uint8) + 60, (HEIGHT, 1))[..., None], 3, axis=2)
            image[20:60, 20 * number : 20 * number + 30] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def by_opencv(path):
    capture = cv2.VideoCapture(path)
    read = [capture.read() for _ in range(COUNT)]
    return all(ok for ok, _ in read), np.stack([image[:, :, ::-1] for _, image in read]).astype(int)


def by_decord(path):
    return decord.VideoReader(path).get_batch(range(COUNT)).asnumpy().astype(int)


def by_pyav(path):
    with av.open(path) as container:
        try:
            next(container.decode(video=0)).to_ndarray(format="rgb24")
            return "reads it"
        except OSError as error:
            return f"OSError {error.errno}"


usual, rare = write("bt2020nc"), write("bt2020c")
right = by_decord(usual)
seen = {}
for path in (usual, rare):
    ok, images = by_opencv(path)
    error, changes = abs(images - right).mean(), bool((images != images[0]).any())
    seen[path] = ok, error < 1, changes
    print(f"{path}: OpenCV says read={ok}, {error:.1f} levels off on average, frames differ from each other: {changes}")
    print(f"{path}: PyAV {by_pyav(path)}; decord {abs(by_decord(path) - right).mean():.1f} levels off")
as_seen = seen == {usual: (True, True, True), rare: (True, False, False)}
sys.exit(not (as_seen and by_pyav(rare) == "OSError 95" and (by_decord(rare) == right).all()))
P
echo "as seen: OpenCV says that it has read pictures which it never wrote"
