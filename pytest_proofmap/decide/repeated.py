"""Several samples of each case: two paired tables that must both hold, and one that speaks against.

More samples tell more about the same cases but never stand for more cases. The *mean* table counts how far
the pass shares of a case differ, on an effective number of cases that grows only as far as averaging really
took noise away; the *flip* table counts the cases that changed sides. Who is acceptable must be so on both. Who is
worse is so by the *share* table alone, the differences in pass share over the cases: to ask for both there as well
would find nobody from three samples on, for whoever fails now and then flips no case. With one sample a case all
three are the ordinary table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["CasePair", "PairedTable", "flip_table", "mean_table", "pass_hat_k", "share_table"]


class CasePair(NamedTuple):
    """What the baseline and a challenger did on one case."""

    baseline_rate: float
    challenger_rate: float
    baseline_samples: int
    """Independent samples: 1 where all answers of the case were byte-identical."""
    challenger_samples: int


class PairedTable(NamedTuple):
    """Regressions, improvements and pairs; the first two may be fractional."""

    regressions: float
    improvements: float
    pairs: int


def share_table(cases: Sequence[CasePair]) -> PairedTable:
    """Return the table of the differences in pass share, on the cases as they are."""
    differences = [case.challenger_rate - case.baseline_rate for case in cases]
    regressions = math.fsum(-d for d in differences if d < 0.0)
    return PairedTable(regressions, math.fsum(d for d in differences if d > 0.0), len(cases))


def mean_table(cases: Sequence[CasePair]) -> PairedTable:
    """Return the table of the mean differences on the effective number of cases."""
    regressions, improvements, n = share_table(cases)
    if n == 0:
        return PairedTable(0, 0, 0)
    differences = [case.challenger_rate - case.baseline_rate for case in cases]
    if all(case.baseline_samples == 1 == case.challenger_samples for case in cases):
        return PairedTable(regressions, improvements, n)
    mean = math.fsum(differences) / n
    variance = math.fsum((d - mean) ** 2 for d in differences) / n
    single = (regressions + improvements) / n - mean * mean
    units = sum(min(case.baseline_samples, case.challenger_samples) for case in cases)
    if single <= 1e-12:
        gain = 1.0
    elif variance <= 1e-12:
        gain = units / n
    else:
        gain = min(max(single / variance, 1.0), units / n)
    effective = max(n, math.floor(n * gain + 1e-9))
    scale = effective / n
    return PairedTable(regressions * scale, improvements * scale, effective)


def flip_table(cases: Iterable[CasePair]) -> PairedTable:
    """Return the table of the cases whose pass share changed by half or more."""
    regressions = improvements = pairs = 0
    for case in cases:
        pairs += 1
        difference = case.challenger_rate - case.baseline_rate
        if difference <= -0.5 + 1e-9:
            regressions += 1
        elif difference >= 0.5 - 1e-9:
            improvements += 1
    return PairedTable(regressions, improvements, pairs)


def pass_hat_k(counts: Iterable[tuple[int, int]]) -> float | None:
    """Return the probability that k samples of a case all pass, averaged over the cases.

    Args:
        counts: Per case the number of samples that passed and the number of samples. k is the smallest
            number of samples that any case has.

    Returns:
        The mean of C(passed, k) / C(samples, k), or None when there is no case.
    """
    cases = [case for case in counts if case[1] > 0]
    if not cases:
        return None
    k = min(samples for _, samples in cases)
    return math.fsum(math.comb(passed, k) / math.comb(samples, k) for passed, samples in cases) / len(cases)
