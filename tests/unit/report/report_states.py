"""States that a run can be in, as evidence: the table that the tests of the reports share."""

from __future__ import annotations

from typing import Any, NamedTuple

from stored_evidence import undecided

from pytest_proofmap.evidence.models import Evidence

__all__ = ["State", "states"]

TEST, OTHER = "tests/test_a.py::test_label", "tests/test_b.py::test_form"
ALL_PASS = {"kind": "all_pass", "margin": None, "min_pass_rate": 1.0}
AT_LEAST = {"kind": "min_pass_rate", "margin": None, "min_pass_rate": 0.8}


class State(NamedTuple):
    """Evidence, and whether it is decided."""

    name: str
    evidence: Evidence
    decides: bool = True


def states() -> list[State]:
    """Return the states."""
    good = {"base": "P" * 60, "mini": "P" * 60, "haiku": "P" * 40 + "F" * 20}
    slices = ["language=de", "language=fr"]
    shard = {"shard": True, "complete": False, "incomplete_reasons": ["it is a shard"]}
    partial = {"complete": False, "incomplete_reasons": ["3 of 180 samples did not run"]}
    return [
        State("a_challenger_moves", undecided({TEST: good}, latency_s=0.25)),
        State("twenty_four_of_twenty_four", undecided({TEST: {"base": "P" * 24, "mini": "P" * 24}}, bar=AT_LEAST)),
        State("every_case_must_pass", undecided({TEST: {"base": "P" * 15, "mini": "P" * 14 + "F"}}, bar=ALL_PASS)),
        State("too_few_cases", undecided({TEST: {"base": "P" * 5, "mini": "P" * 5}})),
        State("none_at_this_rate", undecided({TEST: {"base": "P" * 30, "mini": "P" * 27 + "FFF"}})),
        State("both_fail", undecided({TEST: {"base": "FF" + "P" * 58, "mini": "FF" + "P" * 57 + "F"}})),
        State("improved", undecided({TEST: {"base": "FFF" + "P" * 57, "mini": "P" * 59 + "F"}})),
        State("unusable_baseline", undecided({TEST: {"base": "F" * 20 + "P" * 10, "mini": "P" * 30}})),
        State("baseline_fails", undecided({TEST: {"base": "P" * 14 + "F", "mini": "P" * 15}}, bar=ALL_PASS)),
        State("unavailable", undecided({TEST: {"base": "P" * 30, "mini": "P" * 20 + "E" * 10}})),
        State("baseline_unavailable", undecided({TEST: {"base": "P" * 20 + "E" * 5, "mini": "P" * 18 + "F" * 7}})),
        State("skipped", undecided({TEST: {"base": "P" * 13 + "S" * 27, "mini": "P" * 12 + "F" + "S" * 27}})),
        State("nothing_ran", undecided({TEST: {"base": "S", "mini": "S"}})),
        State("slices", undecided({TEST: {"base": "P" * 120, "mini": "PF" * 60}}, slices=slices)),
        State("two_criteria", undecided({TEST: good, OTHER: {**good, "mini": "P" * 20}}, objective="triage")),
        State("two_objectives", undecided({TEST: good, OTHER: {"base": "P" * 12, "mini": "P" * 11 + "F"}})),
        State(
            "two_tests_of_one_name", undecided({TEST: good, OTHER.replace("form", "label"): good}, objective="a")
        ),
        State("observed", undecided({TEST: {"base": "PPPPPF", "mini": "PPPPPF"}}, bar={"confidence": 0})),
        State("lower_confidence", undecided({TEST: good}, bar={"confidence": 0.9})),
        State("price_unknown", undecided({TEST: good}, unpriced=["mini"])),
        State("estimated", undecided({TEST: good}, estimated=["mini"])),
        State("live", undecided({TEST: good}, source="live", latency_s=2.0)),
        State("incomplete", undecided({TEST: good}, run=partial)),
        State("shard", undecided({TEST: good}, run=shard), decides=False),
        State("repeated_samples", repeated({"base": "PPPP", "mini": "PPFP"}, ["PPPP", "PPFF"], ["PFPP", "FFFF"])),
        State("repeated_requests", same_requests({"base": "P" * 12, "mini": "P" * 8 + "F" * 4})),
        State("prompts", undecided({TEST: good}, variants={"base": "long", "mini": "short", "haiku": "tiny"})),
    ]


def repeated(first: dict[str, str], *more: list[str]) -> Evidence:
    """Return evidence with several samples a case; each of ``more`` has the letters of base and mini."""
    evidence = undecided({TEST: first})
    samples = list(evidence.samples)
    for number, letters in enumerate(more, 1):
        again = undecided({TEST: dict(zip(first, letters, strict=True))})
        samples += [sample.model_copy(update={"sample": number}) for sample in again.samples]
    (criterion,) = evidence.criteria
    bar = criterion.bar.model_copy(update={"samples": 1 + len(more)})
    criteria = [criterion.model_copy(update={"bar": bar})]
    return evidence.model_copy(update={"samples": samples, "criteria": criteria})


def same_requests(outcomes: dict[str, str]) -> Evidence:
    """Return evidence whose cases ask for the same in pairs."""
    evidence = undecided({TEST: outcomes})

    def shared(sample: Any) -> Any:
        number = int(sample.case.removeprefix("c")) // 2
        call = sample.calls[0].model_copy(update={"key": f"{sample.runtime}-{number}"})
        return sample.model_copy(update={"calls": [call]})

    return evidence.model_copy(update={"samples": [shared(sample) for sample in evidence.samples]})
