"""Mistakes in arguments are told all at once, in a moment: no framework is imported and no worker started.

The time is the processor's, which does not depend on what else the machine does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import typing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from safeconvert import api
from safeconvert.errors import BadInput, collecting, refuse
from safeconvert.formats import ONNX, TORCH
from safeconvert.inputs.argument_types import type_mistakes
from safeconvert.inputs.presets import PRESETS, load_preprocess
from safeconvert.options import Options
from safeconvert.runs.early_checks import check_early
from tests.conftest import conv_net
from tests.support.command import Done
from tests.support.command import installed_safeconvert as safeconvert

MAX_PROCESSOR_SECONDS = 1.0
RUN = """
import json, sys, time
from safeconvert.cli.main import main
sys.argv[0] = "safeconvert"
try:
    main()
except SystemExit as end:
    code = end.code
frameworks = {"torch", "tensorflow", "keras", "onnx", "onnxruntime", "ai_edge_litert", "tvm"} & set(sys.modules)
print(json.dumps([code, sorted(frameworks), "safeconvert.workers.pool" in sys.modules, time.process_time()]))
"""
MISTAKES = (
    ("onnx2keras missing.onnx", "missing.onnx does not exist"),
    ("onnx2keras text.onnx", "not an ONNX model"),
    ("torch2keras net.onnx", "Use the onnx2... command"),
    ("check net.onnx missing.onnx", "missing.onnx does not exist"),
    ("repair net.onnx missing.onnx -o out.onnx", "missing.onnx does not exist"),
    ("onnx2keras net.onnx --images nowhere", "nowhere is nothing"),
    ("onnx2keras net.onnx --images empty", "the folder empty has no images"),
    ("onnx2keras net.onnx --images text.onnx", "is a file"),
    ("onnx2keras net.onnx --inputs nowhere.npz", "no file nowhere.npz"),
    ("onnx2keras net.onnx --images photos --inputs x.npz", "both given"),
    ("onnx2keras net.onnx --images photos --preprocess resnet18x", "near names: resnet18"),
    ("onnx2keras net.onnx --images photos --preprocess resnet50", "Name one of the two"),
    ("onnx2keras net.onnx --images photos --target-preprocess nothing.json", "cannot read preprocess file"),
    ("onnx2keras net.onnx --preprocess torch", "works on --images"),
    ("onnx2keras net.onnx --holdout 1", "--holdout is 1"),
    ("onnx2keras net.onnx --max-discrepancy 101", "not a percentage"),
    ("onnx2keras net.onnx --timeout 0", "--timeout 0"),
    ("onnx2keras net.onnx --core-layers Conv", "--ranking kruskal"),
    ("onnx2keras net.onnx --quantize int3", "int3"),
    ("onnx2keras net.onnx --input-shape x", "is not of the form"),
    ("torch2keras weights.pth", "2. "),
    ("onnx2keras net.onnx --inputs empty", "has no .npz or .npy file"),
    ("onnx2keras net.onnx --inputs text.onnx", "cannot be read as an .npz file"),
    ("onnx2keras net.onnx --inputs array.npy", "holds one array without a name"),
    ("onnx2keras net.onnx --inputs nothing.npz", "has no array in it"),
    ("onnx2keras net.onnx --inputs texts.npz", "array 'x' holds <U1"),
    ("onnx2keras net.onnx --inputs objects.npz", "array 'x' holds object"),
    ("onnx2keras net.onnx --inputs no_rows.npz", "there is nothing in it"),
    ("onnx2keras net.onnx -o /dev/null", "is a device"),
    ("onnx2keras net.onnx -o /proc/net.keras", "/proc/net.keras cannot be used"),
    ("onnx2keras net.onnx -o missing/net.keras", "the folder missing does not exist"),
    ("onnx2keras net.onnx -o out.tflite", "is named like a TFLite model"),
    ("onnx2keras net.onnx -o y:labelz", "'labelz' is not one of labels, map"),
    ("onnx2keras net.onnx --output-kind y:label", "'label' is not one of"),
    ("onnx2tflite net.onnx --quantize int8", "calibrated on real inputs"),
    ("check net.onnx net.onnx --shards 0", "0 is not in the range"),
    ("check net.onnx net.onnx --jobs 2", "are for --shards N"),
    ("batch bad.toml", "bad.toml is not TOML"),
    ("batch unknown.toml", "unknown option 'hold'; did you mean holdout"),
    ("matrix net.onnx --inputs nowhere.npz", "no file"),
    ("matrix net.onnx -o text.onnx", "text.onnx is a file"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, torch_models: Path) -> Path:
    folder = tmp_path_factory.mktemp("mistakes") / "work"
    for name in ("empty", "photos"):
        (folder / name).mkdir(parents=True)
    onnx.save(conv_net(), folder / "net.onnx")
    (folder / "text.onnx").write_text("This is not a model.\n" * 9)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "photos" / "a.png")
    np.savez(folder / "x.npz", x=np.zeros((2, 3, 8, 8), np.float32))
    np.save(folder / "array.npy", np.zeros((2, 3, 8, 8), np.float32))
    np.savez(folder / "nothing.npz")
    np.savez(folder / "texts.npz", x=np.array(["a", "b"]))
    np.savez(folder / "objects.npz", x=np.array([{}, {}], object))
    np.savez(folder / "no_rows.npz", x=np.zeros((0, 3, 8, 8), np.float32))
    (folder / "bad.toml").write_text("[[convert]\nmodel = 3")
    (folder / "unknown.toml").write_text('[[convert]]\nmodel = "net.onnx"\nto = "keras"\nhold = 3\n')
    (folder / "weights.pth").symlink_to(torch_models / "weights.pth")
    return folder


@pytest.mark.parametrize(("command", "saying"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_told_in_a_moment(command: str, saying: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, *command.split()], cwd=folder, capture_output=True, text=True, check=True
    )
    code, frameworks, _, seconds = json.loads(done.stdout)
    assert code == 2
    assert saying in done.stderr
    assert frameworks == []
    assert seconds < MAX_PROCESSOR_SECONDS, seconds


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    options = ("--images", "nowhere", "--preprocess", "torchh", "--holdout", "2", "--timeout", "0")
    done = safeconvert("torch2keras", "weights.pth", *options, folder=folder)
    assert done.code == 2
    assert "there are 6 mistakes" in done.err
    for saying in ("nowhere", "near names: torch", "--holdout is 2", "--timeout 0", "--model-fn", "--input-shape"):
        assert saying in done.err, saying


@pytest.mark.parametrize(
    ("command", "sayings"),
    [
        (
            "onnx2keras net.onnx --images nowhere --holdout 3 -o missing/x.keras --quantize int8 --opset 99",
            ("5 mistakes", "'--opset'", "--holdout is 3", "nowhere is nothing", "is for TFLite", "folder missing"),
        ),
        ("onnx2keras net.onnx --seed -1 --timeout x --holdout 2", ("3 mistakes", "'--seed'", "'--timeout'", "holdout")),
        ("onnx2keras --seed -1", ("Missing argument 'MODEL'", "'--seed'")),
        ("onnx2keras net.onnx more.onnx --seed -1", ("unexpected extra argument (more.onnx)", "'--seed'")),
        (
            "check net.onnx missing.onnx --jobs 2 --junit missing/x.xml --holdout 2",
            ("4 mistakes", "--junit missing/x.xml", "for --shards N", "--holdout is 2", "missing.onnx does not exist"),
        ),
        ("repair missing.onnx net.onnx --atol x", ("3 mistakes", "'--atol'", "'--output'", "missing.onnx does not")),
    ],
)
def test_mistakes_of_all_kinds_are_told_together(command: str, sayings: tuple[str, ...], folder: Path) -> None:
    done = safeconvert(*command.split(), folder=folder)
    assert (done.code, done.out) == (2, "")
    for saying in sayings:
        assert saying in done.err, done.err
    assert "Traceback" not in done.err


MISTAKES_IN_PYTHON: dict[str, tuple[dict[str, object], str]] = {
    "an unknown format": ({"to": "kera"}, "'kera' is no format"),
    "no model": ({"source": None}, "None is no model"),
    "a class": ({"source": dict}, "the class dict .not an instance of it."),
    "bytes of no model": ({"source": b"abc"}, "begin with b'abc' are neither"),
    "texts as inputs": ({"inputs": np.array(["a"])}, "ndarray of <U1"),
    "no inputs": ({"inputs": np.zeros((0, 3))}, "there is nothing in it"),
    "no names": ({"inputs": {}}, "empty dict"),
    "a function as preprocessing": ({"images": "photos", "preprocess": abs}, "says nothing of its steps"),
    "an unknown step": ({"images": "photos", "preprocess": {"resise": 3}}, "did you mean 'resize'"),
    "a text for a number": ({"holdout": "half"}, "holdout='half' is not a number"),
    "a fraction for a whole number": ({"seed": 1.5}, "seed=1.5 is not a whole number"),
    "a text for a dict": ({"output_kind": "labels"}, "is not a dict of texts by name"),
    "a text for an axis": ({"class_axis": {"y": "1"}}, "is not a dict of whole numbers by name"),
    "a text for sizes": ({"input_shape": "1,3"}, "is not a dict of lists of whole numbers"),
    "sizes of none": ({"input_shape": (0, 3)}, "not a list of sizes of at least 1"),
    "a number for a folder": ({"images": 3}, "images=3 is not a path"),
    "a number for a path": ({"output": 3}, "output=3 is not a path"),
    "an opset that is not there": ({"opset": 99}, "--opset 99 is not from 7 to 26"),
    "a text for a list": ({"ranking": "kruskal", "core_layers": "Conv"}, "is not a list of texts"),
    "three": ({"source": 5, "holdout": 9, "images": "nowhere"}, "3 mistakes(.|\n)*holdout(.|\n)*int is no model"),
}


@pytest.mark.parametrize("name", MISTAKES_IN_PYTHON)
def test_a_mistake_in_python_is_told_in_a_moment(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keywords, saying = MISTAKES_IN_PYTHON[name]
    arguments: dict[str, Any] = {"source": "net.onnx", "to": "keras", **keywords}
    monkeypatch.chdir(folder)
    begun = time.process_time()
    with pytest.raises(BadInput, match=saying):
        api.convert(**arguments)
    assert time.process_time() - begun < MAX_PROCESSOR_SECONDS


def test_every_option_has_words_for_its_type() -> None:
    hints = typing.get_type_hints(Options, localns={"Path": Path})
    wrong = type_mistakes(dict.fromkeys(hints, object()), hints)
    assert wrong.keys() == {name for name in hints if name != "comparing"}
    assert all(
        " is not " in sentence and "function" not in sentence for n, sentence in wrong.items() if n != "comparator"
    )
    assert not type_mistakes({"holdout": np.float32(0.5), "seed": np.int64(3), "atol": 1, "images": "x"}, hints)


def test_mistakes_are_numbered_where_there_are_several() -> None:
    refuse([])
    mistakes: list[str] = []
    for message in ("a", "b"):
        with collecting(mistakes):
            raise BadInput(message)
    with pytest.raises(BadInput, match=r"there are 2 mistakes:\n1\. a\n2\. b") as caught:
        refuse(mistakes)
    assert caught.value.mistakes == ("a", "b")
    with pytest.raises(BadInput, match=r"^a$"):
        refuse(["a"])
    with pytest.raises(BadInput, match=r"2 mistakes(.|\n)*--seed -1(.|\n)*--timeout 0"):
        Options(seed=-1, timeout=0)


def test_what_is_live_is_left_to_later(folder: Path) -> None:
    loader = iter([np.zeros(3)])
    check_early((b"TFL3", folder / "net.onnx"), {"inputs": loader})
    assert next(loader).shape == (3,)
    check_early((folder / "net.onnx",), {}, ONNX)
    with pytest.raises(BadInput, match="not a PyTorch one"):
        check_early((folder / "net.onnx",), {}, TORCH)


def test_a_file_stays_where_it_is_if_the_run_makes_no_target(folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "m.tflite").write_bytes(b"an earlier model")
    constant = conv_net(scale=0.0)
    onnx.save(constant, work / "constant.onnx")
    done = safeconvert("onnx2tflite", "constant.onnx", "-o", "m.tflite", "--force", "--timeout", "0.01", folder=work)
    assert done.code in (3, 4), done
    assert (work / "m.tflite").read_bytes() == b"an earlier model"
    assert not (work / "m.previous.tflite").exists()
    assert "stands there still" in (work / "m.tflite.report.json").read_text()


def shown(*arguments: str, folder: Path) -> Done:
    return safeconvert(*arguments, folder=folder)


def test_presets_are_listed_with_what_they_do(folder: Path) -> None:
    for word in ("imagenet", "resnet18", "efficientnet_b0", "vit", "clip"):
        done = shown("presets", word, folder=folder)
        assert done.code == 0
        assert word in done.out
        assert "224" in done.out
        load_preprocess(word)
    everything = shown("presets", folder=folder).out
    assert all(f"\n{name} " in everything for name in ("torch", "imagenet", "keras_resnet50", "torchvision_resnet50"))
    assert "\nresnet50 " not in everything
    none = shown("presets", "zzz", folder=folder)
    assert (none.code, none.out) == (2, "")


def test_the_command_alone_shows_its_help_and_a_pair_of_one_format_is_refused(folder: Path) -> None:
    alone = shown(folder=folder)
    assert (alone.code, alone.err) == (0, "")
    assert "Usage: safeconvert" in alone.out
    same = shown("routes", "keras", "keras", folder=folder)
    assert (same.code, same.err) == (2, "error: keras to keras is no conversion.\n")
    assert shown("routes", "keras", "tf", folder=folder).code == 0


def test_a_family_that_frameworks_prepare_differently_is_asked_about() -> None:
    with pytest.raises(BadInput, match=r"keras_resnet50 is stretched(.|\n)*torchvision_resnet50 is shorter side"):
        load_preprocess("ResNet50")
    assert load_preprocess("keras_resnet50") == PRESETS["keras_resnet50"]
    assert load_preprocess("resnet18") == PRESETS["torchvision_resnet18"]
    assert load_preprocess("imagenet") == PRESETS["torch"]
