"""What the evidence means: statistics, verdicts, recommendations and planning, as pure functions."""
