"""Three small networks with seeded weights whose labels vary, and the pictures to compare them on.

Made so that a pass over all types and formats takes minutes. The last layers are standardised over the pictures: every
class is somebody's label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from safeconvert.inputs.preprocess import Preprocess

# Name -> framework, height, width.
SMALL = {
    "small_residual": ("torch", 24, 32),
    "small_depthwise": ("keras", 24, 24),
    "small_branches": ("keras", 12, 9),
}
PREPROCESS = Preprocess("small", "stretch", "none", "bilinear", 1 / 255, (0.45, 0.5, 0.55), (0.25, 0.3, 0.2))
CLASSES = 8
Array = np.ndarray[Any, Any]


def pictures(folder: Path, count: int) -> Path:
    """``count`` PNG files of 40 x 48 pixels: coloured waves and blocks, another mixture in each."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:1:40j, 0:1:48j]
    for number in range(count):
        path = folder / f"{number:04d}.png"
        if path.exists():
            continue
        random = np.random.default_rng((7, number))
        channels = []
        for _ in range(3):
            fx, fy, phase = random.uniform(-4, 4), random.uniform(-4, 4), random.uniform(0, 6.3)
            wave = np.cos(6.3 * (fx * x + fy * y) + phase) * random.uniform(0.1, 0.5) + random.uniform(0.2, 0.8)
            top, left = random.integers(0, 28), random.integers(0, 34)
            wave[top : top + 14, left : left + 10] += random.uniform(-0.6, 0.6)
            channels.append(wave)
        pixels = np.stack(channels, -1) + random.normal(0, 0.05, (40, 48, 3))
        Image.fromarray((255 * pixels.clip(0, 1)).astype("uint8")).save(path)
    return folder


def batch(folder: Path, preprocess: Preprocess, height: int, width: int) -> Array:
    """All images of a folder, in the order in which safeconvert reads them: float32 NHWC."""
    from safeconvert.inputs.images import ImageInputs

    pixels = []
    for path in ImageInputs.scan(folder)[0]:
        with Image.open(path) as image:
            pixels.append(preprocess.pixels(image, height, width, 3))
    return preprocess.values(np.stack(pixels))


def make(name: str, out: Path) -> None:
    framework, height, width = SMALL[name]
    images = batch(pictures(out.parent / "small-pictures", 96), PREPROCESS, height, width)
    if framework == "torch":
        _residual(images, out)
    else:
        import keras

        keras.utils.clear_session()  # layers are numbered from the start: the same names in every run
        {"small_depthwise": _depthwise, "small_branches": _branches}[name](images, out)


def _standard(features: Array, random: np.random.Generator, spread: float = 2.0) -> tuple[Array, Array]:
    """Weights (in, out) and bias of a last layer whose logits have mean 0 and the given spread over the pictures."""
    scale = features.std(0) + 1e-3
    weights = random.standard_normal((features.shape[1], CLASSES)) / scale[:, None]
    logits = features @ weights
    weights = weights * (spread / logits.std(0))
    return weights.astype("float32"), (-(features @ weights).mean(0)).astype("float32")


def _residual(images: Array, out: Path) -> None:
    import torch
    from torch import nn

    class Block(nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
            self.bn2 = nn.BatchNorm2d(channels)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(x + self.bn2(self.conv2(y)))

    torch.manual_seed(11)
    stem = [nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.LeakyReLU(0.2)]
    tail = [nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU6(), nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(16)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)]
    net = nn.Sequential(*stem, Block(12), Block(12), *tail, *end)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # cumulative: exactly the pictures' own statistics
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
        net.train()(x)
        features = net.eval()[:-1](x).numpy()
        weights, bias = _standard(features, np.random.default_rng(1))
        net[-1].weight.copy_(torch.from_numpy(weights.T.copy()))
        net[-1].bias.copy_(torch.from_numpy(bias))
        program = torch.export.export(net, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, out)


def _norm(layer: Any, inputs: Any, images: Array, random: np.random.Generator) -> Any:
    """A BatchNormalization whose statistics are the pictures' own."""
    import keras

    values = np.asarray(keras.Model(inputs, layer)(images))
    bn = keras.layers.BatchNormalization()
    out = bn(layer)
    axes = tuple(range(values.ndim - 1))
    channels = values.shape[-1]
    bn.set_weights(
        [
            random.uniform(0.5, 1.5, channels),
            random.normal(0, 0.3, channels),
            values.mean(axes),
            values.var(axes) + 1e-3,
        ]
    )
    return out


def _depthwise(images: Array, out: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    random = np.random.default_rng(5)
    inputs = keras.Input((24, 24, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(inputs)
    x = layers.ReLU(max_value=6.0)(_norm(layers.Conv2D(12, 3, strides=2)(x), inputs, images, random))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.LeakyReLU(negative_slope=0.1)(_norm(y, inputs, images, random))
    y = _norm(layers.Conv2D(12, 1)(y), inputs, images, random)
    x = layers.Add()([x, y])
    slopes = keras.initializers.RandomUniform(0.05, 0.5, seed=2)
    x = layers.PReLU(alpha_initializer=slopes, shared_axes=[1, 2])(x)
    x = _norm(layers.AveragePooling2D(3, strides=2, padding="same")(x), inputs, images, random)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    last = layers.Dense(CLASSES)
    features = np.asarray(keras.Model(inputs, x)(images))
    model = keras.Model(inputs, layers.Softmax()(last(x)))
    last.set_weights(list(_standard(features, random)))
    model.save(out)


def _branches(images: Array, out: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(6)
    random = np.random.default_rng(6)
    inputs = keras.Input((12, 9, 3))
    x = _norm(layers.Conv2D(10, 3, padding="same")(inputs), inputs, images, random)
    x = layers.Activation("elu")(x)
    a = layers.Conv2D(8, (1, 3), padding="same", activation="relu")(x)
    b = layers.Conv2D(8, (3, 1), padding="same", activation="tanh")(x)
    c = layers.MaxPooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([a, b, c])
    x = layers.Activation("relu")(_norm(layers.Conv2D(14, 3, strides=(2, 1))(x), inputs, images, random))
    first = layers.Flatten()(layers.AveragePooling2D((1, 7))(x))
    second = layers.GlobalAveragePooling2D()(x)
    heads = layers.Dense(CLASSES, name="fine"), layers.Dense(CLASSES, name="coarse")
    features = [np.asarray(part) for part in keras.Model(inputs, [first, second])(images)]
    model = keras.Model(inputs, [heads[0](first), heads[1](second)])
    for head, feature in zip(heads, features, strict=True):
        head.set_weights(list(_standard(feature, random)))
    model.save(out)
