"""Addresses within the page: what it shows is kept behind the ``#``, so that a link survives a reload."""

from __future__ import annotations

from urllib.parse import quote

__all__ = ["cell_link"]


def cell_link(criterion: str, runtime: str, slice_name: str | None) -> str:
    """Return the address of a cell's cases."""
    parts = {"criterion": criterion, "runtime": runtime}
    if slice_name is not None:
        parts["slice"] = slice_name
    # A half of a surrogate pair has no form in an address.
    return "#" + "&".join(f"{name}={quote(value, safe='', errors='replace')}" for name, value in parts.items())
