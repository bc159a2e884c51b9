"""A hop: one way to run one real converter, with everything that the rest of safeconvert must know of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..workers.environments import Recipe
from ..workers.remote import Remote
from .hop_function import HopAnswer, HopArguments
from .scripts import StandaloneScript

ONNX_FORMS = ("canonical", "missing", "plain", "other")  # made by repair/rewrites, before the converter reads the file


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One way to run one real converter. Hops of one pair of formats are tried in the order of ``HOPS``.

    What it is: ``source`` and ``target`` are formats, ``name`` tells the hops of one pair apart, ``converter`` is the
    name that reports show, ``why`` says when this way is the right one.

    Where it runs: ``convert`` is the function that runs the converter, in a worker with ``framework`` loaded.
    ``fresh_worker``: one process runs it once at most. ``environment`` is the one that it runs in, if one of its own;
    a hop that has ``requires`` as well runs without it where they are all installed beside safeconvert.
    ``requires`` are the modules it cannot do without, which the package's ``extra`` installs; ``distribution`` is the
    package whose version is reported. ``needs_loaded_source``: the function takes the Source as it was loaded, so that
    a worker of the hop's own loads it first.

    What it takes: ``takes`` names the parameters that the function declares (:class:`HopArguments`), ``arguments`` has
    fixed values of them. ``forms`` are equivalents of the model that the converter can be fed where it goes wrong on
    the model as it is, mildest first. Of an ONNX model they are files, written with ``newest_opset`` at most, that the
    converter reads instead; of other models the function makes them itself, by its parameter ``form``.
    ``rank_in_chain`` orders the hops of one pair where another converter reads what they write: lower ones first.

    What it writes: ``has_channels_last_outputs`` where image outputs come out with the channels last, whatever the
    model's own layout is. ``layer_names`` is how it names the layer made from an ONNX node, of the node's name
    (``{node}``) and of its position in the graph (``{index}``).

    ``script`` runs the converter without safeconvert, for bug reports; needed where the hop reads ONNX.
    """

    source: str
    target: str
    name: str
    converter: str
    why: str
    convert: Remote[..., HopAnswer]
    framework: str
    distribution: str
    requires: tuple[str, ...] = ()
    extra: str = "all"
    fresh_worker: bool = False
    environment: Recipe | None = None
    needs_loaded_source: bool = False
    takes: tuple[str, ...] = ()
    arguments: HopArguments = field(default_factory=lambda: HopArguments())
    forms: tuple[str, ...] = ()
    newest_opset: int = 17
    rank_in_chain: int = 0
    has_channels_last_outputs: bool = False
    layer_names: str = "{node}"
    script: StandaloneScript | None = None

    @property
    def label(self) -> str:
        """Return the two formats, as reports show them: ``onnx->keras``."""
        return f"{self.source}->{self.target}"

    @property
    def makes_forms(self) -> bool:
        """Does the hop's function make the forms itself? Else they are files that it is given."""
        return "form" in self.takes

    @property
    def float32_only(self) -> bool:
        """Does the converter write float32 whatever ``--quantize`` asks for?"""
        return "quantize" not in self.takes

    def layer_name(self, node: str, index: int) -> str:
        """Return the name of the layer made from the ONNX node of that name, the ``index``-th of the graph."""
        return self.layer_names.format(node=node, index=index)
