"""The same with ProofMap: a plain test, once per case and runtime."""

import os

import pytest


@pytest.mark.qualify(baseline="gpt-4o", challengers=["gpt-4o-mini"])
@pytest.mark.parametrize("case", range(int(os.environ["WIRE_CASES"])))
def test_answer(runtime, case):
    """The runtime gives the case's answer."""
    assert runtime.complete(f"case {case}").text == f"the answer is {case}"
