"""The pytest plugin: hooks that delegate."""

from __future__ import annotations
