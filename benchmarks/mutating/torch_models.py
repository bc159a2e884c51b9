"""torchvision's SSDLite and DeepLabV3 and their mutants: ``python -m benchmarks.mutating.torch_models NAME WANTED...``.

WANTED is ``SEED:FORMAT:FOLDER``. SEED 0 is the healthy model, with seeded weights and the running statistics of seeded
pictures; FORMAT is ``torch``, ``onnx`` or ``onnx-int8``. Writes ``FOLDER/model.<suffix>``, ``FOLDER/inputs.npz`` and
``FOLDER/mutation.json``.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.mutating.drawing import LEAST_CHANGE, ROWS, Mutation, change, images, wanted, write

Array = np.ndarray[Any, Any]
SIDE = 64
MEASURED = 8  # pictures that a mutant's change is measured on
CLASSES = 5


def make_torchvision_importable() -> None:
    """Declare the operators that a torchvision without its compiled part lacks."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


OPERATORS = torch.library.Library("torchvision", "FRAGMENT")


class Detector(nn.Module):
    """SSDLite before its non-maximum suppression: offsets of boxes and class logits of every anchor."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.detection import ssdlite320_mobilenet_v3_large

        whole = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
        self.backbone, self.head = whole.backbone, whole.head

    def forward(self, picture: Any) -> Any:
        results = self.head(list(self.backbone(picture).values()))
        return {"boxes": results["bbox_regression"], "cls_logits": results["cls_logits"]}


class Segmenter(nn.Module):
    """DeepLabV3 with its auxiliary head: two maps of class logits."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

        self.whole = deeplabv3_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True
        )

    def forward(self, picture: Any) -> Any:
        results = self.whole(picture)
        return {"mask_logits": results["out"], "aux_logits": results["aux"]}


class Swapped(nn.Module):
    """A model with its two outputs exchanged."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, picture: Any) -> Any:
        results = self.inner(picture)
        return dict(zip(results, reversed(results.values()), strict=True))


MODELS: dict[str, Callable[[], nn.Module]] = {"SSDLite": Detector, "DeepLabV3": Segmenter}
CLASS_AXES: dict[type[nn.Module], tuple[int | None, ...]] = {Detector: (None, -1), Segmenter: (1, 1)}
"""The axis of each output along which a class is chosen."""
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish)


def healthy(name: str) -> nn.Module:
    """The model with seeded weights; its normalisations know the pictures, so that nothing vanishes."""
    torch.manual_seed(7)
    model = MODELS[name]()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average
    with torch.no_grad():
        model.train()(torch.from_numpy(pictures(10)))
    return model.eval()


def pictures(seed: int) -> Array:
    array = images(np.random.default_rng(seed), ROWS, SIDE, SIDE, 3)
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def places(model: nn.Module) -> list[tuple[str, str]]:
    """Where a mutation can be, by kind."""
    result = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            result += [("weights scaled", name)]
            result += [("bias moved", name), ("channels swapped", name)] if module.bias is not None else []
            if module.kernel_size[0] == module.kernel_size[1] > 1:
                result.append(("axes swapped", name))
            if isinstance(module.padding, tuple) and module.padding[0] > 0:
                result.append(("padding moved", name))
        if isinstance(module, nn.BatchNorm2d):
            result += [("bias moved", name)]
        if isinstance(module, ACTIVATIONS):
            result.append(("activation removed", name))
    return result + [("outputs swapped", "")] * isinstance(model, Segmenter)


def changed(model: nn.Module, mutation: Mutation, random: np.random.Generator) -> nn.Module:
    """A copy of the model with the mutation."""
    model = copy.deepcopy(model)
    if mutation.kind == "outputs swapped":
        return Swapped(model).eval()
    module: Any = model.get_submodule(mutation.place)
    with torch.no_grad():
        if mutation.kind == "weights scaled":
            module.weight *= 1.7
        elif mutation.kind == "bias moved":
            module.bias[int(random.integers(len(module.bias)))] += 1.5
        elif mutation.kind == "axes swapped":
            module.weight.copy_(module.weight.transpose(2, 3).clone())
        elif mutation.kind == "channels swapped":
            order = np.roll(np.arange(len(module.bias)), 1)
            module.weight.copy_(module.weight[order].clone())
            module.bias.copy_(module.bias[order].clone())
        elif mutation.kind == "padding moved":
            (up, left), module.padding = module.padding, (0, 0)
            _replace(model, mutation.place, nn.Sequential(nn.ZeroPad2d((2 * left, 0, 2 * up, 0)), module))
        else:
            _replace(model, mutation.place, nn.Identity())
    return model.eval()


def _replace(model: nn.Module, place: str, module: nn.Module) -> None:
    parent, _, name = place.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def mutated(model: nn.Module, seed: int, x: Array, *, is_quantized: bool) -> tuple[nn.Module, Mutation]:
    """A mutant whose outputs move far enough. Raises ValueError where none of 64 draws does."""
    random = np.random.default_rng(seed)
    known = places(model)
    kinds = sorted({kind for kind, _ in known})
    kinds = kinds[seed % len(kinds) :] + kinds[: seed % len(kinds)]  # each kind has its turn
    x = x[:MEASURED]
    before = _results(model, x)
    for attempt in range(64):
        at = [place for place in known if place[0] == kinds[attempt // 8 % len(kinds)]]
        mutation = Mutation(*at[int(random.integers(len(at)))])
        mutant = changed(model, mutation, random)
        moved = change(before, _results(mutant, x), CLASS_AXES[type(model)], labels=is_quantized)
        if moved >= LEAST_CHANGE[is_quantized]:
            return mutant, Mutation(mutation.kind, mutation.place, moved)
    raise ValueError("no mutation moves an output far enough")


def _results(model: nn.Module, x: Array) -> list[Array]:
    with torch.no_grad():
        return [part.numpy() for part in model(torch.from_numpy(x)).values()]


def save(model: nn.Module, format_name: str, folder: Path, x: Array) -> None:
    """Write the model as ``folder/model.<suffix>``."""
    example = torch.from_numpy(x[:2])
    batch = torch.export.Dim("batch", min=1, max=1024)
    if format_name == "torch":
        program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
        torch.export.save(program, folder / "model.pt2")
        return
    names = list(model(example))
    axes = {name: {0: "batch"} for name in ("picture", *names)}
    path = folder / ("model.onnx" if format_name == "onnx" else "float.onnx")
    torch.onnx.export(
        model, (example,), str(path), input_names=["picture"], output_names=names, dynamic_axes=axes,
        opset_version=13, dynamo=False,
    )  # fmt: skip
    if format_name == "onnx-int8":
        _quantize(path, folder / "model.onnx", x)


def _quantize(path: Path, target: Path, x: Array) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter(range(0, ROWS // 2, 4))

        def get_next(self) -> Any:
            row = next(self.rows, None)
            return None if row is None else {"picture": x[row : row + 4]}

    quantize_static(
        str(path), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
    )  # fmt: skip


def main() -> None:
    name = sys.argv[1]
    make_torchvision_importable()
    torch.set_num_threads(1)
    model, x = healthy(name), pictures(1)
    for text in sys.argv[2:]:
        seed, format_name, folder = wanted(text)
        chosen, mutation = model, None
        if seed:
            chosen, mutation = mutated(model, seed, x, is_quantized=format_name.endswith("int8"))
        np.savez(folder / "inputs.npz", picture=x)
        save(chosen, format_name, folder, x)
        write(folder, mutation)


if __name__ == "__main__":
    main()
