#!/usr/bin/env bash
# A display matrix that mirrors: which readers of video do it.
#
# Seen on 27 November 2026 with decord 0.6.0, OpenCV 5.0.0.93 and PyAV 18.1.0 (FFmpeg 8.1), on an MP4 whose matrix exchanges
# the axes (a quarter turn and a mirroring, as selfies are marked): decord and OpenCV turn the frame by the angle that the
# matrix has, and leave the mirroring out; `frame.rotation` of PyAV is that angle, too, and says nothing of the mirror. By
# ISO 14496-12 (8.3.2), and as the ffmpeg command does it, the frame is its transpose. So a video may be read as its mirror
# image, which matters where left and right do. Exits 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q decord==0.6.0 opencv-python-headless==5.0.0.93 av==18.1.0 numpy
venv/bin/python - <<'P'
import sys

import av
import cv2
import decord
import numpy as np

one = 1 << 16
picture = np.zeros((96, 128, 3), np.uint8)
picture[:48, :64] = 255  # white in the top left corner
picture[48:, :64] = 128  # grey below it
with av.open("a.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
    stream.set_display_matrix([0, one, 0, one, 0, 0, 0, 0, 1 << 30])  # x' = y, y' = x
    for _ in range(5):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode(None))


def corners(image):
    """Levels in the top left, top right and bottom left quarter."""
    h, w = image.shape[:2]
    return [int(image[h // 4, w // 4].mean()), int(image[h // 4, 3 * w // 4].mean()), int(image[3 * h // 4, w // 4].mean())]


def name(image):
    ways = {"stored": picture, "transposed": picture.swapaxes(0, 1), "turned clockwise": np.rot90(picture, -1)}
    near = {way: p for way, p in ways.items() if np.allclose(corners(image), corners(p), atol=6)}
    return "/".join(near) or str(corners(image))


with av.open("a.mp4") as container:
    frame = next(container.decode(video=0))
    matrix = np.frombuffer(frame.side_data["DISPLAYMATRIX"], np.int32)[:5].tolist()
    print("matrix", matrix, "PyAV: frame.rotation", frame.rotation, "pixels", name(frame.to_ndarray(format="rgb24")))
seen = {
    "decord": name(decord.VideoReader("a.mp4")[0].asnumpy()),
    "OpenCV": name(cv2.VideoCapture("a.mp4").read()[1][:, :, ::-1]),
}
print(seen)
sys.exit(seen != {"decord": "turned clockwise", "OpenCV": "turned clockwise"} or frame.rotation not in (-90, 270))
P
echo "as seen: the mirroring is left out"
