"""Files of faults of an earlier run go; what this run wrote or read, and what is not a fault's, stays."""

from __future__ import annotations

from pathlib import Path

from safeconvert.options import Options
from safeconvert.reporting.reproduction import stale


def test_only_files_of_faults_beside_the_target_are_stale(tmp_path: Path) -> None:
    names = ["net.keras.fault-F1.onnx", "net.keras.fault-F1.npz", "net.keras.fault-F2.onnx", "net.keras.fault-F3.npz"]
    others = ["net.keras.report.json", "net.keras", "other.keras.fault-F1.onnx", "net.keras.fault-.onnx.txt"]
    for name in (*names, *others):
        (tmp_path / name).touch()
    written, source, inputs = (tmp_path / name for name in (names[1], names[2], names[3]))
    options = Options.of({"inputs": inputs})
    assert stale(tmp_path / "net.keras", [written], source, options) == [tmp_path / names[0]]
