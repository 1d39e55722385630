"""Cases of two runs are matched by what they hold, and by their names only where nothing else tells."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from stored_evidence import artifact, call, sample

from pytest_proofmap.decide.compare import named_as_in
from pytest_proofmap.decide.drift import compare_evidence
from pytest_proofmap.evidence.models import Evidence


def run(cases: Mapping[str, str], *, digests: bool = True, prompt: str = "", failing: str = "") -> Evidence:
    """Return the evidence of a run on cases of some contents; some contents fail on the challenger."""
    samples = []
    for case, content in cases.items():
        for runtime in ("base", "mini"):
            outcome = "failed" if runtime == "mini" and content in failing else "passed"
            key = f"{runtime}{prompt}{content}"
            samples.append(sample(runtime, 0, outcome, case=case, calls=[call("shared"), call(key)]))
    evidence = artifact(samples)
    update = {
        "collected": list(cases),
        "fingerprint": f"source:1/bar:1/cases:{sorted(cases.items())}",
        "case_digests": dict(cases) if digests else None,
    }
    criteria = [criterion.model_copy(update=update) for criterion in evidence.criteria]
    return evidence.model_copy(update={"criteria": criteria})


def numbered(contents: str) -> dict[str, str]:
    """Return cases that pytest numbers."""
    return {f"ticket{number}": content for number, content in enumerate(contents)}


def renamed(old: Evidence, new: Evidence) -> dict[str, str]:
    """Return what the cases of the old run are called in the new one."""
    after = named_as_in(new, old)
    assert [each.case for each in after.samples[::2]] == after.criteria[0].collected
    return dict(zip(old.criteria[0].collected, after.criteria[0].collected, strict=True))


@pytest.mark.parametrize("digests", [True, False], ids=["digests", "requests"])
@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ("abc", "xabc", [1, 2, 3]),
        ("abc", "cab", [1, 2, 0]),
        ("abcd", "bcd", ["ticket0 (before)", 0, 1, 2]),
        ("abc", "axc", [0, 1, 2]),
        ("abc", "xbya", [3, 1, 2]),
    ],
    ids=["put in front", "turned", "taken out in front", "edited", "all at once"],
)
def test_numbered_cases(before: str, after: str, names: list[int | str], *, digests: bool) -> None:
    """A case is known again wherever it went; one that was edited in its place keeps its name."""
    found = renamed(run(numbered(before), digests=digests), run(numbered(after), digests=digests))
    assert list(found.values()) == [f"ticket{name}" if isinstance(name, int) else name for name in names]


def test_a_case_in_front_is_no_regression() -> None:
    """What always failed is not taken for a case that passed and now fails, nor is anything lost."""
    old, new = run(numbered("abcd"), failing="a"), run(numbered("xabcd"), failing="a")
    found = compare_evidence(named_as_in(new, old), new)
    (rate,) = [rate for rate in found.rates if rate.runtime == "mini"]
    assert (rate.regressed, rate.improved, rate.cases) == ((), (), 4)
    assert found.lost == []
    assert [gap.cases for gap in found.added] == [("ticket0",)]


def test_another_prompt_changes_every_request() -> None:
    """The parametrized values tell the cases apart where no request is the same any more."""
    found = renamed(run(numbered("abc")), run(numbered("xabc"), prompt="new "))
    assert list(found.values()) == ["ticket1", "ticket2", "ticket3"]


def test_contents_that_tell_nothing() -> None:
    """Values that count by their type alone match nothing: the requests do, or else the names."""
    old, new = run(numbered("abc")), run(numbered("xabc"))
    blind = [
        each.model_copy(
            update={
                "criteria": [
                    criterion.model_copy(update={"case_digests": dict.fromkeys(criterion.collected, "object")})
                    for criterion in each.criteria
                ]
            }
        )
        for each in (old, new)
    ]
    assert list(renamed(*blind).values()) == ["ticket1", "ticket2", "ticket3"]
    told = run(numbered("abc"), digests=False)
    assert list(renamed(told, run(numbered("xyz"), digests=False)).values()) == ["ticket0", "ticket1", "ticket2"]


def test_unchanged_cases_stay_as_they_are() -> None:
    """Without a change of the cases nothing is matched, and the artifact is the same object."""
    old = run(numbered("abc"))
    assert named_as_in(run(numbered("abc"), failing="b"), old) is old
