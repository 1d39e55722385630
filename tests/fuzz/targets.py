"""What reads files and arguments that somebody else may have made, each fed with one input.

A target returns whether the input was accepted. It swallows ProofMap's own errors and what the command line says
to its user; whatever else is raised is a fault of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from pytest_proofmap.calls.recordings import Recordings
from pytest_proofmap.cli import COMMANDS, main
from pytest_proofmap.config import find_rootdir, load
from pytest_proofmap.errors import ProofmapError
from pytest_proofmap.lock.file import parse_lock, read_lock, sides, signed
from pytest_proofmap.lock.litellm import router_arguments
from pytest_proofmap.lock.serve import compile_prompts, rungs_of
from pytest_proofmap.prompts.library import PromptLibrary
from pytest_proofmap.prompts.template import MessageTemplate

__all__ = ["TARGETS", "command_line", "configuration", "evidence", "index", "lock", "prompt", "recordings"]

ON_EVIDENCE: tuple[tuple[str, ...], ...] = (
    ("report", "FILE", "--text", "-vv"),
    ("report", "FILE", "--html", "-o", "report.html"),
    ("report", "FILE", "--md"),
    ("decide", "FILE"),
    ("diff", "FILE", "FILE"),
    ("whatif", "FILE", "--down", "openai"),
    ("merge", "FILE", "-o", "merged.json"),
    ("approve", "FILE", "--by", "Ada", "--dry-run"),
)
ON_LOCKS: tuple[tuple[str, ...], ...] = (
    ("verify", "--lock", "FILE"),
    ("diff", "FILE", "FILE"),
    ("whatif", "FILE", "--down", "openai"),
    ("export", "litellm", "--lock", "FILE"),
    ("export", "litellm-proxy", "--lock", "FILE"),
    ("export", "json", "--lock", "FILE"),
)
READING_COMMANDS = sorted(set(COMMANDS) - {"demo", "init"})


@contextmanager
def folder() -> Iterator[Path]:
    """Give an empty folder that is the working directory meanwhile."""
    before = Path.cwd()
    path = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.chdir(path)
    try:
        yield path
    finally:
        os.chdir(before)
        shutil.rmtree(path, ignore_errors=True)


def prompt(content: bytes) -> bool:
    """Read a prompt file and render it."""
    with folder() as where:
        (where / "p.prompt").write_bytes(content)
        with suppress(ProofmapError):
            template = PromptLibrary(where).get("p")
            values = dict.fromkeys(template.variables, "a value")
            template.render(values)
            rebuilt = template.from_messages(template.messages, name="p", variant="default", file="p")
            rebuilt.render(values)
            return True
    return False


def recordings(content: bytes) -> bool:
    """Read a recordings file, twice by way of its index, and use it as a cache does."""
    with folder() as where:
        (where / "r.jsonl").write_bytes(content)
        with suppress(ProofmapError):
            for _ in range(2):
                read = Recordings(["r.jsonl"], where, where / "cache")
                for recording in read.entries():
                    answer = recording.answer
                    _ = answer.text, answer.tool_calls, answer.usage, answer.finish_reason, answer.model
                    again = read.get(recording.key)
                    assert again is not None
                    assert again.to_json() == answer.to_json()
                read.close()
            (where / "proofmap.toml").write_text('recordings = ["r.jsonl"]\n', encoding="utf-8")
            for arguments in (("import", "r.jsonl"), ("stats",), ("export", "out.jsonl"), ("stats", "--json")):
                _invoke(["cache", *arguments])
            return True
    return False


def index(content: bytes) -> bool:
    """Read a recordings file whose index, in the cache's folder, was written by somebody else."""
    with folder() as where:
        file = where / "r.jsonl"
        line = {"request": {"model": "m", "messages": []}, "response": {"choices": [{"message": {}}]}}
        file.write_text(json.dumps(line) + "\n", encoding="utf-8")
        os.utime(file, (0, 0))
        cache = where / "cache"
        Recordings(["r.jsonl"], where, cache).close()
        kept = list((cache / "recordings").glob("*.json"))
        status = file.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        head = json.dumps([1, 1, str(file), stamp]).encode()
        for path in kept or [cache / "recordings" / "x.json"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"[" + head + b"," + content + b"]")
        with suppress(ProofmapError):
            read = Recordings(["r.jsonl"], where, cache)
            for _ in read.entries():
                pass
            read.close()
            return True
    return False


def evidence(content: bytes) -> bool:
    """Read an artifact with every command that reads one."""
    return _accepted(content, ON_EVIDENCE)


def lock(content: bytes) -> bool:
    """Read a lock, as it is and as if its digests matched, and use it as production does."""
    with suppress(ProofmapError, UnicodeDecodeError):
        text = content.decode("utf-8")
        with suppress(ProofmapError):
            sides(text)
        parsed = parse_lock(text, "the lock")
        content = signed(parsed, parsed.routes).model_dump_json(by_alias=True).encode()
        with folder() as where:
            (where / "l.lock").write_bytes(content)
            read = read_lock(where / "l.lock")
        templates = compile_prompts(read)
        for name, route in read.routes.items():
            for rung in rungs_of(read, name, route, templates):
                for package in rung._templates:
                    with suppress(ProofmapError):
                        rung.render(package)
        router_arguments(read, read.routes)
    return _accepted(content, ON_LOCKS)


def configuration(content: bytes) -> bool:
    """Read a configuration file, under both of its names."""
    with folder() as where:
        accepted = False
        for name in ("proofmap.toml", "pyproject.toml"):
            (where / name).write_bytes(content)
            with suppress(ProofmapError):
                read = load(find_rootdir(where))
                for runtime in read.runtimes:
                    read.runtime(runtime)
                accepted = True
            (where / name).unlink()
        return accepted


def template(content: bytes) -> bool:
    """Compile and render the body of a prompt."""
    with suppress(ProofmapError, UnicodeDecodeError):
        made = MessageTemplate(content.decode("utf-8"), "t")
        made.render({name: [1, "a"] for name in made.variables})
        return True
    return False


def command_line(arguments: Sequence[str]) -> bool:
    """Run a command with arguments in an empty folder."""
    with folder():
        return _invoke([READING_COMMANDS[0] if not arguments else arguments[0], *arguments[1:]])


def _accepted(content: bytes, commands: Sequence[Sequence[str]]) -> bool:
    with folder() as where:
        file = where / "input.json"
        file.write_bytes(content)
        taken = [_invoke([str(file) if each == "FILE" else each for each in command]) for command in commands]
        return any(taken)


def _invoke(arguments: Sequence[str]) -> bool:
    """Run a command; return whether it took its input.

    Raises:
        AssertionError: Its exit status is none of those promised.
        Exception: What it did not expect.
    """
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code in (0, 1, 2), (arguments, result.exit_code, result.output)
    return result.exit_code < 2


def _arguments(content: bytes) -> bool:
    return command_line(content.decode("utf-8", "replace").replace("\0", "").split("\n")[:12])


TARGETS: Mapping[str, Callable[[bytes], bool]] = {
    "prompt": prompt,
    "template": template,
    "recordings": recordings,
    "index": index,
    "evidence": evidence,
    "lock": lock,
    "configuration": configuration,
    "command_line": _arguments,
}
"""By name what is fed with bytes."""


def plain(value: Any) -> bytes:
    """Return a value as JSON, in which numbers may be anything that Python writes."""
    return json.dumps(value, ensure_ascii=True).encode()
