"""A help desk that runs on what was approved: it asks the routes of proofmap.lock and knows no model by name.

    python help_desk.py --port 8000
    curl -d '{"ticket": "My parcel is late."}' http://127.0.0.1:8000/triage
    curl -d '{"ticket": "Thank you!", "channel": "email"}' http://127.0.0.1:8000/sentiment

Each answer says which runtime gave it. When the primary is down, the route's fallback answers if it has one, with
the prompt that it was qualified with. A changed lock is read again on SIGHUP, and not before. The server stops on
Ctrl-C, or when its ``--minutes`` are over. Where no models are served, try it with those of the triage example::

    cd ../triage && python serve.py -- python ../help_desk/help_desk.py --port 8000
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_proofmap import approved
from pytest_proofmap.errors import ProofmapError

if TYPE_CHECKING:
    from pytest_proofmap.approved import ApprovedRoutes, Served

HOST = "127.0.0.1"
LOCK = Path(__file__).with_name("proofmap.lock")
LARGEST_TICKET_BYTES = 100_000


class BadRequest(Exception):
    """What was asked for makes no sense; the message says why."""


def triage(routes: ApprovedRoutes, content: dict[str, Any]) -> tuple[Served, Any]:
    """Sort a ticket, as the example's test_triage.py asks for it."""
    served = routes.route("triage").run("triage", params={"max_tokens": 40}, ticket=content["ticket"])
    return served, json.loads(served.text)


def sentiment(routes: ApprovedRoutes, content: dict[str, Any]) -> tuple[Served, Any]:
    """Say whether a customer is satisfied, as test_sentiment.py does; a channel may have a route of its own."""
    route = routes.route("sentiment", channel=str(content.get("channel")))
    served = route.run("sentiment", params={"max_tokens": 6}, ticket=content["ticket"])
    return served, served.text.strip().lower()


JOBS = {"/triage": triage, "/sentiment": sentiment}


class Handler(BaseHTTPRequestHandler):
    """Answers ``POST /triage`` and ``POST /sentiment``."""

    server: HelpDesk

    def do_POST(self) -> None:
        """Have a route answer a ticket."""
        job = JOBS.get(self.path)
        if job is None:
            self.reply(404, {"error": f"ask one of {', '.join(JOBS)}"})
            return
        try:
            served, answer = job(self.server.routes, self.read_ticket())
        except (BadRequest, ProofmapError) as error:
            self.reply(400, {"error": str(error)})
        except json.JSONDecodeError:
            self.reply(502, {"error": "the model's answer is not what was asked for"})
        except Exception as error:
            # Every rung of the chain has failed.
            self.reply(503, {"error": type(error).__name__})
        else:
            self.reply(200, {"answer": answer, "runtime": served.rung.name, "rung": served.position})

    def read_ticket(self) -> dict[str, Any]:
        """Read what was sent."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_TICKET_BYTES:
            raise BadRequest(f"a ticket has at most {LARGEST_TICKET_BYTES} bytes")
        try:
            content = json.loads(self.rfile.read(length))
        except ValueError:
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("ticket"), str):
            raise BadRequest('send JSON: {"ticket": "..."}')
        return content

    def reply(self, status: int, content: object) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class HelpDesk(ThreadingHTTPServer):
    """A server whose threads share the approved routes."""

    daemon_threads = True

    def __init__(self, port: int, routes: ApprovedRoutes) -> None:
        super().__init__((HOST, port), Handler)
        self.routes = routes

    def reload(self) -> None:
        """Read the lock again; one that is broken changes nothing."""
        try:
            self.routes.reload()
        except ProofmapError as error:
            print(f"help_desk.py: {error}", file=sys.stderr)


def main() -> int:
    """Serve until Ctrl-C, or until the minutes are over."""
    parser = argparse.ArgumentParser(description="Answer tickets on the approved routes.")
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    parser.add_argument("--minutes", type=float, default=60, help="stop after that time at the latest (60)")
    parser.add_argument("--lock", type=Path, default=LOCK, help="default: the lock beside this file")
    options = parser.parse_args()
    try:
        routes = approved.load(options.lock)
    except ProofmapError as error:
        print(f"help_desk.py: {error}", file=sys.stderr)
        return 2
    with HelpDesk(options.port, routes) as server:
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: server.reload())
        end = threading.Timer(60 * options.minutes, server.shutdown)
        end.daemon = True
        end.start()
        print(f"http://{HOST}:{server.server_port}", flush=True)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            return 130
        finally:
            end.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(main())
