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

    @property
    def words(self) -> str:
        sizes = list(self.declared[1:])
        if self.is_squeezed:
            return f"a batch declared before {sizes}"
        permuted = "" if self.axes is None else f", and permuted by {list(self.axes)} behind the input"
        return f"{sizes} declared{permuted}"
