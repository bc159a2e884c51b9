"""What a person may give by mistake, or an attacker on purpose: the exact exit code, two lines, nothing left.

Every case runs the command in a process of its own. Its codes: 0 verified, 1 diverged, 2 bad usage or input, 3 failed,
4 undecided.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from safeconvert.formats.torch_archive import EXPRESSION, QUOTED_NAME, code_in_pt2, imports, torch_flavour
from tests.support.command import COMMAND, Done, environment, safeconvert

KNOWN = "Known are .pt2 .pt .pth"
SHAPE = ("--input-shape", "1,3,8,8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def refused(*arguments: str | Path, folder: Path, saying: str, env: dict[str, str] | None = None) -> Done:
    """The command is refused with exit code 2 and at most two lines a mistake that say ``saying``; nothing is left."""
    before = sorted(folder.rglob("*"))
    done = safeconvert(*arguments, folder=folder, env=env)
    assert done.code == 2, done
    assert done.out == ""
    assert saying in done.err
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    mistakes = re.match(r"error: there are (\d+) mistakes:", lines[0]) if lines else None
    assert 1 <= len(lines) <= (2 if mistakes is None else 1 + 2 * int(mistakes[1])), done.err
    assert max(map(len, lines)) < 400 + len(str(folder)), done.err
    assert sorted(folder.rglob("*")) == before
    return done


def cut(original: Path, place: Path, share: float = 0.6) -> Path:
    data = original.read_bytes()
    place.write_bytes(data[: int(len(data) * share)])
    return place


def report(done: Done) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(done.out)
    return loaded


# -- files that are no models


def test_a_missing_file_is_refused(folder: Path) -> None:
    refused("torch2onnx", "missing.pt2", folder=folder, saying="missing.pt2 does not exist")
    refused("check", "missing.pt2", "missing.onnx", folder=folder, saying="missing.pt2 does not exist")


def test_a_folder_without_saved_model_pb_is_refused(folder: Path) -> None:
    refused("tf2onnx", folder, folder=folder, saying="without saved_model.pb")


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.onnx")
    refused("onnx2torch", "pipe.onnx", folder=folder, saying="not a regular file")


@pytest.mark.parametrize("suffix", [".onnx", ".pt", ".keras", ".tflite", ".h5"])
def test_text_and_noise_under_a_models_name_are_refused(folder: Path, suffix: str) -> None:
    (folder / f"model{suffix}").write_text("This is not a model.\n" * 100)
    command = {".onnx": "onnx2torch", ".pt": "torch2onnx", ".tflite": "tflite2onnx"}.get(suffix, "keras2onnx")
    refused(command, f"model{suffix}", "-o", "out", folder=folder, saying=KNOWN)
    (folder / f"model{suffix}").write_bytes(b"\xe5" + np.random.default_rng(0).bytes(3000))
    refused(command, f"model{suffix}", "-o", "out", folder=folder, saying="its first bytes are")


def test_an_empty_file_is_refused(folder: Path) -> None:
    (folder / "model.onnx").touch()
    refused("onnx2torch", "model.onnx", folder=folder, saying="is empty")


def test_another_formats_command_is_refused_with_the_right_one(folder: Path, onnx_models: Path) -> None:
    refused("torch2keras", onnx_models / "labels.onnx", folder=folder, saying="Use the onnx2... command")


def test_truncated_torch_files_are_refused(folder: Path, torch_models: Path) -> None:
    for name in ("model.pt2", "module.pt", "scripted.pt", "weights.pth"):
        refused("torch2onnx", cut(torch_models / name, folder / name), folder=folder, saying="truncated or damaged")
    cut(torch_models / "legacy_weights.pth", folder / "legacy.pth", 0.05)
    refused("torch2onnx", "legacy.pth", *SHAPE, folder=folder, saying="truncated or damaged")


def test_truncated_keras_files_are_refused(folder: Path, keras_models: Path) -> None:
    refused("keras2onnx", cut(keras_models / "model.keras", folder / "m.keras"), folder=folder, saying="truncated")
    refused(
        "keras2onnx", cut(keras_models / "model.h5", folder / "m.h5"), folder=folder, saying="m.h5 cannot be loaded"
    )


def test_a_truncated_saved_model_is_refused(folder: Path, keras_models: Path) -> None:
    shutil.copytree(keras_models / "saved_model", folder / "saved")
    cut(keras_models / "saved_model" / "saved_model.pb", folder / "saved" / "saved_model.pb")
    refused("tf2onnx", "saved", folder=folder, saying="saved is damaged")


def test_truncated_onnx_and_tflite_files_are_refused(folder: Path, onnx_models: Path, keras_models: Path) -> None:
    cut(onnx_models / "labels.onnx", folder / "m.onnx")
    refused("onnx2torch", "m.onnx", folder=folder, saying="m.onnx: not a readable ONNX file")
    cut(keras_models / "model.tflite", folder / "m.tflite")
    refused("tflite2onnx", "m.tflite", "-o", "n.onnx", folder=folder, saying="m.tflite cannot be loaded")


# -- files that would run code


@contextmanager
def untouched(models: Path) -> Iterator[None]:
    """The booby trap must not spring in the block: no MARKER appears."""
    (models / "MARKER").unlink(missing_ok=True)
    yield
    assert not (models / "MARKER").exists(), "code from the file was run"


def test_the_traps_of_these_tests_do_spring(folder: Path, torch_models: Path, keras_models: Path) -> None:
    done = safeconvert(
        "torch2onnx", torch_models / "trapped_module.pt", *SHAPE, "--trust-pickle", "-o", "m.onnx", folder=folder
    )
    assert done.code == 2  # what it gives is no module
    assert (torch_models / "MARKER").exists()
    (torch_models / "MARKER").unlink()
    done = safeconvert(
        "keras2tf", keras_models / "lambda.keras", "--trust-pickle", "-o", "trusted", "-q", folder=folder
    )
    assert done.code == 0, done.err
    assert (keras_models / "MARKER").exists()
    (keras_models / "MARKER").unlink()


def test_pickled_modules_are_not_read_without_trust(folder: Path, torch_models: Path) -> None:
    with untouched(torch_models):
        for name in ("module.pt", "trapped_module.pt"):
            refused("torch2onnx", torch_models / name, *SHAPE, folder=folder, saying="--trust-pickle")


def test_trapped_state_dicts_are_not_read(folder: Path, torch_models: Path) -> None:
    with untouched(torch_models):
        for name in ("trapped_weights.pth", "trapped_legacy_weights.pth"):
            refused(
                "torch2onnx",
                torch_models / name,
                *SHAPE,
                "--model-fn",
                "nets:Net",
                folder=folder,
                saying="trust-pickle",
            )


def test_lambda_layers_are_not_run_without_trust(folder: Path, keras_models: Path) -> None:
    with untouched(keras_models):
        for name in ("lambda.keras", "lambda.h5"):
            refused("keras2tf", keras_models / name, "-o", "out", folder=folder, saying="Lambda layer")


Edit = Callable[[str, bytes], bytes | None]


def edited(original: Path, place: Path, change: Edit) -> Path:
    """A copy of a zip archive in which ``change(name, data)`` gives some members' new contents."""
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(place, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            new = change(name, data)
            target.writestr(name, data if new is None else new)
    return place


def program(old: str, new: str) -> Edit:
    def change(name: str, data: bytes) -> bytes | None:
        if not name.endswith("models/model.json"):
            return None
        text = re.sub(old, lambda _: new, data.decode(), count=1)
        assert text != data.decode()
        return text.encode()

    return change


def weights_flagged(path_name: bytes, payload: bytes) -> Edit:
    def change(name: str, data: bytes) -> bytes | None:
        if name.endswith("weights_config.json"):
            return data.replace(b'"use_pickle": false', b'"use_pickle": true', 1).replace(b"weight_0", path_name, 1)
        return payload if name.endswith("weight_0") else None

    return change


OS = "__import__('os').system('true')"
EDITS: dict[str, tuple[Edit, str]] = {
    "operator": (program(r"torch\.ops\.aten\.relu\.default", "torch.os.system"), "a call of 'torch.os.system'"),
    "operator-module": (
        program(r"torch\.ops\.aten\.relu\.default", "torch._higher_order_ops.cond.torch.os.system"),
        "a call of",
    ),
    "load-library": (program(r"torch\.ops\.aten\.relu\.default", "torch.ops.load_library"), "a call of"),
    "writes-a-file": (program(r"torch\.ops\.aten\.relu\.default", "torch.ops.aten.save.default"), "a call of"),
    "attribute-getter": (program(r"torch\.ops\.aten\.relu\.default", "_operator.attrgetter"), "a call of"),
    "expression": (program(r'"expr_str": ?"[^"]*"', f'"expr_str": "{OS}"'), "an expression"),
    "expression-in-parentheses": (program(r'"expr_str": ?"[^"]*"', '"expr_str": "(eval)((chr)(49))"'), "an expression"),
    "placeholder": (program(r'"name": ?"x"', f'"name": "x={OS}"'), "a name"),
    "tree": (program(r'"in_spec": ?"', r'"in_spec": "{\"__enum__\": 1}'), "an import of a module"),
    "unnamed-member": (weights_flagged(b"../weights/weight_0", b""), "is not in the archive"),
    "other-case": (weights_flagged(b"WEIGHT_0", b""), "is not in the archive"),
    "raw-pickle": (weights_flagged(b"weight_0", b"cos\nsystem\n(S'true'\ntR."), "a pickle of the old format"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_exported_programs_with_code_in_them_are_told(edit: str, tmp_path: Path, torch_models: Path) -> None:
    change, reason = EDITS[edit]
    assert reason in (code_in_pt2(edited(torch_models / "model.pt2", tmp_path / "m.pt2", change)) or "nothing")


def test_an_exported_program_as_torch_wrote_it_is_harmless(torch_models: Path) -> None:
    assert code_in_pt2(torch_models / "model.pt2") is None


def test_the_expressions_that_torch_writes_are_harmless() -> None:
    for text in (
        "Symbol('s77', positive=True, integer=True)",
        "TruncToInt(Mul(Float('0.5', precision=53), ToFloat(Symbol('s77', integer=True))))",
        "2*((s77 // 4)) + Max(1, -1 + s3)",
    ):
        assert EXPRESSION.fullmatch(QUOTED_NAME.sub("q", text)), text


def test_trapped_exported_programs_are_refused(folder: Path, torch_models: Path) -> None:
    trap = (torch_models / "trapped_inputs.bin").read_bytes()
    cases: dict[str, Edit] = {
        "inputs": lambda name, data: trap if "sample_inputs" in name else None,
        "weights": weights_flagged(b"weight_0", trap),
        "operator": EDITS["operator"][0],
        "placeholder": program(r'"name": ?"x"', f"\"name\": \"x=__import__('os').mkdir('{torch_models}/MARKER')\""),
    }
    with untouched(torch_models):
        for name, change in cases.items():
            edited(torch_models / "model.pt2", folder / f"{name}.pt2", change)
            refused("torch2onnx", f"{name}.pt2", folder=folder, saying="would run code when it is read")


def test_archives_that_two_readers_see_differently_are_told(tmp_path: Path, torch_models: Path) -> None:
    original = torch_models / "model.pt2"

    def reason(path: Path) -> str:
        return code_in_pt2(path) or "nothing"

    place = tmp_path / "m.pt2"
    shutil.copyfile(original, place)
    with zipfile.ZipFile(place, "a") as archive:  # torch's reader ignores case
        name = next(n for n in archive.namelist() if n.endswith("model.json"))
        archive.writestr(name.upper(), b"{}")
    assert "is in it twice" in reason(place)
    edited(original, place, lambda name, data: None)
    data = place.read_bytes()
    place.write_bytes(b"another archive" + data)  # Python's reader shifts every offset, torch's does not
    assert "its table of contents is not where it says" in reason(place)
    place.write_bytes(data[:-2] + struct.pack("<H", 3) + b"abc")
    assert "something follows its table of contents" in reason(place)


def test_scripts_that_reach_out_to_files_need_trust(tmp_path: Path, torch_models: Path) -> None:
    def change(name: str, data: bytes) -> bytes | None:
        return data + b'\n    torch.save(x, "/tmp/x")\n' if name.endswith(".py") else None

    assert torch_flavour(torch_models / "scripted.pt") == "torchscript"
    assert torch_flavour(edited(torch_models / "scripted.pt", tmp_path / "s.pt", change)) == "module"


def test_names_that_a_pickle_computes_are_not_mistaken_for_others() -> None:
    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    plain = b"\x80\x04" + text("collections") + b"\x94" + text("OrderedDict") + b"\x94\x93."
    assert imports(plain) == {"collections OrderedDict"}
    decoy = text("collections") + b"0" + text("OrderedDict") + b"0"
    remembered = b"\x80\x04" + text("posix") + b"q\x00" + text("system") + b"q\x01" + decoy + b"h\x00h\x01\x93."
    assert imports(remembered) == {"posix system"}
    old_strings = b"\x80\x04" + text("collections") + text("OrderedDict") + b"U\x05posixU\x06system\x93."
    assert imports(old_strings) == {"a computed name"}


# -- what a state dict needs


def test_a_state_dict_without_model_fn_is_refused(folder: Path, torch_models: Path) -> None:
    refused("torch2onnx", torch_models / "weights.pth", *SHAPE, folder=folder, saying="--model-fn torchvision.models")


def test_a_state_dict_without_a_shape_is_refused(folder: Path, torch_models: Path) -> None:
    refused("torch2onnx", torch_models / "weights.pth", "--model-fn", "nets:Net", folder=folder, saying="--input-shape")


@pytest.mark.parametrize(
    ("function", "saying"),
    [
        ("nets", "is not of the form"),
        ("nowhere:Net", "No module named 'nowhere'"),
        ("nets:Missing", "has no attribute 'Missing'"),
        ("nets:number", "not callable"),
        ("nets:nothing", "gave a int, not a torch.nn.Module"),
        ("nets:broken", "no such weights here"),
        ("nets:other", "size mismatch"),
    ],
)
def test_a_model_fn_that_does_not_fit_is_refused(folder: Path, torch_models: Path, function: str, saying: str) -> None:
    shutil.copy(torch_models / "nets.py", folder)
    weights = torch_models / "weights.pth"
    before = set(folder.iterdir())
    done = safeconvert("torch2onnx", weights, *SHAPE, "--model-fn", function, "-o", "m.onnx", folder=folder)
    assert (done.code, done.out) == (2, ""), done
    assert saying in done.err
    assert len(done.err.splitlines()) <= 2
    assert {p for p in folder.iterdir() if p.name != "__pycache__"} == before


# -- ONNX external data


def test_external_data_is_read_from_beside_the_model_only(folder: Path, onnx_models: Path) -> None:
    (folder / "sub").mkdir()
    model = onnx.load(onnx_models / "labels.onnx")
    onnx.save(model, folder / "good.onnx", save_as_external_data=True, location="weights.data", size_threshold=0)
    (folder / "sub" / "link.data").symlink_to(folder / "weights.data")
    (folder / "sub" / "short.data").write_bytes(b"too short")

    def pointing_to(location: str) -> Path:
        proto = onnx.load(folder / "good.onnx", load_external_data=False)
        for tensor in proto.graph.initializer:
            for entry in tensor.external_data:
                entry.value = location if entry.key == "location" else entry.value
        onnx.save(proto, folder / "sub" / "bad.onnx")
        return folder / "sub" / "bad.onnx"

    same = onnx_models / "labels_copy.onnx"
    assert safeconvert("check", "good.onnx", same, folder=folder).code == 0
    for location in ("../weights.data", str(folder / "weights.data"), "link.data"):
        refused("check", pointing_to(location), same, folder=folder, saying="points outside the model's folder")
    refused("check", pointing_to("missing.data"), same, folder=folder, saying="'missing.data' is missing")
    refused("check", pointing_to("short.data"), same, folder=folder, saying="cannot be loaded")


# -- shapes, options, inputs


@pytest.mark.parametrize(
    ("shape", "saying"),
    [
        ("1,3,8", "does not fit the model's input x: float32[?x3x8x8]"),
        ("1,3,9,8", "does not fit"),
        ("y:1,3,8,8", "names 'y'; the model's inputs are x"),
        ("1,-3,8,8", "NAME:1,3,224,224"),
        ("one", "NAME:1,3,224,224"),
    ],
)
def test_a_wrong_input_shape_is_refused(folder: Path, onnx_models: Path, shape: str, saying: str) -> None:
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    refused("check", *pair, "--input-shape", shape, folder=folder, saying=saying)


def test_open_sizes_must_be_given(folder: Path, onnx_models: Path) -> None:
    pair = onnx_models / "open.onnx", onnx_models / "labels.onnx"
    refused("check", *pair, folder=folder, saying="--input-shape x:")
    assert safeconvert("check", *pair, *SHAPE, folder=folder).code == 0


@pytest.mark.parametrize(
    "option",
    [
        "--holdout=1",
        "--holdout=nan",
        "--max-discrepancy=200",
        "--max-discrepancy=nan",
        "--atol=nan",
        "--rtol=inf",
        "--atol=-1",
    ],
)
def test_a_number_out_of_range_is_refused(folder: Path, onnx_models: Path, option: str) -> None:
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    refused("check", *pair, option, folder=folder, saying=option.partition("=")[0])


def test_a_timeout_of_nothing_is_refused(folder: Path, onnx_models: Path) -> None:
    for value in ("0", "-1", "nan"):
        arguments = "onnx2torch", onnx_models / "labels.onnx", "-o", "m.pt2", "--timeout", value
        refused(*arguments, folder=folder, saying="--timeout")


def test_wrong_arrays_are_refused(folder: Path, onnx_models: Path) -> None:
    good = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)
    with_nan = good.copy()
    with_nan[2, 0, 0, 0] = np.nan
    np.savez(folder / "names.npz", a=good, b=good)
    np.savez(folder / "shape.npz", x=good[:, :, :4])
    np.savez(folder / "objects.npz", x=np.array([{}, print], dtype=object))
    np.savez(folder / "nan.npz", x=with_nan)
    np.savez(folder / "none.npz", x=good[:0])
    (folder / "text.npz").write_text("x = 1, 2, 3")
    expected = {
        "missing": "no file missing.npz",
        "text": "cannot be read as an .npz file",
        "names": "the model also needs ['x']",
        "shape": "expected float32 (N, 3, 8, 8)",
        "objects": "holds object, and inputs are numbers",
        "nan": "NaN or infinity, first in row 2",
        "none": "nothing in it",
    }
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    for name, saying in expected.items():
        refused("check", *pair, "--inputs", f"{name}.npz", folder=folder, saying=saying)


def noise_image(place: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8)).save(place)


def test_without_a_readable_image_nothing_is_decided(folder: Path, onnx_models: Path) -> None:
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    (folder / "bad").mkdir()
    refused("check", *pair, "--images", "bad", folder=folder, saying="the folder bad has no images")
    (folder / "bad" / "text.jpg").write_text("no image")
    (folder / "bad" / "head.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = safeconvert("check", *pair, "--images", "bad", folder=folder)
    assert done.code == 4
    assert "undecided" in done.out
    assert "text.jpg" in done.out


def test_unreadable_images_are_named_in_the_report(folder: Path, onnx_models: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "photos" / "broken.jpg").write_text("no image")
    for seed in range(4):
        noise_image(folder / "photos" / f"{seed}.png", seed)
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    done = safeconvert("check", *pair, "--images", "photos", "--json", folder=folder)
    assert done.code == 0
    assert done.err == ""
    inputs = json.loads(done.out)["check"]["inputs"]
    assert inputs["count"] == 4
    assert [Path(s["path"]).name for s in inputs["skipped"]] == ["broken.jpg"]


def test_a_missing_image_folder_is_refused(folder: Path, onnx_models: Path) -> None:
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    refused("check", *pair, "--images", "nowhere", folder=folder, saying="nowhere is nothing")
    refused("check", *pair, "--images", pair[0], folder=folder, saying="is a file")


# -- verdicts


@pytest.mark.parametrize("outputs", ["labels", "value", "two", "map"])
def test_a_target_one_percent_off_diverges_whatever_its_outputs_are(
    folder: Path, onnx_models: Path, outputs: str
) -> None:
    source = onnx_models / f"{outputs}.onnx"
    assert safeconvert("check", source, onnx_models / f"{outputs}_copy.onnx", "-q", folder=folder) == Done(0, "", "")
    done = safeconvert("check", source, onnx_models / f"{outputs}_off.onnx", "--json", folder=folder)
    assert (done.code, report(done)["verdict"], done.err) == (1, "diverged", "")


def test_a_target_with_other_outputs_diverges(folder: Path, onnx_models: Path) -> None:
    for other in ("two", "value", "map"):
        done = safeconvert("check", onnx_models / "labels.onnx", onnx_models / f"{other}.onnx", folder=folder)
        assert done.code == 1, done


def test_a_hop_that_takes_too_long_is_a_timeout_in_the_report(folder: Path, onnx_models: Path) -> None:
    begun = time.monotonic()
    done = safeconvert(
        "onnx2torch", onnx_models / "labels.onnx", "-o", "m.pt2", "--timeout", "0.01", "--json", folder=folder
    )
    assert time.monotonic() - begun < 30
    assert (done.code, report(done)["verdict"]) == (3, "failed")
    assert {attempt["status"] for attempt in json.loads(done.out)["route"]} == {"timeout"}
    assert sorted(p.name for p in folder.iterdir()) == ["m.pt2.report.html", "m.pt2.report.json"]


def test_with_json_errors_leave_standard_output_empty(folder: Path, onnx_models: Path) -> None:
    refused("check", "missing.onnx", onnx_models / "labels.onnx", "--json", folder=folder, saying="does not exist")


# -- output places


def test_output_places_that_cannot_be_written_are_refused(folder: Path, onnx_models: Path) -> None:
    source = onnx_models / "labels.onnx"
    (folder / "there.pt2").write_text("mine")
    (folder / "photos").mkdir()
    (folder / "photos" / "cat.jpg").write_text("mine")
    for output, saying in {
        "there.pt2": "there.pt2 exists already. Pass --force",
        "nowhere/m.pt2": "the folder nowhere does not exist",
        "there.pt2/m.pt2": "the folder there.pt2 does not exist",
        "photos": "is a folder with other things in it",
        "n" * 252 + ".pt2": "is longer than",
    }.items():
        refused("onnx2torch", source, "-o", output, folder=folder, saying=saying)
    refused("onnx2torch", source, "-o", "photos", "--force", folder=folder, saying="other things in it")
    assert (folder / "there.pt2").read_text() == "mine"


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[None]:
    """A file system at ``place``; skips visibly where mounting is not allowed."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True, capture_output=True)


def test_a_read_only_folder_is_refused_before_any_work(folder: Path, onnx_models: Path) -> None:
    (folder / "fixed").mkdir()
    with mounted(folder / "fixed", "-t", "tmpfs", "-o", "ro", "none"):
        refused("onnx2torch", onnx_models / "labels.onnx", "-o", "fixed/m.pt2", folder=folder, saying="is not writable")


def test_a_full_disk_leaves_nothing_half_written(folder: Path, onnx_models: Path) -> None:
    (folder / "small").mkdir()
    with mounted(folder / "small", "-t", "tmpfs", "-o", "size=16k", "none"):
        done = safeconvert("onnx2torch", onnx_models / "labels.onnx", "-o", "small/m.pt2", folder=folder)
        assert (done.code, done.out) == (2, ""), done
        assert "No space left on device" in done.err
        assert len(done.err.splitlines()) <= 2
        assert not (folder / "small" / "m.pt2").exists()
        assert not list((folder / "small").glob(".*"))


def test_a_limit_on_file_sizes_is_an_error_of_the_persons(folder: Path, onnx_models: Path) -> None:
    """The report fits and the model does not: the limit is that of the parent alone, set once its children run."""
    code = (
        "import resource, safeconvert.reporting.output_files as publish\n"
        "put = publish.put\n"
        "def limited(workshop, made, final):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)) if final.suffix == '.pt2' else None\n"
        "    put(workshop, made, final)\n"
        "publish.put = limited\n"
        "from safeconvert.cli.main import main\n"
        "main()\n"
    )
    env = environment(folder.parent / "tmp")
    command = [sys.executable, "-c", code, "onnx2torch", str(onnx_models / "labels.onnx"), "-o", "m.pt2"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "m.pt2 cannot be written: File too large" in done.stderr
    assert not [p for p in folder.iterdir() if not p.name.startswith("m.pt2.report")]
    assert resource.getrlimit(resource.RLIMIT_FSIZE) != (2000, 2000)


def test_of_two_runs_with_one_output_the_second_is_refused(folder: Path, onnx_models: Path) -> None:
    arguments = ["onnx2torch", str(onnx_models / "labels.onnx"), "-o", "m.pt2", "-q"]
    env = environment(folder.parent / "first-tmp")
    with subprocess.Popen([COMMAND, *arguments], cwd=folder, env=env) as first:
        while not list((folder.parent / "first-tmp").iterdir()):
            time.sleep(0.05)
        other = folder.parent / "other"
        other.symlink_to(folder)  # the same place by another name
        second = safeconvert("onnx2torch", onnx_models / "labels.onnx", "-o", other / "m.pt2", folder=folder)
        assert second.code == 2
        assert "another safeconvert run is writing" in second.err
        assert first.wait() == 0
    assert (folder / "m.pt2").is_file()


# -- paths


def test_any_path_name_works_also_relative_and_through_a_link(folder: Path, onnx_models: Path) -> None:
    strange = Path('it\'s a "folder" 模型 [bold]\nsecond line')
    (folder / strange).mkdir()
    (folder / strange / "café net.onnx").symlink_to(onnx_models / "labels.onnx")
    done = safeconvert("onnx2torch", strange / "café net.onnx", "-o", strange / "m é.pt2", folder=folder)
    assert done.code == 0, done.err
    names = ["café net.onnx", "m é.pt2", "m é.pt2.report.html", "m é.pt2.report.json"]
    assert sorted(p.name for p in (folder / strange).iterdir()) == names


def test_paths_that_are_not_utf_8_are_refused_and_images_named_so_are_not(folder: Path, onnx_models: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    shutil.copy(onnx_models / "labels.onnx", folder / f"{odd}.onnx")
    same = onnx_models / "labels_copy.onnx"
    refused("check", f"{odd}.onnx", same, folder=folder, saying="caf\\xe9.onnx is not UTF-8")
    refused("onnx2torch", same, "-o", f"{odd}.pt2", folder=folder, saying="caf\\xe9.pt2 is not UTF-8")
    (folder / odd).mkdir()
    noise_image(folder / odd / f"{odd}.png", 0)
    noise_image(folder / odd / f"{odd}2.png", 1)
    (folder / odd / f"bad{odd}.png").write_text("no image")
    for more in ((), ("--json",), ("-o", "found")):
        done = safeconvert("check", same, same, "--images", odd, *more, folder=folder)
        assert done.code == 0, done.err
    assert (folder / "found.report.html").is_file()


def test_a_folder_for_temporary_files_that_is_not_there_does_not_matter(folder: Path, onnx_models: Path) -> None:
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    assert safeconvert("check", *pair, "-q", folder=folder, env={"TMPDIR": "/proc/nowhere"}).code == 0


def test_a_cache_folder_that_cannot_be_written_is_named(folder: Path, onnx_models: Path) -> None:
    arguments = "onnx2torch", onnx_models / "labels.onnx", "-o", "m.pt2"
    refused(*arguments, folder=folder, saying="XDG_CACHE_HOME", env={"XDG_CACHE_HOME": "/proc/1"})


def test_odd_image_names_are_printed_under_a_strict_encoding(folder: Path, onnx_models: Path) -> None:
    same = onnx_models / "labels_copy.onnx"
    (folder / "photos").mkdir()
    noise_image(folder / "photos" / "good.png", 0)
    noise_image(folder / "photos" / "better.png", 1)
    (folder / "photos" / os.fsdecode(b"bad\xe9.png")).write_text("no image")
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    assert safeconvert("check", same, same, "--images", "photos", folder=folder, env=strict).code == 0


@pytest.mark.parametrize("name", ["single.npy", "cut.npz"])
def test_an_npy_file_and_a_cut_npz_are_refused(folder: Path, onnx_models: Path, name: str) -> None:
    np.save(folder / "single.npy", np.zeros((4, 3, 8, 8), np.float32))
    np.savez(folder / "whole.npz", x=np.zeros((4, 3, 8, 8), np.float32))
    cut(folder / "whole.npz", folder / "cut.npz", 0.5)
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    refused("check", *pair, "--inputs", name, folder=folder, saying=name)


def test_a_negative_seed_is_refused(folder: Path, onnx_models: Path) -> None:
    pair = onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx"
    refused("check", *pair, "--seed", "-1", folder=folder, saying="--seed")


def test_the_source_is_never_overwritten(folder: Path, onnx_models: Path) -> None:
    shutil.copy(onnx_models / "labels.onnx", folder / "model.onnx")
    refused("onnx2torch", "model.onnx", "-o", "model.onnx", "--force", folder=folder, saying="Source")


def test_external_data_is_found_through_a_link_to_the_model(folder: Path, onnx_models: Path) -> None:
    (folder / "sub").mkdir()
    model = onnx.load(onnx_models / "labels.onnx")
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="weights.data", size_threshold=0)
    (folder / "sub" / "link.onnx").symlink_to(folder / "m.onnx")
    assert safeconvert("check", "sub/link.onnx", onnx_models / "labels_copy.onnx", folder=folder).code == 0


def test_no_report_says_verified_where_no_target_could_be_written(folder: Path, onnx_models: Path) -> None:
    (folder / "small").mkdir()
    with mounted(folder / "small", "-t", "tmpfs", "-o", "size=16k", "none"):
        done = safeconvert("onnx2torch", onnx_models / "labels.onnx", "-o", "small/m.pt2", folder=folder)
        assert done.code == 2, done
        assert not list((folder / "small").iterdir())
