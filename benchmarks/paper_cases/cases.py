"""The fifteen conversions as they are recreated here: the same pair, the same kinds of fault."""

from __future__ import annotations

from dataclasses import dataclass

MOBILENET, RESNET, INCEPTION = "mobilenet_v2", "resnet101", "inception_v3"


@dataclass(frozen=True)
class Case:
    """One conversion.

    ``deployed``: the preset by which the Target's side prepares its images, where that is the fault (PP). ``weights``:
    how TFLiteConverter stores them (``dynamic``: int8, by ``Optimize.DEFAULT``); "" for a verified conversion.
    ``faults``: (type, kind) injected, in this order. ``natural``: all that is wrong is a real tool's own doing; else it
    is recreated. ``words``: what is wrong, for the table.
    """

    number: int
    model: str
    source: str
    target: str
    words: str
    deployed: str | None = None
    weights: str = ""
    faults: tuple[tuple[str, str], ...] = ()
    natural: bool = False

    @property
    def pair(self) -> str:
        return f"{self.source}-{self.target}"


LOST_PADS = (("CG", "output added"), ("CG", "pad removed"), ("CG", "pad removed"), *((("LH", "pads moved"),) * 4))

CASES: tuple[Case, ...] = (
    Case(1, MOBILENET, "keras", "torch", "deployed with torchvision's preprocessing", "torch"),
    Case(3, MOBILENET, "torch", "tf", "deployed with pixels divided by 255, nothing else", "unit"),
    Case(
        4, MOBILENET, "torch", "keras",
        "deployed with keras.applications' loading (stretched, nearest); another input size declared; a transpose "
        "left in the middle", "keras", "", (("TSS", "axes turned"), ("ID", "other size")),
    ),
    Case(6, MOBILENET, "tf", "keras", "deployed with imagenet_utils.preprocess_input's default (caffe)", "caffe"),
    Case(7, RESNET, "keras", "torch", "deployed with pixels divided by 255, not normalised", "unit"),
    Case(
        9, RESNET, "torch", "tflite", "deployed with pixels from -1 to 1; another input size declared", "keras", "",
        (("ID", "other size"),),
    ),
    Case(10, RESNET, "torch", "tf", "deployed with keras.applications.resnet's preprocessing (caffe)", "resnet101"),
    Case(
        11, RESNET, "tflite", "keras", "an output more, pads lost before the first convolution and pooling, pads of "
        "four layers moved", None, "", LOST_PADS,
    ),
    Case(
        12, RESNET, "tf", "tflite", "weights of two layers wrong, and in nodes of their own (float16, DEQUANTIZE); the "
        "views have other opsets", None, "", (("WB", "half"), ("WB", "half")),
    ),
    Case(
        13, RESNET, "tf", "keras", "another input size declared, a transpose left in the middle, pads of one layer "
        "moved, an output more", None, "",
        (("TSS", "axes turned"), ("LH", "pads moved"), ("CG", "output added"), ("ID", "other size")),
    ),
    Case(
        14, INCEPTION, "torch", "keras",
        "deployed with keras.applications' preprocessing; height and channels of the input swapped; axes 3 instead of "
        "1 where channels are unsqueezed and joined, read as if they were 1", "inception_v3", "",
        (("TSS", "axes last"), ("ID", "channels between")),
    ),
    Case(
        2, MOBILENET, "keras", "tflite", "deployed with pixels divided by 255; int8 weights by TFLiteConverter", "unit",
        "dynamic",
    ),
    Case(5, MOBILENET, "tf", "tflite", "int8 weights by TFLiteConverter", None, "dynamic", natural=True),
    Case(8, RESNET, "keras", "tflite", "int8 weights by TFLiteConverter", None, "dynamic", natural=True),
    Case(15, INCEPTION, "tf", "tflite", "int8 weights by TFLiteConverter", None, "dynamic", natural=True),
)  # fmt: skip
"""In the order in which they are run; the table is by number."""
