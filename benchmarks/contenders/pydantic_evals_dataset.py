"""pydantic-evals: a dataset per model, its task asking through OpenAI's client."""

import asyncio
import os

from openai import AsyncOpenAI
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import EqualsExpected

CASES = int(os.environ["WIRE_CASES"])
client = AsyncOpenAI(base_url=os.environ["WIRE_URL"], max_retries=0, timeout=60)


async def ask(inputs):
    """Ask the model that the case names."""
    model, prompt = inputs
    response = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
    return response.choices[0].message.content


async def main():
    """Evaluate all cases at once."""
    dataset = Dataset(
        name="answers",
        cases=[
            Case(name=f"{case}-{model}", inputs=(model, f"case {case}"), expected_output=f"the answer is {case}")
            for case in range(CASES)
            for model in ("gpt-4o", "gpt-4o-mini")
        ],
        evaluators=[EqualsExpected()],
    )
    report = await dataset.evaluate(ask, max_concurrency=int(os.environ["WIRE_CONCURRENCY"]), progress=False)
    right = sum(result.value for case in report.cases for result in case.assertions.values())
    print(right, "as expected")


asyncio.run(main())
