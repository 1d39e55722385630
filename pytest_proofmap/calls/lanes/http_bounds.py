"""What a server may do with a request over HTTP: answer it, up to a length, and send it nowhere else.

LiteLLM and the clients that it uses follow redirects, with the headers that hold the credentials, and read
whatever comes. The call service bounds both for all of them, in the HTTP libraries that they share: httpx, which
most go through (also where LiteLLM puts aiohttp beneath it), and aiohttp, which some use by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_proofmap.calls.outcome import AttemptError

if TYPE_CHECKING:
    import httpx

__all__ = ["DEFAULT_MAX_RESPONSE_MB", "bound_http", "plain_address", "watch_http"]

DEFAULT_MAX_RESPONSE_MB = 64

_MB = 1_000_000
_MOVED = (301, 302, 303, 307, 308)

_broken: ContextVar[list[AttemptError] | None] = ContextVar("broken_bounds", default=None)


def watch_http() -> list[AttemptError]:
    """Return a list that takes the bounds which the current task's requests break from now on.

    The client libraries wrap what is raised in them in exceptions of their own, some without a trace of it.
    """
    broken: list[AttemptError] = []
    _broken.set(broken)
    return broken


def plain_address(address: str) -> str:
    """Return an address without what may be a secret: a user, a password, a query."""
    try:
        where = urlsplit(address)
        return f"{where.scheme}://{where.hostname}{f':{where.port}' if where.port else ''}{where.path}"
    except ValueError:
        return "an address that cannot be read"


def bound_http(max_response_mb: int) -> None:
    """Bound what requests of this process may come to, once.

    Args:
        max_response_mb: The longest body that is read, unpacked, in MB.
    """
    _bound_httpx(max_response_mb)
    _bound_aiohttp(max_response_mb)


def _bound_httpx(max_response_mb: int) -> None:
    import httpx

    most = max_response_mb * _MB
    original_send, original_async_send = httpx.Client.send, httpx.AsyncClient.send
    original_begin = httpx.Response.__init__
    original_bytes, original_async_bytes = httpx.Response.iter_bytes, httpx.Response.aiter_bytes

    def send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        return _note_move(original_send(client, request, **{**options, "follow_redirects": False}))

    async def async_send(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        return _note_move(await original_async_send(client, request, **{**options, "follow_redirects": False}))

    def begin(response: httpx.Response, status_code: int, *, headers: Any = None, **rest: Any) -> None:
        original_begin(response, status_code, headers=_writable(headers), **rest)

    # Of the unpacked body, as a few kB can be packed that become GB. Reading it whole goes this way too.
    def iter_bytes(response: httpx.Response, chunk_size: int | None = None) -> Iterator[bytes]:
        length = 0
        for chunk in original_bytes(response, chunk_size):
            length += len(chunk)
            if length > most:
                raise _break(_too_long(max_response_mb))
            yield chunk

    async def aiter_bytes(response: httpx.Response, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        length = 0
        async for chunk in original_async_bytes(response, chunk_size):
            length += len(chunk)
            if length > most:
                await response.aclose()
                raise _break(_too_long(max_response_mb))
            yield chunk

    bounds: list[tuple[type, str, Any]] = [
        (httpx.Response, "__init__", begin),
        (httpx.Client, "send", send),
        (httpx.AsyncClient, "send", async_send),
        (httpx.Response, "iter_bytes", iter_bytes),
        (httpx.Response, "aiter_bytes", aiter_bytes),
    ]
    for holder, name, bounded in bounds:
        setattr(holder, name, bounded)


def _bound_aiohttp(max_response_mb: int) -> None:
    try:
        import aiohttp
    except ImportError:
        return  # What needs it cannot be called either.

    most = max_response_mb * _MB
    # All ways to ask come together in this private method; the public ones each take allow_redirects on their own:
    # https://github.com/aio-libs/aiohttp/blob/v3.11.0/aiohttp/client.py
    original_request = aiohttp.ClientSession._request

    async def request(session: aiohttp.ClientSession, *where: Any, **options: Any) -> aiohttp.ClientResponse:
        response = await original_request(session, *where, **{**options, "allow_redirects": False})
        location = response.headers.get("location")
        if response.status in _MOVED and location is not None:
            _break(_moved(response.status, location))
        return response

    def bounded(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def read(reader: aiohttp.StreamReader, *amount: Any, **options: Any) -> Any:
            piece = await original(reader, *amount, **options)
            # What came so far, unpacked; no more than a buffer of it was not read yet.
            if reader.total_bytes > most:
                raise _break(_too_long(max_response_mb))
            return piece

        return read

    # Reading whole, by line and piece by piece go through one of these each.
    for name in ("readany", "readchunk", "readuntil", "read"):
        setattr(aiohttp.StreamReader, name, bounded(getattr(aiohttp.StreamReader, name)))
    setattr(aiohttp.ClientSession, "_request", request)  # noqa: B010  # mypy: a method cannot be assigned


def _writable(headers: Any) -> Any:
    """Return the headers of a response so that they can be written again, which LiteLLM does with its errors.

    httpx reads a header in any encoding, and writes a text in ASCII alone: a status would be lost for a header.
    """
    items = headers.items() if isinstance(headers, Mapping) else headers
    try:
        if items is None or all(isinstance(value, bytes) or value.isascii() for _, value in items):
            return headers
        return [(name, value.encode("ascii", "replace")) for name, value in items if isinstance(value, str)]
    except (AttributeError, TypeError, ValueError):
        return headers  # Whatever it is, httpx decides on it.


def _note_move(response: httpx.Response) -> httpx.Response:
    if response.has_redirect_location:
        _break(_moved(response.status_code, str(response.headers.get("location"))))
    return response


def _break(error: AttemptError) -> AttemptError:
    """Note that a bound was broken."""
    broken = _broken.get()
    if broken is not None:
        broken.append(error)
    return error


def _too_long(max_response_mb: int) -> AttemptError:
    return AttemptError(
        "ResponseTooLargeError",
        f"the response is longer than {max_response_mb} MB, which is the most that is read. Bound what the model "
        "writes (max_tokens), or raise max_response_mb in the configuration.",
        maybe_paid=True,
    )


def _moved(status: int, location: str) -> AttemptError:
    return AttemptError(
        "RedirectError",
        f"the server sends the request on to {plain_address(location)} (status {status}), and redirects are not "
        "followed: they would take keys and prompts along. Set the runtime's api_base to the address that "
        "answers.",
        status=status,
        fatal_for_runtime=True,
    )
