"""An application in a process of its own: reads one call as JSON from each line of its input, writes what came.

A line may say instead which lock to load, in which environment: tests share the process, which takes seconds to
import LiteLLM. LiteLLM lives in this process only, not in that of the tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Application"]


class Application:
    """The application as the tests talk to it; use it as a context manager."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LITELLM_"))}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=kept,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def load(self, lock: Path, environment: dict[str, str], **settings: Any) -> None:
        """Have the application load a lock anew, with more environment variables."""
        self.ask(lock=str(lock), environment=environment, settings=settings)

    def ask(self, **call: Any) -> Any:
        """Have the application make a call, and return what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("RESULT"):
                return json.loads(line.removeprefix("RESULT"))
        raise AssertionError(f"the application ended with {self._process.wait(10)}")

    def __enter__(self) -> Application:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def serve() -> None:
    """Make the calls that the input asks for."""
    from pytest_proofmap import approved

    routers: dict[str, Any] = {}
    loop = asyncio.new_event_loop()

    def call(
        how: str, route: str, arguments: dict[str, Any], slices: dict[str, Any], router: dict[str, Any]
    ) -> Any:
        if how in ("router", "arouter"):
            made = routers.setdefault(json.dumps(router), routes.litellm_router(**router))
            if how == "router":
                response = made.completion(model=route, **arguments)
            else:
                response = loop.run_until_complete(made.acompletion(model=route, **arguments))
            return {
                "text": response.choices[0].message.content,
                "rung": routes.route(route).rung_of(response).name,
            }
        method = getattr(routes.route(route, **slices), how)
        positional = arguments.pop("positional")
        served = method(*positional, **arguments)
        if asyncio.iscoroutine(served):
            served = loop.run_until_complete(served)
        return {"text": served.text, "rung": served.rung.name, "position": served.position}

    for line in sys.stdin:
        asked = json.loads(line)
        if "lock" in asked:
            os.environ.update(asked["environment"])
            routes = approved.load(asked["lock"], **asked["settings"])
            routers.clear()
            print("RESULT null", flush=True)
            continue
        try:
            result = call(
                asked["how"], asked["route"], asked["arguments"], asked.get("slices", {}), asked.get("router", {})
            )
        except Exception as error:
            result = {"error": type(error).__name__, "message": str(error)}
        print("RESULT" + json.dumps(result), flush=True)


if __name__ == "__main__":
    serve()
