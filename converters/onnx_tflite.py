"""onnx -> tflite, by onnx2tf, under the interpreter of its own environment. Worker side.

onnx2tf pins every dependency exactly, so it is never in the environment of safeconvert: this file may
import nothing but the standard library, onnx2tf and ``hop_function``.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .hop_function import HopAnswer, Shapes


def convert(path: str, target: str, *, shapes: Shapes) -> HopAnswer:
    """Convert the ONNX file, whose inputs keep their channels-first order. The float32 file becomes ``target``."""
    import onnx2tf

    folder = tempfile.mkdtemp(dir=Path(target).parent)
    try:
        onnx2tf.convert(
            input_onnx_file_path=path,
            output_folder_path=folder,
            keep_ncw_or_nchw_or_ncdhw_input_names=[name for name, shape in shapes.items() if len(shape) > 2],
            non_verbose=True,
        )
        written = sorted(Path(folder).glob("*_float32.tflite"))
        if not written:
            raise FileNotFoundError("onnx2tf wrote no float32 TFLite file")
        shutil.move(written[0], target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return HopAnswer.WRITTEN
