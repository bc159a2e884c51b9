"""Mistakes in arguments are told all at once, in a moment: no framework is imported and no worker started.

The time is the processor's, which does not depend on what else the machine does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from safeconvert.errors import BadInput, collecting, refuse
from safeconvert.formats import ONNX, TORCH
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
    check_early((object(), folder / "net.onnx"), {"inputs": np.zeros(3), "preprocess": {}, "images": folder / "photos"})
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
