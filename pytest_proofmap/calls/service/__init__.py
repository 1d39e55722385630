"""The process that makes the calls, and how pytest's side talks to it."""
