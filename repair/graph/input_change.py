"""How an input of a Target is changed, as a frozen value that worker and parent know. Needs nothing but Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputChange:
    """The sizes to declare at an input of an ONNX view, the batch first (None: free), and how they reach the model.

    ``axes`` permute an input of these sizes into what the model takes. ``is_squeezed``: the batch of one is taken away
    from the input, and given back to the outputs. With neither, the model itself has to work on the declared sizes.
    """

    declared: tuple[int | None, ...]
    axes: tuple[int, ...] | None = None
    is_squeezed: bool = False
