"""Makes attempts in a process of its own: reads calls as JSON from standard input, writes what came of them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from pytest_proofmap.calls.lanes.lane import LiveCall
from pytest_proofmap.calls.lanes.litellm import LiteLLMLane
from pytest_proofmap.calls.outcome import AttemptError
from pytest_proofmap.redaction import Redactor


async def make(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make the calls one after the other."""
    client, results = LiteLLMLane(Redactor(os.environ), max_response_mb=1), []
    for call in calls:
        live = LiveCall("key", "runtime", "openai", call["request"], call["transport"])
        try:
            answer = await client.attempt(live)
        except AttemptError as error:
            results.append({"error": vars(error)})
        else:
            results.append({"answer": answer.content()})
    return results


async def main() -> None:
    """Make the calls of standard input, write the results, and end without waiting for anything.

    The task that writes LiteLLM's log ignores, in version 1.80, that it is cancelled: an event loop that closes
    would wait for it for ever.
    """
    made = await make(json.load(sys.stdin))
    print("RESULT" + json.dumps({"results": made, "environment": dict(os.environ)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
