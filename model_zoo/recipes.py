"""What each model is made of, as frozen values. Paths are inside the data folder or the cache folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from safeconvert.formats import FORMAT_NAMES as FORMATS
from safeconvert.inputs.preprocess import Preprocess

IMAGES = "images/dev"


@dataclass(frozen=True)
class Stored:
    """A file of the data folder, used where it lies."""

    path: str


@dataclass(frozen=True)
class Scripted:
    """A stand-in, written by a script of the data folder, which takes ``--images``, ``--n``, ``--threads`` and
    ``--out``. ``real`` is the file with real weights, which is used instead where the data folder holds it.
    """

    script: str
    photos: int
    real: str


@dataclass(frozen=True)
class Converted:
    """Converted by safeconvert from the same network in another format; kept only where it was verified."""

    format: str


@dataclass(frozen=True)
class Recipe:
    """One network in one format. ``origin`` says in words where its weights come from.

    ``arguments`` are what safeconvert's command line needs to read the file.
    """

    way: Stored | Scripted | Converted
    origin: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """A network in the five formats. ``variants`` are further files, by a name of their own."""

    name: str
    preprocess: Preprocess
    recipes: Mapping[str, Recipe]
    variants: Mapping[str, Recipe] = field(default_factory=lambda: MappingProxyType({}))

    def fitted_in(self, data: Path) -> int | None:
        """Of how many photos, spread evenly, the labels of a stand-in can be told apart; None for all of them."""
        ways = [recipe.way for recipe in self.recipes.values()]
        return next((way.photos for way in ways if isinstance(way, Scripted) and not (data / way.real).exists()), None)


def _covering(name: str, resize: int, *, imagenet: bool) -> Preprocess:
    """Shorter side to ``resize``, bicubic, centre crop; values by ImageNet's mean and std, or from -1 to 1."""
    if imagenet:
        scale, mean, std = 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return Preprocess(name, "shorter", "center", "bicubic", scale, mean, std, resize_size=resize)
    return Preprocess(name, "shorter", "center", "bicubic", 1 / 127.5, (1.0,), (1.0,), resize_size=resize)


def _converted(source: str, what: str, formats: tuple[str, ...]) -> dict[str, Recipe]:
    origin = f"{what}: derived by a verified safeconvert conversion from the {source} model"
    return {target: Recipe(Converted(source), origin) for target in formats}


MOBILENET_V2 = Network(
    name="mobilenet_v2",
    preprocess=_covering("mobilenet_v2_bicubic", 256, imagenet=False),
    recipes=MappingProxyType(
        {
            "torch": Recipe(
                Stored("models/mobilenet_v2_imagenet_torch.pth"),
                "real ImageNet weights in torchvision's architecture, whose padding differs from Keras's",
                ("--model-fn", "torchvision.models:mobilenet_v2", "--input-shape", "1,3,224,224"),
            ),
            "keras": Recipe(
                Stored("models/mobilenet_v2_imagenet.keras"),
                "real ImageNet weights, dequantised from a published int8 file, in keras.applications' graph",
            ),
            **_converted("keras", "real ImageNet weights", ("tf", "tflite")),
            **_converted("torch", "real ImageNet weights", ("onnx",)),
        }
    ),
    variants=MappingProxyType(
        {
            "tflite-int8": Recipe(
                Stored("models/mobilenet_v2_imagenet_int8.tflite"),
                "the published int8 file, real ImageNet weights",
            )
        }
    ),
)

INCEPTION_V3 = Network(
    name="inception_v3",
    preprocess=_covering("inception_v3_bicubic", 299, imagenet=False),
    recipes=MappingProxyType(
        {
            "keras": Recipe(
                Stored("models/inception_v3_imagenet.keras"),
                "real backbone of a five-class photo model; stand-in head: 1000 classes distilled from MobileNetV2",
            ),
            **_converted("keras", "real backbone, stand-in head", ("tf", "tflite", "onnx", "torch")),
        }
    ),
)

RESNET101 = Network(
    name="resnet101",
    preprocess=_covering("resnet101_bicubic", 256, imagenet=True),
    recipes=MappingProxyType(
        {
            "torch": Recipe(
                Scripted("make_resnet101.py", 200, "models/resnet101_imagenet_torch.pth"),
                "torchvision's resnet101; unless the data folder holds real weights a stand-in: seeded random weights, "
                "re-estimated BN and a fitted head",
                ("--model-fn", "torchvision.models:resnet101", "--input-shape", "1,3,224,224"),
            ),
            **_converted("torch", "stand-in weights, or the data folder's", ("onnx", "keras", "tf")),
            # By TFLiteConverter, whichever environments are installed: the same file on every machine.
            **_converted("keras", "stand-in weights, or the data folder's", ("tflite",)),
        }
    ),
)

NETWORKS: Mapping[str, Network] = MappingProxyType(
    {network.name: network for network in (MOBILENET_V2, INCEPTION_V3, RESNET101)}
)

__all__ = ["FORMATS", "IMAGES", "NETWORKS", "Converted", "Network", "Recipe", "Scripted", "Stored"]
