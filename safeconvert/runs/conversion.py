"""A conversion as far as it was checked, as a value: what each further step returns with more in it."""

from __future__ import annotations

from dataclasses import dataclass

from ..checking.evaluation_set import EvaluationSet
from ..checking.verdict import Judgement
from ..conversion.findings import HopFinding
from ..conversion.route_search import RouteSearch
from ..conversion.stage import ConvertedModel
from ..quantization.step import Quantization
from ..records import Diagnosis, Localisation, Verdict


@dataclass(frozen=True)
class Conversion:
    """A conversion as far as it was checked.

    ``stage`` is what the converters gave, ``target`` the Target that was made of it. ``judgement`` holds for
    ``deployed``; what the converters gave is compared on ``unrepaired_inputs``. ``findings`` are about hops that read
    ONNX, ``diagnoses`` about everything else. Where the Target was quantised, ``float_judgement`` is the verdict on the
    float Target before; ``is_kept`` is false where the quantised one is not to be written.
    """

    search: RouteSearch
    stage: ConvertedModel
    target: ConvertedModel
    judgement: Judgement
    deployed: EvaluationSet
    unrepaired_inputs: EvaluationSet
    findings: tuple[HopFinding, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    localisation: Localisation | None = None
    float_judgement: Judgement | None = None
    quantization: Quantization | None = None
    is_kept: bool = True

    @property
    def conversion_judgement(self) -> Judgement:
        """What faults of the conversion are measured by: the float Target's verdict, where it was quantised."""
        return self.float_judgement or self.judgement

    @property
    def is_good(self) -> bool:
        """Is the conversion good? What quantisation costs is not the converter's fault."""
        return self.conversion_judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED)

    @property
    def percent(self) -> float | None:
        """The discrepancy of the Target over the calibration inputs, in percent."""
        compared = self.conversion_judgement.compared
        return None if compared is None else compared[0].percent
