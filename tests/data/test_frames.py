"""Folders of frames: numbering, names, and files that are missing or no images."""

import cv2
import numpy as np
import pytest

from tpn.data.frames import FrameFolder
from tpn.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Six frames whose red is ten times their number, stored without loss under the names of `img_{:05}.png`."""
    for number in range(6):
        image = np.zeros((4, 6, 3), np.uint8)
        image[..., 2] = number * 10  # OpenCV writes BGR
        cv2.imwrite(str(tmp_path / f"img_{number + 1:05}.png"), image)
    return tmp_path


def open_folder(path, **changes) -> FrameFolder:
    return FrameFolder(path, **{"num_frames": 6, "filename_tmpl": "img_{:05}.png", "start_index": 1, **changes})


def test_frames_are_rgb_and_count_from_zero(folder):
    with open_folder(folder) as video:
        frames = video.read([0, 2, 5])
        assert len(video) == 6
    assert frames.shape == (3, 4, 6, 3)
    assert frames[:, 0, 0].tolist() == [[0, 0, 0], [20, 0, 0], [50, 0, 0]]


def test_start_index_is_the_number_in_the_first_name(folder):
    assert open_folder(folder, start_index=3, num_frames=4).read([0])[0, 0, 0, 0] == 20


def test_a_missing_file_is_named_with_the_settings_that_made_its_name(folder):
    for changes in ({"num_frames": 7}, {"filename_tmpl": "{:05}.jpg"}):
        video = open_folder(folder, **changes)
        with pytest.raises(DataError) as caught:
            video.read([len(video) - 1])
        name = video.filename_tmpl.format(len(video))
        for word in [
            str(folder / name),
            f"{len(video)} frames",
            f"filename_tmpl='{video.filename_tmpl}'",
            "start_index=1",
        ]:
            assert word in str(caught.value)


def test_frames_numbered_from_zero_are_told_by_their_last(folder):
    (folder / "img_00006.png").rename(folder / "img_00000.png")
    with pytest.raises(DataError, match=r"img_00006\.png cannot.*begin with img_00000\.png: set data\.start_index=0$"):
        open_folder(folder).read([0, 5])
    assert open_folder(folder, start_index=0).read([0, 5])[:, 0, 0, 0].tolist() == [50, 40]


def test_a_file_that_may_not_be_read_is_not_called_missing(folder, said_to_others):
    (folder / "img_00002.png").chmod(0)
    said = said_to_others(lambda: open_folder(".").read([0, 1]), folder)
    assert said == "img_00002.png cannot be read (Permission denied); change its permissions"


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_file_that_is_no_image_is_named(folder, content):
    (folder / "img_00002.png").write_bytes(content)
    with pytest.raises(DataError, match=r"img_00002\.png is not an image"):
        open_folder(folder).read([0, 1])


def test_a_frame_of_another_size_is_named(folder):
    cv2.imwrite(str(folder / "img_00003.png"), np.zeros((8, 6, 3), np.uint8))
    with pytest.raises(DataError, match=r"img_00003\.png is 6x8, its neighbours are 6x4"):
        open_folder(folder).read([0, 2])
