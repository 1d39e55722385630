"""What people write today: a test that calls LiteLLM, alone or under pytest-xdist."""

import os

import litellm
import pytest


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini"])
@pytest.mark.parametrize("case", range(int(os.environ["WIRE_CASES"])))
def test_answer(case, model):
    """The model gives the case's answer."""
    response = litellm.completion(
        model=f"openai/{model}",
        api_base=os.environ["WIRE_URL"],
        messages=[{"role": "user", "content": f"case {case}"}],
        max_retries=0,
        timeout=60,
    )
    assert response.choices[0].message.content == f"the answer is {case}"
