"""Prompt packages: found, read and rendered."""
