"""Recipes for real models in each of the five formats, and for the photos to compare them on.

Nothing here is downloaded or installed with safeconvert: every model is made from a data folder given by path.

    from model_zoo import NETWORKS, build

    built = build(NETWORKS["mobilenet_v2"], "torch", data, cache)
    built.path, built.arguments  # what to put on safeconvert's command line
"""

from model_zoo.making import Built, NotBuilt, build
from model_zoo.photos import choose, link
from model_zoo.recipes import FORMATS, NETWORKS, Converted, Network, Recipe, Scripted, Stored

__all__ = [
    "FORMATS",
    "NETWORKS",
    "Built",
    "Converted",
    "Network",
    "NotBuilt",
    "Recipe",
    "Scripted",
    "Stored",
    "build",
    "choose",
    "link",
]
