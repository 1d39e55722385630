"""deepeval: ``evaluate`` with a metric that asks the model through OpenAI's client and checks the answer."""

import os

from deepeval import evaluate
from deepeval.evaluate.configs import AsyncConfig, CacheConfig, DisplayConfig
from deepeval.metrics import BaseMetric
from deepeval.test_case import LLMTestCase
from openai import AsyncOpenAI

CASES = int(os.environ["WIRE_CASES"])
client = AsyncOpenAI(base_url=os.environ["WIRE_URL"], max_retries=0, timeout=60)


class RightAnswer(BaseMetric):
    """Whether the model gives the case's answer."""

    threshold = 1.0

    def __init__(self, asked_model: str) -> None:
        self.asked_model = asked_model

    @property
    def __name__(self) -> str:
        return f"right answer of {self.asked_model}"

    def measure(self, test_case, *args, **kwargs):
        """Is not used."""
        raise NotImplementedError

    async def a_measure(self, test_case, *args, **kwargs):
        """Ask and compare."""
        response = await client.chat.completions.create(
            model=self.asked_model, messages=[{"role": "user", "content": test_case.input}]
        )
        self.score = float(response.choices[0].message.content == test_case.expected_output)
        self.success = self.score >= self.threshold
        return self.score

    def is_successful(self):
        """Return what the last measurement found."""
        return self.success


right = 0
cases = [
    LLMTestCase(input=f"case {case}", actual_output="", expected_output=f"the answer is {case}")
    for case in range(CASES)
]
# Metrics of one test case run at once, so a test case holds two calls.
result = evaluate(
    cases,
    [RightAnswer("gpt-4o"), RightAnswer("gpt-4o-mini")],
    async_config=AsyncConfig(max_concurrent=int(os.environ["WIRE_CONCURRENCY"]) // 2),
    display_config=DisplayConfig(show_indicator=False, print_results=False, inspect_after_run=False),
    cache_config=CacheConfig(write_cache=False),
)
for each in result.test_results:
    right += sum(metric.success for metric in each.metrics_data)
print(right, "as expected")
