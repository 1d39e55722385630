"""Drift that may be watched: the same cases asked again and again, false alarms bounded over all looks together.

Look t compares the new answers with those of one reference run by the exact conditional test of McNemar (1947,
Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika
12:153-157), each direction at half of 6 alpha / (pi^2 t^2), shared by the runtimes. These levels sum to alpha, so
that by the union bound the probability of any false alarm ever is at most alpha, although the reference is one
noisy draw that is compared with each time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pytest_proofmap.decide.binomial import binomial_at_least
from pytest_proofmap.decide.moved import ALPHA, RatioDrift, measured_twice, rate_drifts, ratio_drifts
from pytest_proofmap.evidence.models import Evidence

__all__ = ["Watch", "WatchedRate", "level_of_look", "watch"]


class WatchedRate(NamedTuple):
    """A runtime's pass rate at one look, over all criteria."""

    runtime: str
    old: float
    new: float
    cases: int
    regressed: tuple[str, ...]
    """Cases that passed and now fail."""
    improved: tuple[str, ...]
    p_drop: float
    p_rise: float
    level: float
    """What either p-value must not exceed to be an alarm."""

    @property
    def alarm(self) -> str | None:
        """Which way the rate moved beyond what chance explains over all looks: ``dropped``, ``rose`` or None."""
        if self.p_drop <= self.level:
            return "dropped"
        return "rose" if self.p_rise <= self.level else None


class Watch(NamedTuple):
    """One look."""

    look: int
    rates: list[WatchedRate]
    costs: list[RatioDrift]
    latencies: list[RatioDrift]

    @property
    def alarms(self) -> list[WatchedRate]:
        """The rates that moved."""
        return [rate for rate in self.rates if rate.alarm is not None]


def level_of_look(look: int, alpha: float = ALPHA) -> float:
    """Return what a look may spend of alpha: over all looks without end just alpha."""
    return 6.0 * alpha / (math.pi**2 * look**2)


def watch(old: Evidence, new: Evidence, look: int, alpha: float = ALPHA) -> Watch:
    """Compare new answers with a reference's, at one of any number of looks.

    Args:
        old: The reference, such as the approved run.
        new: The same cases, asked again.
        look: Which comparison with this reference it is, from 1.
        alpha: The probability of any false alarm over all looks.
    """
    measured = measured_twice(old, new)
    pooled = [rate for rate in rate_drifts(measured, old, new) if rate.criterion is None]
    level = level_of_look(look, alpha) / 2.0 / max(1, len(pooled))
    rates = []
    for rate in pooled:
        down, up = len(rate.regressed), len(rate.improved)
        p_drop, p_rise = (binomial_at_least(one, down + up, 0.5) for one in (down, up))
        rates.append(
            WatchedRate(
                rate.runtime, rate.old, rate.new, rate.cases, rate.regressed, rate.improved, p_drop, p_rise, level
            )
        )
    ratios = ratio_drifts(measured)
    return Watch(look, rates, ratios.costs, ratios.latencies)
