"""What a person writes without safeconvert: MobileNetV2 from PyTorch to Keras, and its labels looked at once.

    python benchmarks/plain_torch2keras.py WEIGHTS.pth PHOTOS/ OUT.keras

The last line of its output is a JSON object of seconds. ``overhead.py`` times it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

weights, photos, output = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
seconds: dict[str, float] = {}
since = time.monotonic()


def lap(what: str) -> None:
    global since
    seconds[what] = round(time.monotonic() - since, 3)
    since = time.monotonic()


# PyTorch before TensorFlow: the other way round the two copies of LLVM abort the process.
import torch  # noqa: E402

try:
    import torchvision
except (ImportError, RuntimeError):  # a torchvision without its compiled part
    for name in [n for n in sys.modules if n.startswith("torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
import keras  # noqa: E402
import onnx  # noqa: E402
import onnx2keras  # noqa: E402

# onnx2keras's own result neither runs on a CPU nor loads again: the same step as safeconvert's mends it.
from safeconvert.converters.keras_rebuild.channels_last import channels_last  # noqa: E402

lap("imports")

source = torchvision.models.mobilenet_v2()
source.load_state_dict(torch.load(weights, weights_only=True))
source.eval()
lap("load")

between = output + ".onnx"
torch.onnx.export(
    source,
    (torch.randn(2, 3, 224, 224),),
    between,
    dynamo=False,
    opset_version=13,
    input_names=["x"],
    output_names=["output_0"],
    dynamic_axes={"x": {0: "batch"}, "output_0": {0: "batch"}},
)
lap("torch->onnx")

graph = onnx.load(between)
target: Any = channels_last(
    onnx2keras.onnx_to_keras(graph, ["x"], name_policy="renumerate", verbose=False, change_ordering=False)
)
target.save(output)
keras.backend.set_image_data_format("channels_last")
lap("onnx->keras")

images = []
for path in sorted(photos.iterdir()):
    image = Image.open(path).convert("RGB")
    ratio = 256 / min(image.size)
    image = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    images.append(np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 127.5 - 1)
x = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
lap("decode")

with torch.inference_mode():
    expected = np.concatenate([source(torch.from_numpy(x[i : i + 16])).numpy() for i in range(0, len(x), 16)])
lap("source")

outputs = np.concatenate([target.predict_on_batch(x[i : i + 16]) for i in range(0, len(x), 16)])
lap("target")

differ = int((expected.argmax(1) != outputs.argmax(1)).sum())
print(f"{differ} of {len(x)} labels differ, max abs {np.abs(expected - outputs).max():.1e}")
print(json.dumps(seconds))
