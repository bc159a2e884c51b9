"""``safeconvert check``: compare two models on the same inputs. Nothing is converted or changed."""

from __future__ import annotations

from pathlib import Path

from ..checking.evaluation_set import EvaluationSet
from ..checking.verdict import judge
from ..conversion.stage import ConvertedModel
from ..formats import ModelFile
from ..models.loaded_model import LoadedModel
from ..quantization.range_notes import range_notes
from ..records import Verdict
from .base import Run
from .outcome import RunOutcome, mismatched
from .result import Result


class CheckRun(Run):
    """One run that compares a Target with its Source."""

    def run(self, file: ModelFile, report: Path | None) -> Result:
        """Compare the two and write the report, where ``report`` says what to put it beside."""
        command = ["safeconvert", "check", str(self.source.path), str(file.path)]
        self.command = [*command, *self.options.arguments()]
        target = self.start_target("target", file)
        with self.evaluation_set() as evaluation_set:
            return self.reported(lambda: self._compare(evaluation_set, target, report), evaluation_set, report=report)

    def _compare(self, evaluation_set: EvaluationSet, target: LoadedModel, report: Path | None) -> Result:
        self.load_target(target, evaluation_set)
        deployed = evaluation_set.as_deployed()
        notes: tuple[str, ...] = ()
        mapping = self.map_inputs(target)
        if isinstance(mapping, tuple):
            with self.clock("check"):
                judgement = judge(deployed, target, mapping)
                if judgement.verdict is Verdict.DIVERGED:
                    notes = range_notes(deployed, ConvertedModel(target, mapping))
        else:
            judgement = mismatched(deployed, mapping)
        return self.finish(RunOutcome(judgement, deployed, target, notes=notes), report=report)
