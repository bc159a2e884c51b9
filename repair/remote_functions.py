"""Typed handles of repair's worker functions: what the parent may ask the worker ``onnx_tflite`` for.

Every function takes and returns plain values, arrays and frozen dataclasses. The modules are imported for mypy alone:
they load onnx and onnxruntime, which the parent does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..workers.remote import remote

if TYPE_CHECKING:
    from .alignment import runtime_differences
    from .graph import input_shapes, neighbourhood, preprocessing_nodes
    from .localization import first_divergence, locate, runtime_exemptions, session, single_nodes, trace_search
    from .statistics import input_groups, layer_ranking

LOCATE = remote("repair.localization.locate", "locate", lambda: locate.locate)

# Each of these names the session that LOCATE returned, and raises SessionLost where the worker does not hold it.
WRITE_REPAIRED = remote("repair.localization.session", "write", lambda: session.write)
NATIVE_RECORDS = remote("repair.localization.session", "native_records", lambda: session.native_records)
CONSTANTS_SET = remote("repair.localization.session", "constants_set", lambda: session.constants_set)
SETTINGS_SET = remote("repair.localization.session", "settings_set", lambda: session.settings_set)
AFFINE_CHANGES = remote("repair.localization.session", "affine_changes", lambda: session.affine_changes)
DISMISS = remote("repair.localization.session", "dismiss", lambda: session.dismiss)
WRITE_SEGMENT = remote(
    "repair.localization.runtime_exemptions", "write_segment", lambda: runtime_exemptions.write_segment
)
EXEMPT = remote("repair.localization.runtime_exemptions", "exempt", lambda: runtime_exemptions.exempt)
ALIGN_LAYERS = remote("repair.statistics.layer_ranking", "align_layers", lambda: layer_ranking.align_layers)

WRITE_CANONICAL = remote(
    "repair.localization.runtime_exemptions", "write_canonical", lambda: runtime_exemptions.write_canonical
)

UNKNOWN_OPERATORS = remote(
    "repair.statistics.layer_ranking", "unknown_operators", lambda: layer_ranking.unknown_operators
)
OUTPUT_DIFFERENCES = remote(
    "repair.statistics.input_groups", "output_differences", lambda: input_groups.output_differences
)
CHOOSE_GROUPS = remote("repair.statistics.input_groups", "choose_groups", lambda: input_groups.choose_groups)
RANK_LAYERS = remote("repair.statistics.layer_ranking", "rank_layers", lambda: layer_ranking.rank_layers)

NEIGHBOURHOODS = remote("repair.graph.neighbourhood", "neighbourhoods", lambda: neighbourhood.neighbourhoods)
WRITE_INPUT_SHAPES = remote("repair.graph.input_shapes", "write", lambda: input_shapes.write)
WRITE_PREPROCESSING = remote("repair.graph.preprocessing_nodes", "write", lambda: preprocessing_nodes.write)
WRITE_SINGLE_NODES = remote(
    "repair.localization.single_nodes", "write_single_nodes", lambda: single_nodes.write_single_nodes
)

TRACE_VIEW = remote("repair.localization.first_divergence", "trace", lambda: first_divergence.trace)
MATCH_BY_CONTENT = remote(
    "repair.localization.first_divergence", "match_by_content", lambda: first_divergence.match_by_content
)
FIRST_DIVERGENCES = remote(
    "repair.localization.first_divergence", "first_divergences", lambda: first_divergence.first_divergences
)

COMPARE_RUNTIMES = remote(
    "repair.alignment.runtime_differences", "compare_runtimes", lambda: runtime_differences.compare_runtimes
)

LOCATE_ALONG_TRACE = remote("repair.localization.trace_search", "locate", lambda: trace_search.locate)
