"""The floor: nothing but LiteLLM in an asyncio loop of one's own, as written by hand."""

import asyncio
import os

import litellm

URL, CASES, CONCURRENCY = (
    os.environ["WIRE_URL"],
    int(os.environ["WIRE_CASES"]),
    int(os.environ["WIRE_CONCURRENCY"]),
)


async def main() -> None:
    """Make all calls and check their answers."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def is_right(model: str, case: int) -> bool:
        async with gate:
            response = await litellm.acompletion(
                model=f"openai/{model}",
                api_base=URL,
                messages=[{"role": "user", "content": f"case {case}"}],
                max_retries=int(os.environ["WIRE_RETRIES"]),
                timeout=60,
            )
        return response.choices[0].message.content == f"the answer is {case}"

    right = await asyncio.gather(
        *(is_right(model, case) for case in range(CASES) for model in ("gpt-4o", "gpt-4o-mini"))
    )
    print(sum(right), "as expected")


asyncio.run(main())
