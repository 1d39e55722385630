"""LiteLLM's proxy as a process of its own on loopback, with the configuration that was exported."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["INSTALL", "MASTER_KEY", "is_installed", "running_proxy", "wait_for_end"]

INSTALL = "pip install 'pytest-proofmap[proxy]'"
MASTER_KEY = "sk-7c4c0e2f8a1d4b6f9e3a5d7b1c8f2e60"
"""Of the proxies of these tests only; without one a proxy does not start."""

SECONDS_TO_START = 120
SECONDS_TO_LIVE = 300
LITELLM = Path(sys.executable).with_name("litellm")

# A proxy ends with the process that started it, and after a while in any case.
_BOUNDED = """
import os, runpy, signal, sys, threading, time
parent, seconds = os.getppid(), float(sys.argv.pop(1))
def watch():
    end = time.monotonic() + seconds
    while os.getppid() == parent and time.monotonic() < end:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def is_installed() -> bool:
    """Return whether LiteLLM's proxy can be started here."""
    return LITELLM.exists() and all(
        importlib.util.find_spec(name) for name in ("fastapi", "uvicorn", "apscheduler")
    )


@contextmanager
def running_proxy(folder: Path, config: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Start a proxy in a folder, wait until it serves, and stop it at the end.

    Yields:
        The ``base_url`` for OpenAI's client.
    """
    with start(folder, config, environment) as (process, port):
        wait_until_it_serves(process, port, folder / "proxy.log")
        yield f"http://127.0.0.1:{port}/v1"


def wait_for_end(folder: Path, config: str, environment: Mapping[str, str]) -> str:
    """Start a proxy that cannot serve, wait for its end, and return what it said."""
    with start(folder, config, environment) as (process, _):
        assert process.wait(SECONDS_TO_START) != 0
    return (folder / "proxy.log").read_text(encoding="utf-8")


@contextmanager
def start(
    folder: Path, config: str, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a proxy on a free port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LITELLM_"))}
    own |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": MASTER_KEY, "NO_PROXY": "*"}
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _BOUNDED, str(SECONDS_TO_LIVE), str(LITELLM)),
                *("--config", config, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"),
            ],
            cwd=folder,
            env={**own, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def wait_until_it_serves(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the proxy answers."""
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.25)
    raise AssertionError(f"the proxy did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")
