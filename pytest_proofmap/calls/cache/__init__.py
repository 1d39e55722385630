"""Stores of answers: on disk, and on a server that a team shares."""
