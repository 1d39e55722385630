"""The statistics that verdicts rest on: pure functions on counts."""
