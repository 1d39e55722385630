"""inspect-ai: one task on both models, its log written as usual."""

import os

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import get_model
from inspect_ai.scorer import exact
from inspect_ai.solver import generate

CASES, CONCURRENCY = int(os.environ["WIRE_CASES"]), int(os.environ["WIRE_CONCURRENCY"])


def task():
    """Return the task."""
    samples = [Sample(input=f"case {case}", target=f"the answer is {case}") for case in range(CASES)]
    return Task(dataset=samples, solver=generate(cache=bool(os.environ["WIRE_CACHE"])), scorer=exact())


# Both models run at once, and each has half of the connections.
models = [
    get_model(f"openai-api/wire/{name}", base_url=os.environ["WIRE_URL"], api_key="none")
    for name in ("gpt-4o", "gpt-4o-mini")
]
logs = eval(
    task(),
    model=models,
    max_tasks=2,
    max_connections=CONCURRENCY // 2,
    max_samples=CONCURRENCY // 2,
    display="none",
    log_dir="logs",
)
right = sum(
    sample.scores["exact"].value == "C" for log in logs if log.status == "success" for sample in log.samples or ()
)
print(right, "as expected")
