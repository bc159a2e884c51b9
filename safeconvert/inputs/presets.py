"""Preprocessing by name: the frameworks' customs and the official ones of well-known model families.

Sources
- ``keras`` and the unprefixed families: ``keras.applications.imagenet_utils.preprocess_input`` (modes tf,
  caffe, torch) after ``keras.utils.load_img(path, target_size=...)``, which stretches, by default *nearest*.
- ``torch`` and ``torchvision_*``: ``torchvision.transforms._presets.ImageClassification`` with the numbers
  of each family's ``Weights.DEFAULT``; ``*_v1`` is ``IMAGENET1K_V1``.
- ``vit`` and ``clip``: ``preprocessor_config.json`` of google/vit-base-patch16-224 and openai/clip-vit-base-patch32.
- ``efficientnet_lite*``: MEAN_RGB 127 and STDDEV_RGB 128 of ``efficientnet_lite_builder.py`` and the centre
  crop of size/(size+32) in tensorflow/tpu; bicubic, as timm does to match TensorFlow's resize.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from pathlib import Path

from ..errors import BadInput
from .foreign_preprocess import preprocess_of
from .preprocess import ChannelOrder, Interpolation, Preprocess, form

_NAMED = ("torch", "keras", "caffe", "unit", "raw")


def load_preprocess(name_or_json_path: str | Path) -> Preprocess:
    """A preset by name (``PRESETS``; case and ``-`` do not matter) or a JSON file.

    The file is in ``from_json``'s form, timm's ``pretrained_cfg`` or a ``preprocessor_config.json`` of Hugging Face.
    Raises ``BadInput`` for an unknown name, showing near ones, and for a file that cannot be read or is in none of
    these forms.
    """
    path = Path(name_or_json_path)
    name = str(name_or_json_path).strip().lower().replace("-", "_")
    if is_ambiguous(name):
        raise BadInput(
            f"{name!r} is prepared differently by framework: keras_{name} is {_words(f'keras_{name}')}; "
            f"torchvision_{name} is {_words(f'torchvision_{name}')}.\nName one of the two."
        )
    for known in (name, ALIASES.get(name, ""), f"torchvision_{name}"):
        if known in PRESETS:
            return PRESETS[known]
    if path.suffix.lower() != ".json" and not _is_file(path):
        bare = (known.removeprefix("torchvision_") for known in PRESETS)
        near = ", ".join(difflib.get_close_matches(name, {*PRESETS, *ALIASES, *bare}, 4, 0.5) or _NAMED)
        raise BadInput(f"unknown preprocess {str(name_or_json_path)!r:.80}; near names: {near}.\n{form()}")
    try:
        data = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: bad JSON and bad UTF-8 alike
        raise BadInput(f"cannot read preprocess file {path}: {error}") from error
    try:
        loaded = preprocess_of(data) if isinstance(data, dict) else Preprocess.from_json(data)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    return loaded if "name" in data or "schema" not in data else replace(loaded, name=path.stem)


def is_ambiguous(name: str) -> bool:
    """Do Keras and torchvision prepare images differently for the model family of that name?"""
    return f"keras_{name}" in PRESETS and f"torchvision_{name}" in PRESETS


def _words(name: str) -> str:
    return PRESETS[name].describe(224, 224)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # JSON text given in place of a file name is too long for a path
        return False


def _covering(name: str, resize: int, crop: int, interpolation: Interpolation = "bilinear") -> Preprocess:
    """torchvision's evaluation transform; the ratio lets it follow a model of another input size."""
    return Preprocess(
        name, "shorter", "center", interpolation, 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
        resize_ratio=resize / crop,
    )  # fmt: skip


def _stretched(name: str, mode: str, interpolation: Interpolation = "nearest") -> Preprocess:
    """keras.applications: ``load_img`` to the model's size, then ``preprocess_input`` in the given mode."""
    scale, mean, std = {
        "tf": (1 / 127.5, (1.0,), (1.0,)),
        "torch": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "caffe": (1.0, (103.939, 116.779, 123.68), (1.0,)),
        "unit": (1 / 255, (0.0,), (1.0,)),
        "raw": (1.0, (0.0,), (1.0,)),
    }[mode]
    order: ChannelOrder = "bgr" if mode == "caffe" else "rgb"
    return Preprocess(name, "stretch", "none", interpolation, scale, mean, std, order)


def _lite(name: str, size: int) -> Preprocess:
    ratio = (size + 32) / size
    return Preprocess(name, "shorter", "center", "bicubic", 1.0, (127.0,), (128.0,), resize_ratio=ratio)


_KERAS_MODES = {
    "tf": "keras mobilenet mobilenet_v1 mobilenet_v2 inception_v3 inception_resnet_v2 xception nasnet "
    "nasnet_mobile nasnet_large resnet50_v2 resnet101_v2 resnet152_v2",
    "caffe": "caffe resnet50 resnet101 resnet152 vgg16 vgg19",
    "torch": "densenet densenet121 densenet169 densenet201",
    "raw": "efficientnet efficientnet_v2 mobilenet_v3 convnext",  # these rescale inside the model
}


_TORCHVISION_256 = (
    "alexnet densenet121 googlenet mnasnet1_0 mobilenet_v2_v1 mobilenet_v3_large_v1 mobilenet_v3_small "
    "resnet18 resnet34 resnet50_v1 resnet101_v1 shufflenet_v2_x1_0 squeezenet1_1 vgg11 vgg16 vgg19 vit_b_16"
)


_TORCHVISION_232 = "mobilenet_v2 mobilenet_v3_large regnet_y_400mf resnet50 resnet101 resnext50_32x4d convnext_base"


_TORCHVISION: dict[str, tuple[int, int, Interpolation]] = {
    **dict.fromkeys(_TORCHVISION_256.split(), (256, 224, "bilinear")),
    **dict.fromkeys(_TORCHVISION_232.split(), (232, 224, "bilinear")),
    "convnext_tiny": (236, 224, "bilinear"),
    "convnext_small": (230, 224, "bilinear"),
    "inception_v3": (342, 299, "bilinear"),
    "efficientnet_b0": (256, 224, "bicubic"),
    "efficientnet_b1": (255, 240, "bilinear"),
    "efficientnet_b1_v1": (256, 240, "bicubic"),
    "efficientnet_b2": (288, 288, "bicubic"),
    "efficientnet_b3": (320, 300, "bicubic"),
    "efficientnet_b4": (384, 380, "bicubic"),
    "efficientnet_v2_s": (384, 384, "bilinear"),
    "swin_t": (232, 224, "bicubic"),
}


PRESETS: dict[str, Preprocess] = {
    preset.name: preset
    for preset in (
        _covering("torch", 256, 224),
        _stretched("unit", "unit", "bilinear"),
        _stretched("raw", "raw", "bilinear"),
        replace(_stretched("mnist", "unit", "bilinear"), name="mnist", mean=(0.1307,), std=(0.3081,)),
        *(_stretched(name, mode) for mode, names in _KERAS_MODES.items() for name in names.split()),
        *(_stretched(f"keras_{name}", mode) for mode, names in _KERAS_MODES.items() for name in names.split()[1:]),
        replace(_stretched("vit", "unit", "bilinear"), name="vit", mean=(0.5,) * 3, std=(0.5,) * 3),
        Preprocess(
            "clip",
            "shorter",
            "center",
            "bicubic",
            1 / 255,
            (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711),
            resize_ratio=1.0,
        ),
        *(_covering(f"torchvision_{name}", *numbers) for name, numbers in _TORCHVISION.items()),
        *(_lite(f"efficientnet_lite{i}", size) for i, size in enumerate((224, 240, 260, 280, 300))),
    )
}


ALIASES = {"imagenet": "torch", "pytorch": "torch", "torchvision": "torch", "tensorflow": "keras"}
"""Other names of presets. A torchvision family needs no prefix either, where Keras has none of that name."""
