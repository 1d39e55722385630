"""The process of a call service, as the process that started it sees it.

It is started before the first test, from what this process was at its start: a test may change the environment,
the folder, ``subprocess.Popen`` and, as pyfakefs does, the files that Python sees. Until something is asked it is
a bare interpreter that waits for a line, so that a run that finds every answer pays next to nothing for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_proofmap.calls.service.protocol import ServiceSettings, ServiceSocket, connect, decode, encode
from pytest_proofmap.errors import CallError, StoreError
from pytest_proofmap.redaction import Redactor

__all__ = ["ServiceProcess", "Surroundings"]

_LONGEST_SOCKET_PATH = 100
_END_TIMEOUT_S = 10.0
_LOG_LINES = 12

_NOT_FOR_THE_CHILD = (
    # What measures or changes pytest's own process has no business in the child.
    *("COV_CORE_SOURCE", "COV_CORE_CONFIG", "COV_CORE_DATAFILE", "PYTHONWARNINGS"),
    # A parameter's text is in it, and with 128 kB no process can be started.
    "PYTEST_CURRENT_TEST",
)

_BOOTSTRAP = """
import sys
sys.path[:] = {path!r}
settings = sys.stdin.buffer.readline()
if settings:
    from pytest_proofmap.calls.service.__main__ import main
    main(settings)
"""
"""``-m`` would put the project's folder first, whose ``queue.py`` or ``types.py`` would then be the service's;
``-I`` would lose what is installed for the user or named by ``PYTHONPATH``, and ``-P`` needs Python 3.11."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a call service is started from: this process before any test could change it."""

    environment: dict[str, str]
    directory: str
    """The working directory."""
    path: list[str]
    """Where the service imports from: ``sys.path`` without the project's own folders."""

    @classmethod
    def now(cls, project: Iterable[Path] = ()) -> Surroundings:
        """Return what this process is now.

        Args:
            project: The project's folders, from which nothing is imported.
        """
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_CHILD}
        return cls(environment, os.getcwd(), _import_path(sys.path, [Path.cwd(), *project]))


class ServiceProcess:
    """The child process of a service that this process started.

    Args:
        surroundings: What it is started from; default: this process as it is now.
    """

    def __init__(self, surroundings: Surroundings | None = None) -> None:
        surroundings = surroundings or Surroundings.now()
        self._redactor = Redactor({})
        self._token = secrets.token_hex(16)
        self._owner = os.getpid()
        self._is_asked = False
        self._folder = Path(tempfile.mkdtemp(prefix="proofmap-"))
        self._log = (self._folder / "log").open("w+b")
        self._directory = surroundings.directory
        # Linux tells a child of the end of the thread that started it; the main one alone ends with its process.
        self._from_main_thread = threading.current_thread() is threading.main_thread()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOTSTRAP.format(path=surroundings.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=surroundings.environment,
            cwd=surroundings.directory,
            start_new_session=True,
        )

    def serve(self, settings: ServiceSettings, redactor: Redactor) -> None:
        """Have the process become the service; returns at once, it comes up meanwhile.

        Args:
            settings: What the service needs to know.
            redactor: Takes secrets out of what the service wrote last, should it die.
        """
        self._is_asked = True
        self._redactor = redactor
        path = f"{self._folder}{os.sep}calls.sock"
        fits = hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) < _LONGEST_SOCKET_PATH
        self._send_settings(
            {
                "token": self._token,
                "folder": str(self._folder),
                "parent": self._owner if self._from_main_thread else None,
                "socket": path if fits else None,
                "store": settings.store,
                "concurrency": settings.concurrency,
                "limits": settings.limits,
                "budget_usd": settings.budget_usd,
                "max_response_mb": settings.max_response_mb,
                "refresh": settings.refresh,
                "run": settings.run,
                "cwd": self._directory,
            }
        )

    def connect(self, tell: Callable[[str], None]) -> ServiceSocket:
        """Wait until the service is up and connect.

        Args:
            tell: Told what the service waits for meanwhile.

        Raises:
            StoreError: It could not open the store.
            CallError: It did not come up.
        """
        assert self._process.stdout is not None
        message: dict[str, Any] = {}
        with self._process.stdout as output:
            for line in output:
                message = decode(line)
                if "notice" not in message:
                    break
                tell(message["notice"])
        if "error" in message:
            raise StoreError(message["error"]["message"])
        if "ready" not in message:
            raise CallError("CallServiceError", self.obituary())
        return connect(f"{message['ready']}#{self._token}")

    def obituary(self) -> str:
        """Return how the service ended, with the last lines that it wrote."""
        try:
            status: object = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = "none, it still runs but closed its connection"
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
        text = self._redactor.redact("\n".join(lines)).strip()
        said = f" It wrote last:\n{text}" if text else ""
        return (
            f"the process that makes the calls ended (exit status: {status}); what it had answered is "
            f"kept, so that running again only repeats the rest.{said}"
        )

    def end(self) -> None:
        """Cut the lifeline and wait until the process is gone; in a process that a test has forked, do nothing."""
        if os.getpid() != self._owner:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if not self._is_asked:
            # It has nothing to finish.
            self._process.kill()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
        for path in self._folder.glob("*"):
            with contextlib.suppress(OSError):
                path.unlink()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _send_settings(self, settings: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        # A child that died at once is reported by connect().
        with contextlib.suppress(OSError):
            self._process.stdin.write(encode(settings))
            self._process.stdin.flush()


def _import_path(path: Iterable[str], project: Iterable[Path]) -> list[str]:
    """Return the folders of ``sys.path`` that are not the project's own, Python's own before all others."""
    roots = [os.path.realpath(folder) for folder in project]
    pythons = [entry for entry in path if entry and _is_pythons(entry)]
    others = [entry for entry in path if entry and entry not in pythons and not _is_projects(entry, roots)]
    # This package itself may be installed from the project's folder.
    package = str(Path(__file__).resolve().parents[3])
    return [*pythons, *others, *([package] if package not in others else [])]


def _is_pythons(entry: str) -> bool:
    """Return whether the standard library is imported from a folder or archive."""
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    place = os.path.realpath(entry)
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return place == library or place in (
        os.path.join(library, "lib-dynload"),
        os.path.join(os.path.dirname(library), archive),
    )


def _is_projects(entry: str, roots: Iterable[str]) -> bool:
    """Return whether a folder is within the project or around it, and not one where packages are installed."""
    place = os.path.realpath(entry)
    if any(part in ("site-packages", "dist-packages") for part in Path(place).parts):
        return False
    if os.path.exists(os.path.join(place, "conftest.py")):
        return True
    return any(os.path.commonpath([place, root]) in (place, root) for root in roots if _share_a_drive(place, root))


def _share_a_drive(*paths: str) -> bool:
    return len({os.path.splitdrive(path)[0] for path in paths}) == 1
