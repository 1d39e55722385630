"""The view of a run that just ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_proofmap.report.result import Result
from pytest_proofmap.report.view import View, view_of

if TYPE_CHECKING:
    from pytest_proofmap.plugin.finish import RunResult

__all__ = ["estimated_in", "view_of_run"]


def view_of_run(result: RunResult) -> View:
    """Return the view of a run that just ended."""
    recorder = result.recorder
    rows = recorder.observations
    # What could not be written cannot be read again either.
    samples = recorder.samples() if recorder.failure is None else ()
    return view_of(
        Result(
            run=result.run,
            totals=result.totals,
            criteria=result.criteria,
            objectives=result.objectives,
            observations=rows,
            nonpasses=recorder.misses,
            estimated=estimated_in(samples, {row.runtime for row in rows}),
            warnings=result.warnings,
            findings=result.findings,
        )
    )


def estimated_in(samples: Iterable[str], runtimes: set[str]) -> frozenset[str]:
    """Return the runtimes with estimated token counts, from the JSON texts of their samples.

    Inside a JSON string the quotes would be escaped, so that no answer can look like the field. Decoding
    thousands of samples for one flag would take longer than deciding on them: those alone are decoded that have
    it, and until each runtime is known. A judge's counts are not those of the runtime that it judges.
    """
    estimated: set[str] = set()
    for text in samples:
        if '"usage_estimated":true' in text:
            sample = json.loads(text)
            if any(call["usage_estimated"] for call in sample["calls"] if call["runtime"] is None):
                estimated.add(sample["runtime"])
                if estimated >= runtimes:
                    break
    return frozenset(estimated)
