"""A small language for outcomes: what each runtime did on each case, as one letter a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_proofmap.decide.decision import Decision, decide
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.evidence.models import (
    Bar,
    Cell,
    Criterion,
    Objective,
    ObjectiveVerdict,
    Outcome,
    Recommendation,
    RuntimeInfo,
)

LETTERS: dict[str, Outcome] = {"P": "passed", "F": "failed", "E": "error", "S": "skipped"}


def bar(
    kind: Literal["all_pass", "min_pass_rate", "margin", "both"] = "margin",
    *,
    min_pass_rate: float | None = None,
    max_failure_rate: float | None = 0.25,
    margin: float | None = None,
    confidence: float = 0.95,
    samples: int = 1,
) -> Bar:
    """Return a bar; a margin bar has 5 points unless told."""
    return Bar(
        kind=kind,
        min_pass_rate=1.0 if kind == "all_pass" else min_pass_rate,
        max_failure_rate=max_failure_rate,
        margin=0.05 if kind in ("margin", "both") and margin is None else margin,
        confidence=confidence,
        samples=samples,
    )


@dataclass
class Decided:
    """A decision with short ways to its parts."""

    decision: Decision

    def cell(self, runtime: str = "mini", slice_name: str | None = None, criterion: str = "t") -> Cell:
        """Return one cell."""
        found = next(one for one in self.decision.criteria if one.id == criterion)
        return next(c for c in found.cells if c.runtime == runtime and c.slice == slice_name)

    def verdict(self, runtime: str = "mini", slice_name: str | None = None) -> ObjectiveVerdict:
        """Return the verdict on the only objective."""
        (objective,) = self.decision.objectives
        return next(v for v in objective.verdicts if v.runtime == runtime and v.slice == slice_name)

    def recommendation(self, slice_name: str | None = None) -> Recommendation:
        """Return the recommendation of the only objective."""
        (objective,) = self.decision.objectives
        return next(r for r in objective.recommendations if r.slice == slice_name)


@dataclass
class Scene:
    """Outcomes of one objective in the making."""

    bar: Bar = field(default_factory=bar)
    challengers: Sequence[str] = ("mini",)
    objective: dict[str, Any] = field(default_factory=dict)
    providers: dict[str, str] = field(default_factory=dict)
    costs: dict[str, float | None] = field(default_factory=lambda: {"base": 1.0, "mini": 0.1})
    latencies: dict[str, float | None] = field(default_factory=dict)
    concurrency: dict[str, int] = field(default_factory=dict)
    rows: list[Observation] = field(default_factory=list)
    criteria: dict[str, Bar] = field(default_factory=dict)

    def saw(
        self,
        runtime: str,
        outcomes: str,
        *,
        criterion: str = "t",
        slice_name: str | None = None,
        requests: Sequence[str] | None = None,
        same_answers: bool = False,
    ) -> Scene:
        """Add a runtime's outcomes.

        Args:
            runtime: Its name.
            outcomes: One letter a case: passed, failed, error, skipped, ``-`` for not run; with several samples
                one word a case, separated by blanks.
            criterion: The criterion.
            slice_name: The slice that all these cases are in; it is part of their names.
            requests: What was asked in each case; by default each case asks something else.
            same_answers: Whether all samples of a case gave the same answer.
        """
        self.criteria.setdefault(criterion, self.bar)
        for index, word in enumerate(outcomes.split() if " " in outcomes else outcomes):
            case = f"{slice_name or 'c'}{index}"
            for sample, letter in enumerate(word):
                if letter == "-":
                    continue
                asked = requests[index] if requests else f"{criterion}/{case}"
                self.rows.append(
                    Observation(
                        criterion,
                        case,
                        slice_name,
                        runtime,
                        sample,
                        LETTERS[letter],
                        self.costs.get(runtime),
                        self.latencies.get(runtime),
                        f"{runtime}/{asked}/{sample}",
                        "same" if same_answers else f"{case}/{sample}",
                        self.concurrency.get(runtime),
                    )
                )
        return self

    def decide(self, memo: dict[str, float] | None = None) -> Decided:
        """Decide on everything that was seen."""
        names = ("base", *self.challengers)
        runtimes = {
            name: RuntimeInfo(model=name, provider=self.providers.get(name, name), params={}, fingerprint=name)
            for name in names
        }
        criteria = [
            Criterion(id=name, objective="job", fingerprint="", collected=[], bar=one)
            for name, one in self.criteria.items()
        ]
        objective = Objective(
            name="job",
            baseline="base",
            challengers=list(self.challengers),
            criteria=list(self.criteria),
            **self.objective,
        )
        return Decided(decide(criteria, [objective], runtimes, self.rows, memo=memo))


def versus(base: str, mini: str, **bar_settings: Any) -> Cell:
    """Return the cell of one challenger beside the baseline."""
    return Scene(bar(**bar_settings)).saw("base", base).saw("mini", mini).decide().cell()
