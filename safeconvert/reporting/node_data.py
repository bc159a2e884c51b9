"""Layer errors as node data of Model Explorer (``ai-edge-model-explorer``), which colours a graph's nodes by them.

The format is that of one graph: ``results`` has a value for each node by its id or by the name of a tensor that it
computes, ``gradient`` a colour for the lowest and the highest value. Load the file beside the model in Model Explorer
with "View on node: add per-node data".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

GRADIENT = ({"stop": 0, "bgColor": "#fff3e0"}, {"stop": 1, "bgColor": "#d84315"})


def node_data(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of the report's layer ranking by the nodes' names, the Source's and the Target's.

    A name that stands in both models has the larger of its scores. Empty where no layers were compared.
    """
    results: dict[str, dict[str, float]] = {}
    for entry in (report["localisation"] or {"ranking": ()})["ranking"]:
        for name in (entry["source_node"], entry["target_node"]):
            if name and entry["score"] is not None:
                value = max(entry["score"], results.get(name, {"value": entry["score"]})["value"])
                results[name] = {"value": value}
    return {"results": results, "gradient": list(GRADIENT)}


def render(report: Mapping[str, Any]) -> str:
    return json.dumps(node_data(report), indent=1) + "\n"
