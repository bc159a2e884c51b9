"""What a quantised file may cost: discrepancy, size and latency."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import Options

BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Budget:
    """The limits that the person set; None: no limit. ``max_discrepancy`` is in percent, ``max_size`` in megabytes."""

    max_discrepancy: float | None
    max_size: float | None
    max_latency_ratio: float | None

    @classmethod
    def of(cls, options: Options) -> Budget:
        return cls(options.max_discrepancy, options.max_size, options.max_latency_ratio)

    @property
    def is_set(self) -> bool:
        """Did the person set a limit? ``--max-discrepancy 0`` is one, though 0 also holds where none is set."""
        return any(limit is not None for limit in (self.max_discrepancy, self.max_size, self.max_latency_ratio))

    @property
    def allowed_discrepancy(self) -> float:
        """The share of inputs whose label may differ, in percent."""
        return self.max_discrepancy or 0.0

    def excess(self, size: int, latency_ratio: float | None) -> tuple[str, ...]:
        """Say which limits a file of ``size`` bytes breaks that runs ``latency_ratio`` times as long as in float."""
        reasons = []
        if self.max_size is not None and size > self.max_size * BYTES_PER_MB:
            reasons.append(f"the file takes {size / BYTES_PER_MB:.2f} MB, more than --max-size {self.max_size:g}")
        if self.max_latency_ratio is not None and (latency_ratio is None or latency_ratio > self.max_latency_ratio):
            measured = "an unknown time" if latency_ratio is None else f"{latency_ratio:.2f} times"
            reasons.append(f"it runs {measured} of float, more than --max-latency-ratio {self.max_latency_ratio:g}")
        return tuple(reasons)
