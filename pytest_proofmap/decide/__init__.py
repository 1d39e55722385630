"""What the evidence means: statistics, verdicts and recommendations, as pure functions."""
