"""Fixtures of the tests beside everyday tools."""

from __future__ import annotations

from everyday_project import everyday, plain

__all__ = ["everyday", "plain"]
