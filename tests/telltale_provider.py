"""A chat-completions server on loopback that repeats to its callers whatever they must not hear again."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

__all__ = ["TelltaleProvider"]


class TelltaleProvider:
    """A running server; use it as a context manager.

    A model called ``status-NNN`` is answered with that status and an error that repeats path and headers; any
    other model with a completion whose text and tool call repeat them, after the word ``ok``.

    Args:
        known: What it says each time as well.
        rumour: What it says in errors as well.
    """

    def __init__(self, known: str = "", rumour: str = "") -> None:
        self.heard: list[dict[str, str]] = []
        """Headers of each request, by lower-case name."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                provider.heard.append(headers)
                said = f"{known} {self.path} {json.dumps(headers)}"
                status = int(body["model"].partition("-")[2]) if body["model"].startswith("status-") else 200
                content = _completion(body["model"], said) if status == 200 else _error(f"{rumour} {said}")
                text = json.dumps(content).encode()
                self.send_response(status)
                for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(text)))):
                    self.send_header(name, value)
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: what is printed is looked through."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> TelltaleProvider:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _error(said: str) -> dict[str, Any]:
    return {"error": {"message": f"refused: {said}", "type": "invalid_request_error", "code": None}}


def _completion(model: str, said: str) -> dict[str, Any]:
    call = {"name": "look_up", "arguments": json.dumps({"said": said})}
    message = {
        "role": "assistant",
        "content": f"ok {said}",
        "tool_calls": [{"id": "call-1", "type": "function", "function": call}],
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
