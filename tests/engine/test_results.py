"""Result files: MMAction2's layout, never half written, and read as data."""

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tpn.engine.results import check_results_path, read_results, write_meta, write_results
from tpn.errors import DataError, UserError

SUFFIXES = [".json", ".pkl", ".pickle", ".yaml", ".yml"]


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(7), size=5).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_scores_read_back_bit_for_bit(tmp_path, scores, suffix):
    write_results(tmp_path / f"result{suffix}", scores)
    read = read_results(tmp_path / f"result{suffix}")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, scores)


def test_json_is_one_line_with_a_list_per_video(tmp_path, scores):
    write_results(tmp_path / "result.json", scores)
    text = (tmp_path / "result.json").read_text()
    assert "\n" not in text
    assert json.loads(text) == scores.tolist()


def test_pickle_is_a_list_of_float32_arrays_of_the_classes(tmp_path, scores):
    write_results(tmp_path / "result.pkl", list(scores))
    rows = pickle.loads((tmp_path / "result.pkl").read_bytes())
    assert type(rows) is list
    assert [(row.dtype, row.shape) for row in rows] == [(np.dtype("float32"), (7,))] * 5


def test_pickle_names_numpys_modules_as_numpy_1_knows_them(tmp_path, scores):
    write_results(tmp_path / "result.pkl", scores)
    content = (tmp_path / "result.pkl").read_bytes()
    assert b"numpy.core.multiarray" in content
    assert b"numpy._core" not in content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("layout", [list, np.stack, np.asfortranarray, lambda rows: [row.tolist() for row in rows],
                                    lambda rows: [list(row) for row in rows]])  # fmt: skip
def test_every_way_to_pickle_the_scores_is_read(tmp_path, scores, protocol, layout):
    path = tmp_path / "foreign.pkl"
    path.write_bytes(pickle.dumps(layout(scores), protocol=protocol))
    np.testing.assert_array_equal(read_results(path), scores)


def test_pickle_of_numpy_1_and_of_big_endian_doubles_is_read(tmp_path, scores):
    path = tmp_path / "foreign.pkl"
    content = pickle.dumps([row.astype(">f8") for row in scores], protocol=2)
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    np.testing.assert_array_equal(read_results(path), scores)


def test_scores_with_more_than_float32_keep_their_digits(tmp_path):
    (tmp_path / "fused.json").write_text("[[0.1, 0.9], [0.30000000000000004, 0.7]]")
    read = read_results(tmp_path / "fused.json")
    assert read.dtype == np.float64
    assert read[1, 0] == 0.30000000000000004


# ------------------------------------------------------------------------------------------------------ hostile files


class Shell:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_malicious_pickle_runs_nothing_and_is_named(tmp_path, scores, protocol):
    path, canary = tmp_path / "evil.pkl", tmp_path / "canary"
    path.write_bytes(pickle.dumps([scores[0], Shell(canary)], protocol=protocol))
    with pytest.raises(DataError, match=r"evil\.pkl.*system"):
        read_results(path)
    assert not canary.exists()


def test_pickled_dtype_that_would_read_bytes_as_pointers_is_refused(tmp_path):
    state = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)  # numpy itself accepts this and segfaults

    class Forged:
        def __reduce__(self):
            return np.dtype, ("V8", False, True), state

    class Pointers:
        def __reduce__(self):
            reconstruct = np.empty(0).__reduce__()[0]
            return reconstruct, (np.ndarray, (0,), b"b"), (1, (2,), Forged(), False, b"A" * 16)

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([Pointers()], protocol=2))
    with pytest.raises(DataError, match="arrays of type 'V8' are not scores"):
        read_results(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("suffix", [".pkl", ".yaml"])
def test_lists_that_repeat_themselves_do_not_grow_without_bound(tmp_path, suffix):
    import yaml

    bomb: list = [0.5]
    for _ in range(40):
        bomb = [bomb] * 10  # 10**40 numbers where it is taken literally
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(pickle.dumps(bomb) if suffix == ".pkl" else yaml.safe_dump(bomb).encode())
    with pytest.raises(DataError, match="bomb"):
        read_results(path)


def test_yaml_tags_construct_nothing(tmp_path):
    path, canary = tmp_path / "evil.yaml", tmp_path / "canary"
    path.write_text(f"- !!python/object/apply:os.system ['touch {canary}']\n")
    with pytest.raises(DataError, match=r"evil\.yaml"):
        read_results(path)
    assert not canary.exists()


def test_every_truncation_of_a_pickle_is_refused(tmp_path, scores):
    write_results(tmp_path / "whole.pkl", scores[:2])
    content, path = (tmp_path / "whole.pkl").read_bytes(), tmp_path / "cut.pkl"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.pkl"):
            read_results(path)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "[1, 2]", "[[1, 2], [3]]", "[[[1, 2]]]", '[["a"]]', '{"a": [1]}', "[" * 9999],
)
def test_json_that_is_no_table_of_scores_is_refused(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(DataError, match=r"odd\.json: not a list with one row of class scores per video"):
        read_results(tmp_path / "odd.json")


def test_missing_file_and_unknown_suffix_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.json: cannot be read"):
        read_results(tmp_path / "gone.json")
    with pytest.raises(DataError, match=r"are read from .*\.json.*not from '\.csv'"):
        read_results(tmp_path / "result.csv")


# ------------------------------------------------------------------------------------------------- never half written


DIE_AFTER_100_KB = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from tpn.engine.results import write_results
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the kernel kills the process within the write
write_results(Path(sys.argv[1]), np.ones((400, 400)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_process_killed_in_the_middle_of_writing_leaves_the_old_file_intact(tmp_path, scores):
    path = tmp_path / "result.pkl"
    write_results(path, scores)
    writer = subprocess.run([sys.executable, "-c", DIE_AFTER_100_KB, str(path)])
    assert writer.returncode == -signal.SIGXFSZ
    np.testing.assert_array_equal(read_results(path), scores)


def test_write_that_fails_keeps_the_old_file_and_leaves_no_temporary_one(tmp_path, scores, monkeypatch):
    path = tmp_path / "result.json"
    write_results(path, scores)

    def disk_full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(UserError, match=r"result\.json: cannot be written \(No space left on device\)"):
        write_results(path, scores + 1)
    np.testing.assert_array_equal(read_results(path), scores)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


# ------------------------------------------------------------------------------------------------ before any GPU time


@pytest.mark.parametrize("name", ["result.csv", "result", "result.JSON", "result.json.gz"])
def test_unknown_suffix_is_refused_before_the_test_runs(tmp_path, name):
    with pytest.raises(UserError, match=r"results are written as \.json, \.pkl, \.pickle, \.yaml, \.yml"):
        check_results_path(tmp_path / name)


def test_missing_folder_is_made_and_told(tmp_path, caplog):
    for _ in range(2):
        check_results_path(tmp_path / "a" / "b" / "result.json")
    assert (tmp_path / "a" / "b").is_dir()
    assert not list((tmp_path / "a" / "b").iterdir())
    assert caplog.messages == [f"made the folder {tmp_path / 'a' / 'b'}"]


def test_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(UserError, match="this is a folder"):
        check_results_path(tmp_path / "result.json")


def test_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/result\.json: no file can be written into"):
        check_results_path(tmp_path / "file" / "result.json")


def test_missing_pyyaml_is_named_before_the_test_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UserError, match=r"pip install tpn\[yaml\]"):
        check_results_path(tmp_path / "result.yaml")
    check_results_path(tmp_path / "result.json")


# ----------------------------------------------------------------------------------------------------------- the meta


def test_meta_lies_beside_the_results_with_lists_last(tmp_path):
    config = tmp_path / "config.py"
    path = write_meta(tmp_path / "result.json", {"failures": ["视频.mp4"], "decoder": "PyAV 18.1.0", "config": config})
    assert path == tmp_path / "result.json.meta.json"
    assert "视频.mp4" in path.read_text(encoding="utf-8")
    meta = json.loads(path.read_text(encoding="utf-8"))
    assert list(meta.items()) == [("decoder", "PyAV 18.1.0"), ("config", str(config)), ("failures", ["视频.mp4"])]
