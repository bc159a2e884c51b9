"""Preprocessing as timm, Hugging Face and torchvision describe it gives the pixels that they give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safeconvert.errors import BadInput
from safeconvert.inputs.foreign_preprocess import interpolation_named, of_timm, preprocess_of
from safeconvert.inputs.presets import PRESETS, load_preprocess
from safeconvert.live.transforms import preprocess_of_object
from tests.support.live_scripts import run_live

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIT = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "image_processor_type": "ViTImageProcessor", "resample": 2, "rescale_factor": 1 / 255,
    "size": {"height": 224, "width": 224},
}  # fmt: skip
CLIP = {
    "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": list(MEAN), "image_std": list(STD), "resample": 3,
    "size": 224,
}  # fmt: skip
CONVNEXT = {
    "crop_pct": 0.875, "do_normalize": True, "do_resize": True, "image_mean": list(MEAN), "image_std": list(STD),
    "image_processor_type": "ConvNextImageProcessor", "resample": 3, "size": {"shortest_edge": 224},
}  # fmt: skip
TIMM = {"architecture": "resnet50", "input_size": (3, 224, 224), "crop_pct": 0.95, "interpolation": "bicubic", "mean": MEAN, "std": STD}  # fmt: skip  # noqa: E501


def test_hugging_faces_files_are_read(tmp_path: Path) -> None:
    for config, words in (
        (VIT, "stretched to 224x224 (bilinear), RGB, scaled by 1/255, mean 0.5/0.5/0.5, std 0.5/0.5/0.5"),
        (CLIP, "shorter side 224 (bicubic), centre crop 224x224, RGB, scaled by 1/255, ImageNet mean and std"),
        (CONVNEXT, "shorter side 256 (bicubic), centre crop 224x224, RGB, scaled by 1/255, ImageNet mean and std"),
        ({**CONVNEXT, "size": {"shortest_edge": 384}}, "stretched to 384x384 (bicubic), RGB, scaled by 1/255, Im"),
        ({**VIT, "do_rescale": False, "do_normalize": False}, "stretched to 224x224 (bilinear), RGB"),
    ):
        path = tmp_path / "preprocessor_config.json"
        path.write_text(json.dumps(config))
        assert load_preprocess(path).describe(224, 224).startswith(words)
        assert preprocess_of_object(config) == load_preprocess(path)
    assert load_preprocess(path).name == "ViTImageProcessor"


def test_timms_configuration_is_read() -> None:
    assert of_timm(TIMM).describe(224, 224).startswith("shorter side 235 (bicubic), centre crop 224x224, RGB")
    assert of_timm({**TIMM, "crop_mode": "squash"}).describe(224, 224).startswith("stretched to 235x235 (bicubic), c")
    assert of_timm(TIMM).crop_size == (224, 224)


def test_safeconverts_own_form_is_read_too() -> None:
    assert preprocess_of(PRESETS["torch"].to_json()) == PRESETS["torch"]
    assert preprocess_of_object(PRESETS["torch"]) == PRESETS["torch"]


@pytest.mark.parametrize(
    ("config", "saying"),
    [
        ({**VIT, "resample": None}, "has 'resample' None"),
        ({**VIT, "size": {"longest_edge": 8}}, "has no counterpart here"),
        ({**VIT, "do_pad": True}, "has do_pad"),
        ({key: value for key, value in VIT.items() if key != "size"}, "has no 'size'"),
        ({key: value for key, value in VIT.items() if key != "image_std"}, "has no 'image_std'"),
        ({**TIMM, "crop_mode": "border"}, "crop_mode 'border'"),
        ({"mean": 3}, "JSON form"),
    ],
)
def test_what_has_no_counterpart_is_refused(config: dict[str, Any], saying: str) -> None:
    with pytest.raises(BadInput, match=saying):
        preprocess_of(config)


def test_a_filter_that_pillow_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match="'random' is not one of"):
        interpolation_named("random")


def test_transforms_of_torchvision_give_torchvisions_values(tmp_path: Path) -> None:
    run_live(
        "torch",
        """
import torch
from safeconvert.runtimes.pytorch.model import import_torchvision
import_torchvision()
import torchvision
from PIL import Image
from torchvision.transforms import v2
from safeconvert.live.transforms import preprocess_of_object

T = torchvision.transforms
mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
nearest = T.InterpolationMode.NEAREST
to_unit_range = v2.ToDtype(torch.float32, scale=True)
photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 50, 3)).astype("uint8"))
for transform in (
    torchvision.models.ResNet50_Weights.DEFAULT.transforms(crop_size=32, resize_size=40),
    T.Compose([T.Resize(40), T.CenterCrop(32), T.ToTensor(), T.Normalize(mean, std)]),
    T.Compose([T.Resize((32, 32), interpolation=nearest), T.ToTensor()]),
    T.Compose([T.CenterCrop(32), T.PILToTensor(), T.ConvertImageDtype(torch.float32)]),
    v2.Compose([v2.Resize(40), v2.CenterCrop(32), v2.ToImage(), to_unit_range, v2.Normalize(mean, std)]),
    v2.Compose([v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32)]),
):
    ours = preprocess_of_object(transform)
    values = ours.values(ours.pixels(photo, 32, 32, 3)[None])[0].transpose(2, 0, 1)
    np.testing.assert_allclose(values, transform(photo).numpy(), atol=1e-6)
for wrong in (T.Compose([T.RandomCrop(32), T.ToTensor()]), T.Compose([T.Resize(40), T.Resize(32)]), T.ToTensor()):
    try:
        preprocess_of_object(wrong)
    except safeconvert.BadInput as error:
        assert "has no counterpart" in str(error) or "says nothing of its steps" in str(error)
    else:
        raise AssertionError(wrong)
""",
        tmp_path,
    )


def test_an_image_processor_is_read_by_its_dictionary() -> None:
    class Processor:
        def to_dict(self) -> dict[str, Any]:
            return VIT

    assert preprocess_of_object(Processor()) == preprocess_of(VIT)
