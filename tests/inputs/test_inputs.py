"""Images, tensors and probes: what is read, in which order and dtype, and what is refused or skipped."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safeconvert.errors import BadInput
from safeconvert.inputs.arrays import TensorInputs
from safeconvert.inputs.base import ProbeInputs, Skipped, split
from safeconvert.inputs.images import ImageInputs
from safeconvert.inputs.presets import PRESETS

RAW = PRESETS["raw"]
HEIGHT, WIDTH = 12, 20


@dataclass(frozen=True)
class Spec:
    name: str = "x"
    shape: tuple[int | None, ...] | None = (None, 2, 3)
    dtype: str = "float32"


def photo(seed: int, width: int = 40, height: int = 24) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([150 * x / width, 150 * y / height, np.full(x.shape, 8.0 * seed)], axis=-1)
    noise = np.random.default_rng(seed).uniform(0, 50, (height, width, 3))
    return Image.fromarray((base + noise).astype(np.uint8))


def prepare(paths: Sequence[Path], cache: Path, **changes: Any) -> ImageInputs:
    options: dict[str, Any] = {
        "preprocess": RAW, "name": "x", "height": HEIGHT, "width": WIDTH, "channels": 3,
        "layout": "nhwc", "dtype": "float32", "cache": cache,
    }  # fmt: skip
    options.update(changes)
    return ImageInputs.prepare(paths, options.pop("preprocess"), **options)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        photo(i).save(path)
    return paths


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    return path


# Split


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 101])
@pytest.mark.parametrize("holdout", [0.0, 0.001, 0.3, 0.999])
def test_split_is_complete_disjoint_and_in_order(count: int, holdout: float) -> None:
    calibration, heldout = split(count, holdout, 0)
    assert sorted(calibration + heldout) == list(range(count))
    assert list(calibration) == sorted(calibration)
    assert list(heldout) == sorted(heldout)
    assert bool(heldout) == (count >= 2 and holdout > 0)
    assert bool(calibration) == (count >= 1)


def test_split_depends_on_the_seed_and_on_nothing_else() -> None:
    assert split(50, 0.3, 1) == split(50, 0.3, 1)
    assert split(50, 0.3, 1) != split(50, 0.3, 2)
    assert len(split(50, 0.3, 1)[1]) == 15


@pytest.mark.parametrize("holdout", [-0.1, 1.0, 30, float("nan")])
def test_split_refuses_a_holdout_that_is_no_fraction(holdout: float) -> None:
    with pytest.raises(BadInput, match="--holdout is"):
        split(10, holdout, 0)


# Scan


def test_scan_reads_a_flat_folder_in_natural_order_whatever_the_case(tmp_path: Path) -> None:
    for name in ("b10.JPG", "b2.jpeg", "a.PNG", "b1.webp", "C.bmp", ".hidden.jpg", ".DS_Store", "notes.txt"):
        (tmp_path / name).touch()
    paths, skipped = ImageInputs.scan(tmp_path)
    assert [p.name for p in paths] == ["a.PNG", "b1.webp", "b2.jpeg", "b10.JPG", "C.bmp"]
    assert [Path(s.path).name for s in skipped] == ["notes.txt"]
    assert "not an image file" in skipped[0].reason


def test_scan_reads_one_folder_per_class_and_no_deeper(tmp_path: Path) -> None:
    for name in ("n10/1.jpg", "n2/9.jpg", "n2/10.jpg", "n2/deep/1.jpg", ".git/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths, skipped = ImageInputs.scan(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in paths] == ["n2/9.jpg", "n2/10.jpg", "n10/1.jpg"]
    assert [(Path(s.path).name, "one level" in s.reason) for s in skipped] == [("deep", True)]


def test_scan_follows_links_and_names_broken_links_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "real.jpg").touch()
    (tmp_path / "to_file.jpg").symlink_to(tmp_path / "real.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    paths, skipped = ImageInputs.scan(tmp_path)
    assert [p.name for p in paths] == ["real.jpg", "to_file.jpg"]
    reasons = {Path(s.path).name: s.reason for s in skipped}
    assert reasons["broken.jpg"] == reasons["loop.jpg"] == "a broken link"
    assert reasons["pipe.jpg"] == "not a regular file"


def test_folder_without_images_counts_none_and_says_what_it_saw(tmp_path: Path, cache: Path) -> None:
    (cache / "model.onnx").touch()
    paths, skipped = ImageInputs.scan(cache)
    inputs = prepare(paths, cache, skipped=skipped)
    assert inputs.count == 0
    assert [Path(s.path).name for s in inputs.skipped] == ["model.onnx"]
    assert inputs.read([])["x"].shape == (0, HEIGHT, WIDTH, 3)


def test_scan_refuses_a_missing_folder_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is nothing"):
        ImageInputs.scan(tmp_path / "gone")
    (tmp_path / "a.jpg").touch()
    with pytest.raises(BadInput, match="is a file"):
        ImageInputs.scan(tmp_path / "a.jpg")


# Images


def test_images_are_read_by_row_in_the_order_asked(photos: list[Path], cache: Path) -> None:
    inputs = prepare(photos, cache)
    assert (inputs.kind, inputs.count, inputs.skipped) == ("images", 7, ())
    got = inputs.read([5, 0, 5])["x"]
    for i, row in enumerate((5, 0, 5)):
        with Image.open(photos[row]) as image:
            assert np.array_equal(got[i], RAW.pixels(image, HEIGHT, WIDTH, 3))
    assert inputs.label(5) == str(photos[5])


@pytest.mark.parametrize("preset", ["torch", "caffe"])
def test_layouts_hold_the_same_numbers_and_are_contiguous(preset: str, photos: list[Path], cache: Path) -> None:
    last = prepare(photos, cache, preprocess=PRESETS[preset]).read([1, 2])["x"]
    first = prepare(photos, cache, preprocess=PRESETS[preset], layout="nchw").read([1, 2])["x"]
    assert (last.shape, first.shape) == ((2, HEIGHT, WIDTH, 3), (2, 3, HEIGHT, WIDTH))
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))
    assert first.dtype == last.dtype == np.float32
    assert first.flags.c_contiguous
    assert last.flags.c_contiguous


def test_uint8_model_gets_pixels_in_its_channel_order_and_no_arithmetic(photos: list[Path], cache: Path) -> None:
    plain = prepare(photos, cache, dtype="uint8").read([3])["x"]
    swapped = prepare(photos, cache, dtype="uint8", preprocess=PRESETS["caffe"]).read([3])["x"]
    nearest = prepare(photos, cache, dtype="uint8", preprocess=PRESETS["keras"]).read([3])["x"]
    assert plain.dtype == swapped.dtype == np.uint8
    assert np.array_equal(swapped, nearest[..., ::-1])
    assert not np.array_equal(swapped, nearest)


@pytest.mark.parametrize("room", [0, 2, 6])
def test_images_beyond_the_cache_are_decoded_again_to_the_same_numbers(
    room: int, photos: list[Path], cache: Path
) -> None:
    whole = prepare(photos, cache)
    partial = prepare(photos, cache, cache_bytes=room * HEIGHT * WIDTH * 3 + 1)
    assert (len(whole.cached), len(partial.cached)) == (7, room)
    rows = [6, 0, 2, 1, 5]
    assert np.array_equal(partial.read(rows)["x"], whole.read(rows)["x"])


def test_image_gone_since_it_was_checked_is_an_error_and_not_an_old_picture(photos: list[Path], cache: Path) -> None:
    inputs = prepare(photos, cache, cache_bytes=0)
    photos[2].unlink()
    with pytest.raises(BadInput, match=r"2\.png could be read before and cannot now"):
        inputs.read([0, 2, 3])


@pytest.mark.parametrize("room", [2, 2.5])
def test_full_disk_only_costs_the_cache(room: float, photos: list[Path], cache: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    # A file-size limit stands in for a full disk: the third crop fails, or is cut short.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(room * HEIGHT * WIDTH * 3), before[1]))
        inputs = prepare(photos, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert (inputs.count, len(inputs.cached)) == (7, 2)
    assert np.array_equal(inputs.read(range(7))["x"], prepare(photos, cache).read(range(7))["x"])


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_every_usual_kind_of_image_is_read_and_the_content_decides(tmp_path: Path, cache: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = photo(1)
    files = {
        "a.jpg": encoded(image, "JPEG"),
        "b.png": encoded(image, "PNG"),
        "c.webp": encoded(image, "WEBP"),
        "d.bmp": encoded(image, "BMP"),
        "e.png": encoded(image.convert("L"), "PNG"),
        "f.png": encoded(image.convert("RGBA"), "PNG"),
        "g.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "h.jpg": encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif),
        "i.png": encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"),
        "j.JPEG": encoded(image, "PNG"),
        "k.png": encoded(image.quantize(8), "PNG", transparency=bytes(range(8))),
        "l.jpg": encoded(image, "GIF"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths, _ = ImageInputs.scan(tmp_path)
    inputs = prepare(paths, cache)
    assert (inputs.count, inputs.skipped) == (len(files), ())
    got = inputs.read(range(inputs.count))["x"]
    reference = got[1]
    for path, values in zip(paths, got, strict=True):
        grey = path.name[0] in "ei"
        want = reference.mean(axis=-1, keepdims=True) if grey else reference
        # A transposed or clipped picture would be 30 or more away; compression and palettes stay well below.
        assert np.abs(values.mean(axis=-1) - want.mean(axis=-1)).mean() < 15, path


def test_images_that_cannot_be_read_are_skipped_with_a_one_line_reason(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = encoded(photo(1, 200, 100), "JPEG")
    damaged = bytearray(encoded(photo(1), "PNG"))
    damaged[60:90] = bytes(30)
    files = {
        "1_good.jpg": whole,
        "2_cut.jpg": whole[: len(whole) // 2],
        "3_text.jpg": b"this is not an image\nat all\n",
        "4_empty.png": b"",
        "5_damaged.png": bytes(damaged),
        "6_script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "7_bomb.png": encoded(Image.new("1", (300, 200)), "PNG"),
        "8_float.png": encoded(Image.new("F", (5, 5)), "TIFF"),
        "9_line.png": encoded(Image.new("L", (29000, 1)), "PNG"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40_000)  # so that 60,000 pixels draw Pillow's warning
    paths, _ = ImageInputs.scan(tmp_path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        inputs = prepare(paths, cache, preprocess=PRESETS["torch"], skipped=[Skipped("notes.txt", "earlier")])
    assert seen == []
    assert capfd.readouterr() == ("", "")
    assert inputs.count == 1
    assert inputs.label(0).endswith("1_good.jpg")
    reasons = {Path(s.path).name: s.reason for s in inputs.skipped}
    assert reasons.keys() == (files.keys() | {"notes.txt"}) - {"1_good.jpg"}
    assert all(reason and "\n" not in reason for reason in reasons.values())
    assert "truncated" in reasons["2_cut.jpg"]
    assert reasons["3_text.jpg"] == reasons["6_script.jpg"] == "not an image, or a damaged one"
    assert "decompression bomb: 300x200" in reasons["7_bomb.png"]
    assert "floating point" in reasons["8_float.png"]
    assert "too long a shape" in reasons["9_line.png"]


def test_damaged_exif_is_ignored_without_a_warning(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(photo(1), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7fjunk"))
    for i, exif in enumerate((b"garbage", b"II*\x00")):
        (tmp_path / f"{i}.png").write_bytes(encoded(photo(1), "PNG", exif=exif))
    inputs = prepare(ImageInputs.scan(tmp_path)[0], cache, cache_bytes=0)
    assert (inputs.count, inputs.skipped) == (3, ())
    assert inputs.read([0, 1, 2])["x"].shape == (3, HEIGHT, WIDTH, 3)


def test_rows_stay_with_their_files_when_some_are_skipped(photos: list[Path], cache: Path) -> None:
    expected = prepare(photos, cache).read([0, 3, 6])["x"]
    for i in (1, 2, 4, 5):
        photos[i].write_bytes(b"no")
    inputs = prepare(photos, cache, cache_bytes=2 * HEIGHT * WIDTH * 3)
    assert [inputs.label(row) for row in range(inputs.count)] == [str(photos[i]) for i in (0, 3, 6)]
    assert np.array_equal(inputs.read([0, 1, 2])["x"], expected)


def test_progress_counts_every_image_once(photos: list[Path], cache: Path) -> None:
    photos[3].write_bytes(b"no")
    calls: list[tuple[int, int]] = []
    prepare(photos, cache, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 7) for i in range(1, 8)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "chwn"}, "image layout is 'chwn'"),
        ({"dtype": "int8"}, "is int8, which images cannot feed"),
        ({"channels": 4}, "1 or 3 channels and the model takes 4"),
        ({"channels": 4, "dtype": "uint8"}, "1 or 3 channels and the model takes 4"),
        ({"channels": 1, "preprocess": PRESETS["torch"]}, r"has 3 mean\(s\)"),
        ({"preprocess": replace(RAW, crop_size=(20, 12))}, "is for 20x12"),
    ],
)
def test_model_that_images_cannot_fit_is_one_error_and_not_many_skips(
    changes: dict[str, Any], message: str, photos: list[Path], cache: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        prepare(photos, cache, **changes)


@pytest.mark.parametrize("row", [-1, 7])
def test_row_that_does_not_exist_is_misuse(row: int, photos: list[Path], cache: Path) -> None:
    with pytest.raises(IndexError, match=f"row {row} of 7 images"):
        prepare(photos, cache).read([0, row])


# Tensors


def load(arrays: dict[str, Any], tmp_path: Path, *specs: Spec, compressed: bool = False) -> TensorInputs:
    path = tmp_path / "inputs.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return TensorInputs.load(path, specs or (Spec(),), tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_tensors_are_read_by_name_and_row_from_disk(compressed: bool, tmp_path: Path) -> None:
    a = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    b = np.asfortranarray(np.arange(20, dtype=np.int64).reshape(5, 4))
    specs = (Spec("a"), Spec("b", (1, 4), "int64"))
    inputs = load({"b": b, "a": a, "labels": np.arange(2)}, tmp_path, *specs, compressed=compressed)
    assert (inputs.kind, inputs.count, inputs.skipped) == ("tensors", 5, ())
    assert all(isinstance(array, np.memmap) for array in inputs.arrays.values())
    got = inputs.read([4, 1])
    assert np.array_equal(got["a"], a[[4, 1]])
    assert np.array_equal(got["b"], b[[4, 1]])
    assert got["b"].flags.c_contiguous
    assert inputs.label(17) == "row 17"
    assert inputs.read([])["a"].shape == (0, 2, 3)


def test_the_key_does_not_matter_for_one_array_and_one_input(tmp_path: Path) -> None:
    assert list(load({"arr_0": np.ones((1, 2, 3))}, tmp_path).read([0])) == ["x"]


def test_shape_that_the_model_does_not_state_accepts_any(tmp_path: Path) -> None:
    assert load({"x": np.ones((4, 9, 9, 1))}, tmp_path, Spec(shape=None)).count == 4


@pytest.mark.parametrize("source", ["float64", "float16", ">f4", "int64", "uint8", "bool"])
def test_numbers_are_cast_to_the_models_dtype_where_that_keeps_them(source: str, tmp_path: Path) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(source)[None]
    got = load({"x": array}, tmp_path).read([0])["x"]
    assert got.dtype == np.dtype("float32")
    assert np.array_equal(got, array)


X = np.ones((4, 2, 3), np.float32)


def with_value(value: Any, dtype: str) -> Any:
    array = np.ones((4, 2, 3), dtype)
    array[2, 1, 1] = value
    return array


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (with_value(np.nan, "float32"), "float32", "NaN or infinity, first in row 2"),
        (with_value(-np.inf, "float64"), "float32", "NaN or infinity, first in row 2"),
        (
            with_value(1e39, "float64"),
            "float32",
            "float32 cannot hold one of its float64 values, first in row 2",
        ),
        (with_value(300, "int64"), "uint8", "uint8 cannot hold one of its int64 values, first in row 2"),
        (with_value(-1, "int8"), "uint8", "uint8 cannot hold"),
        (with_value(-1, "int64"), "uint64", "uint64 cannot hold"),
        (with_value(2**63, "uint64"), "int64", "int64 cannot hold"),
        (with_value(2**24 + 1, "int64"), "float32", "float32 cannot hold"),
        (X, "int64", "does not become int64 without loss"),
        (X.astype(np.complex64), "float32", "complex64.* does not become float32"),
        (X.astype("U3"), "float32", "does not become float32"),
        (X.astype(object), "float32", "damaged or not numeric"),
        (X[:, :, 0], "float32", r"received float32 \(4, 2\), expected float32 \(N, 2, 3\)"),
        (X[0], "float32", r"received float32 \(2, 3\), expected float32 \(N, 2, 3\)"),
        (X.transpose(0, 2, 1), "float32", r"received float32 \(4, 3, 2\), expected float32 \(N, 2, 3\)"),
        (X[:0], "float32", r"received float32 \(0, 2, 3\): there is nothing in it"),
        (np.float32(1), "float32", "a single value; the first axis must be the batch"),
        (X, "strange9", "dtype 'strange9'"),
    ],
)
def test_array_that_does_not_fit_is_refused(array: Any, dtype: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        load({"x": array}, tmp_path, Spec(dtype=dtype))


def test_row_is_named_rightly_in_a_file_checked_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safeconvert.inputs.arrays._CHUNK_BYTES", 1)
    with pytest.raises(BadInput, match="first in row 2"):
        load({"x": with_value(np.nan, "float32")}, tmp_path)


def test_missing_name_and_unequal_batches_are_refused(tmp_path: Path) -> None:
    specs = (Spec("a"), Spec("b"))
    with pytest.raises(BadInput, match=r"has arrays \['a', 'c'\], and the model also needs \['b'\]"):
        load({"a": X, "c": X}, tmp_path, *specs)
    with pytest.raises(BadInput, match=r"different batch lengths: \{'a': 4, 'b': 3\}"):
        load({"a": X, "b": X[:3]}, tmp_path, *specs)


def plain_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


def cut(path: Path) -> None:
    np.savez(path, x=X)
    path.write_bytes(path.read_bytes()[:150])


def wrong_sum(path: Path) -> None:
    np.savez(path, x=X)
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(bytes(data))


def short_member(path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, X)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", stream.getvalue()[:-8])


def no_member(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"")


@pytest.mark.parametrize("write", [plain_npy, cut, wrong_sum, short_member, no_member])
def test_file_that_is_not_a_whole_npz_is_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "inputs.npz"
    write(path)
    with pytest.raises(BadInput, match=r"cannot be read as an \.npz file|damaged or not numeric"):
        TensorInputs.load(path, (Spec(),), tmp_path)


def test_missing_npz_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no file"):
        TensorInputs.load(tmp_path / "gone.npz", (Spec(),), tmp_path)
    with pytest.raises(BadInput, match=r"has no \.npz or \.npy file"):
        TensorInputs.load(tmp_path, (Spec(),), tmp_path)


def test_member_names_cannot_write_outside_the_cache(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, X)
    (tmp_path / "deep").mkdir()
    with zipfile.ZipFile(tmp_path / "inputs.npz", "w") as archive:
        archive.writestr("../escaped.npy", stream.getvalue())
    TensorInputs.load(tmp_path / "inputs.npz", (Spec(),), tmp_path / "deep")
    assert not list(tmp_path.glob("escaped*"))


# Probes

IMAGE = Spec("image", (None, 3, 16, 16))


def test_probe_does_not_depend_on_the_batch_it_is_read_in() -> None:
    probes = ProbeInputs.make([IMAGE, Spec("second", (1, 5))], 3, 9)
    assert (probes.kind, probes.count, probes.skipped) == ("probes", 9, ())
    together = probes.read([7, 2, 7])
    assert together["image"].shape == (3, 3, 16, 16)
    assert together["second"].shape == (3, 5)
    for i, row in enumerate((7, 2, 7)):
        for name, values in probes.read([row]).items():
            assert np.array_equal(values[0], together[name][i])


def test_probes_differ_by_row_by_seed_and_by_input() -> None:
    twin = replace(IMAGE, name="twin")
    first = ProbeInputs.make([IMAGE, twin], 0, 2).read([0, 1])
    assert not np.array_equal(first["image"][0], first["image"][1])
    assert not np.array_equal(first["image"], first["twin"])
    assert not np.array_equal(first["image"], ProbeInputs.make([IMAGE], 1, 2).read([0, 1])["image"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_probes_cover_both_signs_and_vary_in_scale_and_offset(dtype: str) -> None:
    values = ProbeInputs.make([replace(IMAGE, dtype=dtype)], 0, 30).read(range(30))["image"]
    assert values.dtype == dtype
    assert np.isfinite(values).all()
    flat = values.reshape(30, -1).astype(np.float64)
    assert ((flat < 0).mean(axis=1) > 0.05).all()
    assert ((flat > 0).mean(axis=1) > 0.05).all()
    assert flat.std(axis=1).max() > 4 * flat.std(axis=1).min()
    assert flat.mean(axis=1).std() > 0.1


@pytest.mark.parametrize("axis", [1, 3])
def test_float_probes_show_swapped_axes_flips_and_swapped_channels(axis: int) -> None:
    shape = (None, 3, 16, 16) if axis == 1 else (None, 16, 16, 3)
    values = ProbeInputs.make([Spec("x", shape)], 0, 8).read(range(8))["x"]
    nchw = values if axis == 1 else values.transpose(0, 3, 1, 2)
    smooth = nchw.reshape(8, 3, 4, 4, 4, 4).mean(axis=(3, 5))  # what pooling leaves is still not symmetric
    for other in (smooth.swapaxes(2, 3), smooth[:, :, ::-1], smooth[:, :, :, ::-1], smooth[:, ::-1]):
        assert (np.abs(smooth - other).reshape(8, -1).max(axis=1) > 0.05).all()
    apart = np.ptp(nchw.mean(axis=(2, 3)), axis=1) / nchw.std(axis=(1, 2, 3))
    assert apart.mean() > 0.4


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127), ("int32", 0, 9), ("bool", 0, 1)]
)
def test_integer_probes_fill_a_sensible_range(dtype: str, low: int, high: int) -> None:
    values = ProbeInputs.make([replace(IMAGE, dtype=dtype)], 0, 8).read(range(8))["image"]
    assert values.dtype == dtype
    assert (int(values.min()), int(values.max())) == (low, high)


@pytest.mark.parametrize("shape", [None, (), (None, 3, None, 16), (1, 3, -1, 4), (1, 0)])
def test_probes_need_every_size_but_the_batch(shape: Any) -> None:
    with pytest.raises(BadInput, match="--input-shape x:1,3,224,224"):
        ProbeInputs.make([Spec("x", shape)], 0, 2)


def test_probes_refuse_what_is_not_a_number() -> None:
    with pytest.raises(BadInput, match="no probe fills it"):
        ProbeInputs.make([Spec("x", (1, 2), "str")], 0, 2)
    with pytest.raises(BadInput, match="for 0 inputs"):
        ProbeInputs.make([], 0, 2)
