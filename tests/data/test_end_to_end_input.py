"""The whole test input of a real video against MMAction2 0.24.1's: decoder, sampling, resize, crops, normalisation."""

import numpy as np
import pytest
import torch

from tpn.data.augment import normalize
from tpn.data.dataset import FixedViews, read_views
from tpn.data.decode import VideoFile

COMMON = {"short_side": 256, "crop_size": 256, "num_crops": 3, "frames_per_view": 8}
KINETICS = FixedViews(clip_len=8, frame_interval=8, num_clips=10, **COMMON)
SOMETHING = FixedViews(clip_len=1, frame_interval=1, num_clips=8, twice_sample=True, **COMMON)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.mark.parametrize(
    "name, views, layout",
    [
        ("slowonly_demo_decord", KINETICS, "views of clips"),
        ("slowonly_demo_opencv", KINETICS, "views of clips"),
        ("tsm_demo_decord", SOMETHING, "images"),
    ],
)
def test_input_of_a_real_video_is_the_references(shared, parity, name, views, layout):
    """Equal but for the last bits of float32: no pixel differs from what decord and OpenCV give the reference."""
    golden = parity("end_to_end.npz")
    with VideoFile(shared / "videos" / "arm_wrestling.mp4") as video:
        clips = normalize(torch.from_numpy(read_views(video, views)), mean=MEAN, std=STD).numpy()
    if layout == "images":  # (V, 3, T, H, W) to (V*T, 3, H, W)
        clips = clips.swapaxes(1, 2).reshape(-1, 3, 256, 256)
    assert list(clips.shape) == golden[f"{name}/imgs_shape"][1:].tolist()

    means = clips.reshape(len(clips), -1).mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(means, golden[f"{name}/imgs_mean"], rtol=0, atol=1e-6)

    planes = clips.reshape(-1, 256, 256)  # the reference kept 48 of them, at equal distances, as 16 x 16 means
    kept = planes[:: len(planes) // 48].reshape(48, 1, 16, 16, 16, 16).mean(axis=(3, 5))
    np.testing.assert_allclose(kept, golden[f"{name}/imgs_small"], rtol=0, atol=1e-5)
