"""Values of the Kruskal-Wallis ranking that worker and parent know, all frozen. Needs numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtimes.tensor_layout import TensorLayout

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ViewInputs:
    """The ONNX views of Source and Target (paths), and the same inputs as each of them takes them, batch first.

    ``source_batch`` and ``target_batch`` are the batch sizes that the views were exported for.
    """

    source: str
    target: str
    source_arrays: Mapping[str, Array]
    target_arrays: Mapping[str, Array]
    source_batch: int = 1
    target_batch: int = 1


@dataclass(frozen=True)
class OutputDifferences:
    """For each input: do the labels agree, bool (inputs,), and how far are the outputs apart, float64 (inputs,)?"""

    labels_agree: Array
    distances: Array


@dataclass(frozen=True)
class InputGroups:
    """The two groups of inputs to compare, and the samples drawn from them.

    ``rows`` are indices of inputs, int (rows,); ``is_similar`` tells the group of each, bool (rows,); ``draws`` are
    samples, each an array of indices into ``rows``. ``similar_count`` and ``dissimilar_count`` are the sizes of the
    groups among all inputs. ``is_split_by_distance``: the groups are the halves of the inputs by the distance of their
    outputs, since labels give no two groups.
    """

    rows: Array
    is_similar: Array
    draws: tuple[Array, ...]
    similar_count: int
    dissimilar_count: int
    is_split_by_distance: bool


@dataclass(frozen=True)
class AlignedLayer:
    """A layer of the Target's view and the Source's tensor that it is compared with.

    ``compared_tensor`` is the layer's own output ``target_tensor`` or, where the Source computes nothing of the kind,
    the nearest tensor behind it that the Source has. It ought to hold ``source_tensor`` in the ``layout``.
    """

    op_type: str
    target_node: str
    target_tensor: str
    source_node: str
    source_tensor: str
    metadata: Mapping[str, str]
    compared_tensor: str
    layout: TensorLayout


@dataclass(frozen=True)
class AlignedLayers:
    """The ranked layers in the order of the graph, and the names of those that nothing in the Source corresponds to."""

    layers: tuple[AlignedLayer, ...]
    unaligned: tuple[str, ...]


@dataclass(frozen=True)
class UnknownOperator:
    """A name that is no operator of ONNX, and at most three operators that are spelt alike."""

    name: str
    similar: tuple[str, ...]


@dataclass(frozen=True)
class LayerScore:
    """How suspicious a layer is; ``layer`` is its index.

    ``significant_share`` is the share of its elements, 0 to 1, on which the groups of inputs differ significantly; None
    where the layer has another shape than the Source's. ``mean_h`` is the mean statistic H of its elements.
    """

    layer: int
    significant_share: float | None
    mean_h: float


@dataclass(frozen=True)
class LayerScores:
    """The layers, most suspicious first; ``model_runs`` counts runs of the Target's view on one input."""

    scores: tuple[LayerScore, ...]
    model_runs: int
