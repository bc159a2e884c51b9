"""What a person writes without safeconvert: MobileNetV2 from Keras to TFLite, and its labels looked at once.

    python benchmarks/plain_keras2tflite.py MODEL.keras PHOTOS/ OUT.tflite

The last line of its output is a JSON object of seconds. ``overhead.py`` times it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

model, photos, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
seconds: dict[str, float] = {}
since = time.monotonic()


def lap(what: str) -> None:
    global since
    seconds[what] = round(time.monotonic() - since, 3)
    since = time.monotonic()


import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

lap("imports")

source = keras.saving.load_model(model, compile=False)
lap("load")

output.write_bytes(tf.lite.TFLiteConverter.from_keras_model(source).convert())
lap("keras->tflite")

images = []
for path in sorted(photos.iterdir()):
    image = Image.open(path).convert("RGB")
    ratio = 256 / min(image.size)
    image = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    images.append(np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 127.5 - 1)
x = np.stack(images)
lap("decode")

expected = np.concatenate([source.predict_on_batch(x[i : i + 16]) for i in range(0, len(x), 16)])
lap("source")

target = Interpreter(model_path=str(output), num_threads=os.cpu_count() or 1)
target.allocate_tensors()
takes, gives = target.get_input_details()[0]["index"], target.get_output_details()[0]["index"]
rows = []
for row in range(len(x)):
    target.set_tensor(takes, x[row : row + 1])
    target.invoke()
    rows.append(target.get_tensor(gives).copy())
outputs = np.concatenate(rows)
lap("target")

differ = int((expected.argmax(1) != outputs.argmax(1)).sum())
print(f"{differ} of {len(x)} labels differ, max abs {np.abs(expected - outputs).max():.1e}")
print(json.dumps(seconds))
