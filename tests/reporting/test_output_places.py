"""``-o`` takes a regular file or folder, and nothing else that may stand at a path."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from safeconvert.errors import BadInput
from safeconvert.reporting.output_files import check_output, put
from safeconvert.workers.pool import WorkerPool


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["device", "link to a device", "pipe", "socket"])
def test_what_is_no_regular_file_is_refused_with_and_without_force(tmp_path: Path, kind: str, force: bool) -> None:
    place = tmp_path / "m.onnx"
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "device":
            place = Path("/dev/null")
        elif kind == "link to a device":
            place.symlink_to("/dev/null")
        elif kind == "pipe":
            os.mkfifo(place)
        else:
            listening.bind(str(place))
        with pytest.raises(BadInput, match=r"no regular file or folder|is not writable"):
            check_output(place, force=force)


def test_a_report_is_not_written_over_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx.report.json")
    with pytest.raises(BadInput, match="is a pipe"):
        check_output(tmp_path / "m.onnx", force=True)


def test_a_pipe_that_appears_while_the_run_goes_on_is_left_in_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    (tmp_path / "made.onnx").write_bytes(b"model")
    with WorkerPool() as workers, pytest.raises(BadInput, match="is a pipe"):
        put(workers, tmp_path / "made.onnx", tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").is_fifo()


def test_regular_files_and_folders_are_taken(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"old")
    check_output(tmp_path / "m.onnx", force=True)
    (tmp_path / "saved").mkdir()
    check_output(tmp_path / "saved", force=True)
