"""The deployment scripts ship a model within its budget and break the build otherwise."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import made_by

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = """
import keras, numpy as np
keras.utils.set_random_seed(0)
i = keras.Input((8, 8, 3))
x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(16, 3, activation="relu")(i))
photos = np.random.default_rng(1).normal(size=(60, 8, 8, 3)).astype("float32")
features = keras.Model(i, x).predict(photos, verbose=0)
kernel = np.random.default_rng(2).normal(size=(16, 4)) / features.std(0)[:, None]
head = keras.layers.Dense(4, activation="softmax")
model = keras.Model(i, head(x))
head.set_weights([kernel, -features.mean(0) @ kernel])
model.save("source.keras")
np.savez("x.npz", photos)
"""
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("litert_quantizer") is None, reason="litert-quantizer is not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(MODEL, tmp_path_factory.mktemp("deploy"))


@pytest.mark.parametrize("script", [("bash", "deploy_edge.sh"), (sys.executable, "deploy_edge.py")])
@pytest.mark.parametrize(("megabytes", "is_shipped"), [("1", True), ("0.0001", False)])
def test_the_build_breaks_where_the_budget_does(
    script: tuple[str, str], megabytes: str, is_shipped: bool, folder: Path
) -> None:
    program, name = script
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    target = f"{name}-{megabytes}.tflite"
    done = subprocess.run(
        [program, str(EXAMPLES / name), "source.keras", "x.npz", target, "50", megabytes],
        cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == is_shipped, done.stdout + done.stderr
    assert (folder / target).exists() == is_shipped
    assert (f"ship {target}" in done.stdout) == is_shipped
    assert is_shipped or "--max-size" in done.stdout + done.stderr
