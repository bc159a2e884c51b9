"""How an image becomes numbers: geometry, arithmetic, presets, and the JSON that carries them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safeconvert.errors import BadInput
from safeconvert.inputs.contract import contract
from safeconvert.inputs.preprocess import Preprocess
from safeconvert.inputs.presets import PRESETS, load_preprocess

RAW = PRESETS["raw"]
AS_IS = replace(RAW, resize="none")


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise over a slope: no symmetry that could hide a flip or a swap of height and width."""
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([200 * x / width, 150 * y / height, 60 + 0 * x], axis=-1)
    noise = np.random.default_rng(seed).uniform(0, 55, (height, width, 3))
    return Image.fromarray((base + noise).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return Image.open(stream)


# Geometry


@pytest.mark.parametrize("size", [(100, 64), (64, 100), (333, 75), (33, 20), (31, 47), (39, 37), (37, 39)])
def test_torch_preset_is_torchvisions_resize_and_centre_crop(size: tuple[int, int]) -> None:
    image = photo(*size)
    width, height = size
    short, long = 37, int(37 * max(size) / min(size))
    resized = image.resize((short, long) if width <= height else (long, short), Image.Resampling.BILINEAR)
    left, top = round((resized.width - 32) / 2.0), round((resized.height - 32) / 2.0)
    expected = np.asarray(resized.crop((left, top, left + 32, top + 32)))
    assert np.array_equal(PRESETS["torch"].pixels(image, 32, 32, 3), expected)


def test_inception_shorter_side_is_342_and_resnet_v2_weights_use_232() -> None:
    assert PRESETS["torchvision_inception_v3"]._resized((500, 400), 299, 299) == (427, 342)
    assert PRESETS["torchvision_resnet50"]._resized((400, 500), 224, 224) == (232, 290)
    assert PRESETS["torchvision_resnet50_v1"]._resized((400, 500), 224, 224) == (256, 320)
    assert PRESETS["torchvision_efficientnet_b0"].interpolation == "bicubic"


@pytest.mark.parametrize("size", [(500, 10), (10, 500), (97, 89), (64, 128), (7, 7), (1, 40)])
@pytest.mark.parametrize("model", [(48, 96), (96, 48), (30, 31)])
def test_crop_always_fits_a_model_that_is_not_square(size: tuple[int, int], model: tuple[int, int]) -> None:
    for ratio in (1.0, 256 / 224):
        width, height = replace(PRESETS["torch"], resize_ratio=ratio)._resized(size, *model)
        assert width >= round(ratio * model[1])
        assert height >= round(ratio * model[0])
        assert width == round(ratio * model[1]) or height == round(ratio * model[0])


def test_stretch_gives_height_by_width_and_not_the_reverse() -> None:
    image = Image.new("RGB", (60, 40))
    image.paste((255, 0, 0), (0, 0, 60, 20))  # the top half is red
    pixels = PRESETS["keras"].pixels(image, 20, 50, 3)
    assert pixels.shape == (20, 50, 3)
    assert (pixels[:10] == (255, 0, 0)).all()
    assert (pixels[10:] == 0).all()


def test_keras_preset_is_keras_load_img() -> None:
    image = photo(61, 43)
    expected = np.asarray(image.resize((50, 20), Image.Resampling.NEAREST))
    assert np.array_equal(PRESETS["keras"].pixels(image, 20, 50, 3), expected)


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"])
def test_each_interpolation_is_the_one_of_its_name(name: Any) -> None:
    image = photo(61, 43)
    expected = np.asarray(image.resize((50, 20), Image.Resampling[name.upper()]))
    assert np.array_equal(replace(RAW, interpolation=name).pixels(image, 20, 50, 3), expected)


def test_small_picture_is_padded_with_zeros_as_torchvision_pads() -> None:
    crop = replace(AS_IS, crop="center")
    pixels = crop.pixels(Image.new("RGB", (4, 3), (9, 9, 9)), 6, 7, 3)
    assert (pixels[1:4, 1:5] == 9).all()
    assert pixels.sum() == 9 * 3 * 4 * 3


def test_picture_of_another_size_is_refused_where_nothing_resizes_it() -> None:
    with pytest.raises(BadInput, match=r"gives 3x4 \(height x width\); the model takes 4x3"):
        AS_IS.pixels(Image.new("RGB", (4, 3)), 4, 3, 3)


def test_extreme_aspect_is_refused_before_memory_is_spent() -> None:
    with pytest.raises(BadInput, match="too long a shape: 20000x1 would become"):
        PRESETS["torch"].pixels(Image.new("RGB", (20000, 1)), 224, 224, 3)


# Decoding


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_applied(orientation: int, kind: str) -> None:
    upright = Image.new("RGB", (48, 32), (0, 0, 0))
    upright.paste((255, 255, 255), (0, 0, 24, 16))  # top left
    stored_as = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = upright if stored_as is None else upright.transpose(stored_as)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = AS_IS.pixels(saved(stored, kind, exif=exif, quality=95), 32, 48, 3)
    assert np.abs(pixels.astype(int) - np.asarray(upright).astype(int)).max() < 30


def test_nonsense_orientation_leaves_the_picture_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert AS_IS.pixels(saved(photo(9, 7), "PNG", exif=exif), 7, 9, 3).shape == (7, 9, 3)


def test_alpha_is_dropped_as_convert_rgb_drops_it() -> None:
    image = Image.new("RGBA", (5, 3), (10, 20, 30, 0))
    for picture in (saved(image, "PNG"), saved(image, "WEBP", lossless=True, exact=True)):
        assert (AS_IS.pixels(picture, 3, 5, 3) == (10, 20, 30)).all()


def test_palette_with_transparency_keeps_its_colours_and_warns_of_nothing() -> None:
    image = photo(8, 6).quantize(16)
    transparent = saved(image, "PNG", transparency=bytes(range(16)))
    assert np.array_equal(AS_IS.pixels(transparent, 6, 8, 3), np.asarray(image.convert("RGB")))


def test_sixteen_bit_grey_keeps_its_high_byte_instead_of_turning_white() -> None:
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    pixels = AS_IS.pixels(saved(Image.fromarray(deep), "PNG"), 3, 4, 1)
    assert np.array_equal(pixels[..., 0], deep >> 8)
    assert np.array_equal(AS_IS.pixels(Image.fromarray(deep.astype(np.int32)), 3, 4, 3)[..., 2], deep >> 8)


def test_cmyk_jpeg_becomes_rgb() -> None:
    jpeg = saved(Image.new("RGB", (16, 8), (250, 10, 10)).convert("CMYK"), "JPEG", quality=95)
    assert jpeg.mode == "CMYK"
    pixels = AS_IS.pixels(jpeg, 8, 16, 3).astype(int)
    assert np.abs(pixels - (250, 10, 10)).max() < 12


def test_grey_model_takes_luma_and_grey_picture_fills_three_channels() -> None:
    red = Image.new("RGB", (5, 3), (255, 0, 0))
    assert (AS_IS.pixels(red, 3, 5, 1) == 76).all()
    assert AS_IS.pixels(red, 3, 5, 1).shape == (3, 5, 1)
    assert (AS_IS.pixels(Image.new("L", (5, 3), 40), 3, 5, 3) == 40).all()
    assert (AS_IS.pixels(Image.new("1", (5, 3), 1), 3, 5, 3) == 255).all()


def test_float_pixels_are_refused() -> None:
    with pytest.raises(BadInput, match="floating point"):
        AS_IS.pixels(Image.new("F", (5, 3)), 3, 5, 1)


def test_four_channel_model_is_refused() -> None:
    with pytest.raises(BadInput, match="1 or 3 channels and the model takes 4"):
        AS_IS.pixels(Image.new("RGBA", (5, 3)), 3, 5, 4)


# Arithmetic


def test_values_of_each_mode_are_the_documented_ones() -> None:
    pixels = np.array([[[[0, 100, 255], [7, 8, 9]]]], np.uint8)
    x = pixels.astype(np.float64)
    expected = {
        "torch": (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "keras": x / 127.5 - 1,
        "caffe": x[..., ::-1] - [103.939, 116.779, 123.68],
        "unit": x / 255,
        "raw": x,
        "efficientnet_lite0": (x - 127) / 128,
    }
    for name, values in expected.items():
        got = PRESETS[name].values(pixels)
        assert got.dtype == np.float32
        assert got.shape == pixels.shape
        np.testing.assert_allclose(got, values, rtol=2e-7, atol=1e-7, err_msg=name)


def test_families_use_the_mode_keras_applications_gives_them() -> None:
    def same_values(name: str, mode: str) -> bool:
        family, keras_mode = PRESETS[name], PRESETS[mode]
        return replace(family, name=mode) == keras_mode

    assert same_values("mobilenet_v2", "keras")
    assert same_values("resnet50_v2", "keras")
    assert same_values("resnet50", "caffe")
    assert same_values("vgg16", "caffe")
    assert not same_values("densenet", "keras")
    assert PRESETS["densenet"].std == PRESETS["torch"].std


def test_grey_values_need_one_mean() -> None:
    grey = np.full((2, 4, 3, 1), 255, np.uint8)
    np.testing.assert_allclose(PRESETS["mnist"].values(grey), (1 - 0.1307) / 0.3081, rtol=1e-6)
    with pytest.raises(BadInput, match=r"'torch' has 3 mean\(s\).*takes 1"):
        PRESETS["torch"].values(grey)


def test_values_refuse_anything_but_a_uint8_batch() -> None:
    with pytest.raises(BadInput, match="received float32"):
        RAW.values(np.zeros((1, 2, 2, 3), np.float32))
    with pytest.raises(BadInput, match=r"\(2, 2, 3\)"):
        RAW.values(np.zeros((2, 2, 3), np.uint8))


# JSON


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_round_trips_through_json_text(name: str) -> None:
    preset = PRESETS[name]
    assert preset.name == name
    assert Preprocess.from_json(json.loads(json.dumps(preset.to_json()))) == preset


@pytest.mark.parametrize("name", ["torch", "keras", "caffe", "efficientnet_lite0"])
@pytest.mark.parametrize("model", [(32, 32), (24, 40)])
def test_contract_is_absolute_and_reads_back_to_the_same_numbers(name: str, model: tuple[int, int]) -> None:
    preset = PRESETS[name]
    written = json.loads(json.dumps(contract(preset, "x", *model, 3, "nchw", "float32")))
    assert "resize_ratio" not in written
    assert written["shape"] == [None, 3, *model]
    assert (written["input_name"], written["layout"], written["dtype"]) == ("x", "nchw", "float32")
    again = Preprocess.from_json(written)
    pixels = preset.pixels(photo(77, 50), *model, 3)
    assert np.array_equal(again.pixels(photo(77, 50), *model, 3), pixels)
    assert np.array_equal(again.values(pixels[None]), preset.values(pixels[None]))


def test_contract_states_the_sizes_people_know() -> None:
    written = contract(PRESETS["torch"], "x", 224, 224, 3, "nhwc", "float32")
    assert (written["resize_size"], written["crop_size"]) == (256, [224, 224])
    assert written["shape"] == [None, 224, 224, 3]


def test_contract_of_a_uint8_model_is_the_pixels_themselves() -> None:
    written = contract(PRESETS["caffe"], "x", 8, 8, 3, "nhwc", "uint8")
    assert (written["scale"], written["mean"], written["std"]) == (1.0, [0.0], [1.0])
    assert written["channel_order"] == "bgr"


def test_contract_is_refused_for_a_model_of_another_size_or_channels() -> None:
    restored = Preprocess.from_json(contract(PRESETS["torch"], "x", 32, 48, 3, "nhwc", "float32"))
    with pytest.raises(BadInput, match=r"is for 32x48 .*takes 48x32"):
        restored.pixels(photo(99, 99), 48, 32, 3)
    with pytest.raises(BadInput, match="takes 1"):
        contract(PRESETS["torch"], "x", 32, 48, 1, "nhwc", "float32")


GOOD = PRESETS["torch"].to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": "longer"}, "'resize' is 'longer'; use one of shorter, stretch, none"),
        ({"interpolation": 2}, "'interpolation' is 2"),
        ({"schema": "safeconvert.preprocess/9"}, "'schema' is"),
        ({"scale": "1/255"}, "'scale' must be a finite number, received '1/255'"),
        ({"scale": True}, "'scale' must be a finite number"),
        ({"scale": float("nan")}, "'scale' must be a finite number"),
        ({"scale": 10**400}, "'scale' must be a finite number"),
        ({"mean": 0.5}, "'mean' must be a list"),
        ({"mean": [0.5, "x", 0.5]}, "'mean' must be a finite number"),
        ({"std": [0.5, 0, 0.5]}, "zero in std"),
        ({"std": [1, 2]}, "3 means and 2 stds"),
        ({"resize_size": 0}, "'resize_size' must be whole pixels"),
        ({"resize_size": 2.5}, "'resize_size' must be"),
        ({"resize_size": True}, "'resize_size' must be"),
        ({"resize_size": [1, 2, 3]}, r"'resize_size' must be \[height, width\]"),
        ({"resize_size": 256}, "both resize_ratio and resize_size"),
        ({"resize_ratio": -1}, "resize_ratio -1"),
        ({"crop_size": "224"}, "'crop_size' must be"),
        ({"crop": "none"}, "does not crop"),
        ({"resize": "none"}, "remove one"),
        ({"name": 5}, "'name' must be text"),
        ({"means": [0]}, "unknown key 'means'; did you mean 'mean'"),
    ],
)
def test_wrong_json_is_refused_naming_the_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Preprocess.from_json({**GOOD, **change})


@pytest.mark.parametrize("key", sorted(GOOD.keys() - {"name", "resize_ratio"}))
def test_nothing_that_changes_the_numbers_may_be_left_out(key: str) -> None:
    with pytest.raises(BadInput, match=f"key '{key}' is missing"):
        Preprocess.from_json({k: v for k, v in GOOD.items() if k != key})


def test_names_ignore_case_and_hyphens() -> None:
    assert load_preprocess("NASNet-Mobile") is PRESETS["nasnet_mobile"]


def test_unknown_name_shows_near_names_and_the_json_form() -> None:
    with pytest.raises(BadInput, match=r"near names: .*mobilenet_v2(?s:.*)safeconvert.preprocess/1"):
        load_preprocess("mobilnet_v2")
    with pytest.raises(BadInput, match="near names: torch, keras"):
        load_preprocess("@@@")
    with pytest.raises(BadInput, match="unknown preprocess"):
        load_preprocess(json.dumps(GOOD))


def test_json_file_is_read_and_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("\ufeff" + json.dumps({k: v for k, v in GOOD.items() if k != "name"}), "utf-8")
    assert load_preprocess(path) == replace(PRESETS["torch"], name="mine")


@pytest.mark.parametrize("text", ["{", "[1]", "\xff", '{"schema": 1, "do_resize": true}'])
def test_file_that_is_not_the_form_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=r"mine\.json"):
        load_preprocess(path)


def test_missing_json_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        load_preprocess(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torch", "shorter side 256 (bilinear), centre crop 224x224, RGB, scaled by 1/255, ImageNet mean and std"),
        ("caffe", "stretched to 224x224 (nearest), BGR, mean 103.939/116.779/123.68"),
        ("efficientnet_lite0", "shorter side 256 (bicubic), centre crop 224x224, RGB, mean 127, std 128"),
        ("raw", "stretched to 224x224 (bilinear), RGB"),
    ],
)
def test_a_preparation_is_described_in_words(name: str, words: str) -> None:
    assert load_preprocess(name).describe(224, 224) == words
