"""The strategies of repair, in the order in which they are tried.

Faults hide one another: the order goes from what hides the most to what hides the least, and from changes that keep
most of the Target to those that keep least. A strategy only proposes; ``repair/acceptance.py`` decides.
"""

from __future__ import annotations

from ..context import Strategy
from . import float_weights, input_shapes, preprocessing, reconversion, second_runtime, view_edits

STRATEGIES: tuple[Strategy, ...] = (
    # First: while the Target does not take the Source's inputs (ID), nothing else can be compared.
    Strategy(input_shapes.NAME, input_shapes.applies, input_shapes.propose),
    # Images that the deployment prepares in another way (PP) hide what the model computes: both sides get the same.
    Strategy(preprocessing.NAME, preprocessing.hides_the_model, preprocessing.compare_alike),
    # Before the search for faults: rounding that explains all that differs needs no search.
    Strategy(float_weights.NAME, float_weights.applies, float_weights.propose),
    # The search for faults in the model itself, whose repairs keep everything else of the Target.
    Strategy(view_edits.NAME, view_edits.applies, view_edits.propose),
    # Only where no repair of the Target helps: a new conversion keeps nothing of it.
    Strategy(reconversion.NAME, reconversion.applies, reconversion.propose),
    # Again, after a repair: a wrong weight hid the rounding of the others.
    Strategy(
        float_weights.NAME,
        float_weights.applies_after(view_edits.NAME, reconversion.NAME),
        float_weights.propose,
    ),
    # Names what the second runtime computes differently in the Target as it was; changes nothing.
    Strategy(second_runtime.NAME, second_runtime.applies, second_runtime.propose),
    # Last: whether the deployment is at fault, or the model, or both, shows once the model is right.
    Strategy(preprocessing.EMBED_NAME, preprocessing.was_compared_alike, preprocessing.decide),
)
