"""``safeconvert demo``, end to end: the real packages, the real converters, and the files it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safeconvert.cli import demo
from safeconvert.errors import NotInstalled

PHOTO, LABEL = "imagenet_00_243.jpg", 243  # a bull mastiff
KERAS = """
import sys, keras, numpy
model = keras.saving.load_model(sys.argv[1])
print(int(model.predict(numpy.load(sys.argv[2]).transpose(0, 3, 1, 2), verbose=0).argmax()))
"""
TFLITE = """
import sys, numpy
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(sys.argv[1])
model.allocate_tensors()
model.set_tensor(model.get_input_details()[0]["index"], numpy.load(sys.argv[2]))
model.invoke()
print(int(model.get_tensor(model.get_output_details()[0]["index"]).argmax()))
"""


def test_gives_a_keras_and_a_tflite_model_that_name_the_photo(tmp_path: Path) -> None:
    (tmp_path / "efficientnet_lite0.keras").write_bytes(b"left by an earlier demo")
    ran = _python("-m", "safeconvert", "demo", "-o", str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "demo: verified"
    for name in ("efficientnet_lite0.keras", "efficientnet_lite0.tflite"):
        report = json.loads((tmp_path / f"{name}.report.json").read_text())
        assert report["check"]["inputs"]["count"] == 20
        assert report["check"]["inputs"]["skipped"] == []
    np.save(tmp_path / "x.npy", _as_trained(tmp_path / "imagenet_photos" / PHOTO))
    assert _label(KERAS, tmp_path / "efficientnet_lite0.keras") == LABEL
    assert _label(TFLITE, tmp_path / "efficientnet_lite0.tflite") == LABEL


def test_says_what_to_install_where_a_package_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "PHOTOS", ("no_such_package", "data"))
    with pytest.raises(NotInstalled, match=r"no_such_package: pip install 'safeconvert\[demo\]'"):
        demo.run(tmp_path, quiet=True, verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_importing_it_imports_no_framework() -> None:
    heavy = "'torch', 'tensorflow', 'rich', 'numpy', 'efficientnet_lite_pytorch'"
    ran = _python("-c", f"import safeconvert.cli.demo, sys; print([n for n in ({heavy}) if n in sys.modules])")
    assert ran.stdout.strip() == "[]", ran.stderr


def _as_trained(photo: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The model's own preprocessing, written out: NHWC (1, 224, 224, 3)."""
    image = Image.open(photo).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return ((pixels - 127) / 128)[None]


def _label(code: str, model: Path) -> int:
    ran = _python("-c", code, str(model), str(model.parent / "x.npy"))
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout.split()[-1])


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
