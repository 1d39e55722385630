"""Kinds of figures, and how each is written: the same words and digits on every page.

What is shown in several places is a value here with one text. Text, Markdown and HTML choose a place for it, and
paint or escape it; none of them rounds.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_proofmap.decide.economics import LatencyFigures
from pytest_proofmap.decide.stats.binomial import clopper_pearson
from pytest_proofmap.decide.wording import count, figure, is_even, percent, points
from pytest_proofmap.evidence.models import Bar, Cell, Needs, Status

__all__ = [
    "SIGNS",
    "WORDS",
    "Amount",
    "Delay",
    "Errors",
    "Gain",
    "PassRate",
    "bar_text",
    "chain_text",
    "command",
    "distance",
    "interval_note",
    "money",
    "needs_text",
    "place",
    "seconds",
    "short_labels",
    "signed_points",
]

SIGNS: dict[Status, str] = {"qualified": "✓", "not_qualified": "✗", "insufficient": "?"}
"""The sign of each verdict; all three have a stand-in in ASCII."""

WORDS: dict[Status, str] = {
    "qualified": "qualified",
    "not_qualified": "not qualified",
    "insufficient": "not enough evidence",
}
"""What each verdict is called."""


def money(usd: float | None, *, estimated: bool = False) -> str:
    """Return an amount in USD with the digits that matter; ``~`` when it rests on estimated token counts."""
    if usd is None:
        return "unknown"
    about = "~" if estimated and usd else ""
    if usd == 0:
        return "$0"
    if usd >= 100:
        return f"{about}${usd:,.0f}"
    if usd >= 1:
        return f"{about}${usd:.2f}"
    digits = max(2, 1 - math.floor(math.log10(usd)))
    if digits > 6:
        return f"{about}<$0.000001"
    return f"{about}${usd:.{digits}f}"


def seconds(value: float | None) -> str:
    """Return a duration."""
    if value is None:
        return "not recorded"
    if value < 0.0995:
        return f"{1000 * value:.0f} ms" if value >= 0.0005 else "<1 ms"
    return f"{value:.1f} s" if value >= 9.95 else f"{value:.2f} s"


def signed_points(difference: float) -> str:
    """Return a difference of rates in points, with its sign."""
    rounded = round(difference, 3)
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else ''}{points(abs(rounded))}"


@dataclass(frozen=True, slots=True)
class PassRate:
    """How many cases passed of those that ran, and what that says of any others."""

    passed: int
    ran: int
    rate: float
    interval: tuple[float, float]
    """Two-sided Clopper-Pearson interval, as the evidence has it.

    What a verdict's reason says of the pass rate is another statement: a bound on the one side that its test looks
    at.
    """

    @classmethod
    def of(cls, passed: int, ran: int, confidence: float, interval: tuple[float, float] | None = None) -> PassRate:
        """Return the rate of some cases; where the evidence has no interval of it, at a bar's confidence."""
        return cls(passed, ran, passed / ran, interval or clopper_pearson(passed, ran, confidence or 0.95))

    @property
    def counts(self) -> str:
        """``24/24``."""
        return f"{self.passed}/{self.ran}"

    @property
    def text(self) -> str:
        """``97.5 %``."""
        return percent(self.rate)

    @property
    def range(self) -> str:
        """``85–100 %``: rounded outwards, so that it never claims more than was shown."""
        low, high = self.interval
        return f"{math.floor(100 * low + 1e-9)}–{math.ceil(100 * high - 1e-9)} %"


def interval_note(confidences: Collection[float]) -> str:
    """Return what the interval of a pass rate is, for a legend."""
    sure = {confidence or 0.95 for confidence in confidences}
    at = f"at {100 * min(sure):.3g} % confidence" if len(sure) == 1 else "at the confidence of its bar"
    return f"n–m %: two-sided interval of the pass rate, {at}"


@dataclass(frozen=True, slots=True)
class Errors:
    """Cases of a cell without an outcome."""

    unavailable: int
    """The runtime gave no usable answer."""
    broken: int
    """The test itself broke: no word about the runtime."""

    @classmethod
    def of(cls, cell: Cell) -> Errors:
        """Return the errors of a cell."""
        broken = cell.test_errors or 0
        return cls(cell.errors - broken, broken)

    @property
    def text(self) -> str:
        """How many there are, and whose; empty without any."""
        parts = [f"{self.unavailable} unavailable"] if self.unavailable else []
        return ", ".join([*parts, f"{count(self.broken, 'test error')}"] if self.broken else parts)

    @property
    def short(self) -> str:
        """The same for a narrow column: ``2U 1E``."""
        parts = ((self.unavailable, "U"), (self.broken, "E"))
        return " ".join(f"{number}{letter}" for number, letter in parts if number)


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum of costs."""

    usd: float | None
    """None where nothing is known of it."""
    estimated: bool = False
    """Whether it rests on estimated token counts."""
    at_least: bool = False
    """Whether it lacks answers of unknown price."""

    @property
    def known_usd(self) -> float | None:
        """The sum, or None where 0 is only what is known of it."""
        return None if self.at_least and not self.usd else self.usd

    @property
    def text(self) -> str:
        """The sum in words, which never says less than it may be."""
        return self.written()

    def written(self, code: str = "{}") -> str:
        """Return the text with the amount itself in a form, such as ``<code>{}</code>``."""
        if self.known_usd is None:
            return "unknown"
        amount = code.format(money(self.usd, estimated=self.estimated))
        return f"at least {amount}" if self.at_least else amount


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much a runtime is better than the baseline: baseline's figure divided by its own."""

    ratio: float | None
    interval: tuple[float, float] | None = None
    words: tuple[str, str] = ("cheaper", "the cost")
    """What above 1 is called, and below."""

    @property
    def text(self) -> str:
        """``10× cheaper``."""
        if self.ratio is None:
            return "unknown"
        if is_even(self.ratio):
            return "the same"
        return f"{figure(max(self.ratio, 1.0 / self.ratio))}× {self.words[self.ratio < 1.0]}"

    @property
    def full(self) -> str:
        """``10× cheaper (9.4–11×)``."""
        if self.ratio is None or self.interval is None or self.text == "the same":
            return self.text
        ends = self.interval if self.ratio > 1.0 else (1.0 / self.interval[1], 1.0 / self.interval[0])
        low, high = map(figure, ends)
        return self.text if low == high else f"{self.text} ({low}–{high}×)"


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a runtime takes for a case."""

    figures: LatencyFigures

    @property
    def p50(self) -> str:
        """The median."""
        return seconds(self.figures.p50)

    @property
    def slow_end(self) -> str:
        """The 95th percentile, for which the maximum stands where there are few; empty without any."""
        figures = self.figures
        if figures.p95 is not None:
            return f"p95 {seconds(figures.p95)} (n {figures.n})"
        return f"max {seconds(figures.max)} (n {figures.n})" if figures.n else ""


def needs_text(needs: Needs | None) -> str | None:
    """Return how many more cases a verdict takes; None when cases are not what is missing."""
    if needs is None:
        return None
    rerun = f"rerun {count(needs.rerun, 'error')}" if needs.rerun else ""
    if needs.typical is None:
        text = "more cases: none at this rate" if needs.best is not None else "no number of cases would do"
    elif needs.typical == 0 and rerun:
        return rerun
    else:
        # An estimate of thousands has no more than two digits to it.
        about = needs.typical if needs.typical < 1000 else round(needs.typical, 2 - len(str(needs.typical)))
        text = f"needs ~{count(about, 'more case')}"
    return f"{rerun}, {text}" if rerun else text


def distance(needs: Needs | None) -> tuple[float, float]:
    """Return how far a verdict is, to sort by: the cases to expect, then those of the best case."""
    expected, best = (needs.typical, needs.best) if needs is not None else (None, None)
    return (math.inf if expected is None else expected, math.inf if best is None else best)


def bar_text(bar: Bar) -> str:
    """Return a criterion's bar in words."""
    parts = []
    if bar.kind == "all_pass":
        parts.append("every case passes")
    if bar.kind in ("min_pass_rate", "both") and bar.min_pass_rate is not None:
        parts.append(f"at least {percent(bar.min_pass_rate)} of the cases pass")
    if bar.kind in ("margin", "both") and bar.margin is not None:
        parts.append(f"at most {percent(bar.margin)} worse than the baseline")
    if bar.samples > 1:
        parts.append(f"{bar.samples} samples a case")
    return ", ".join(parts)


def place(name: str, slice_name: str | None) -> str:
    """Return what an objective or criterion, or one of its slices, is called."""
    return f"{name} {slice_name}" if slice_name else name


def chain_text(chain: Sequence[str]) -> str:
    """Return a chain in words: ``mini (then haiku, base)``."""
    primary, *rest = chain or ("",)
    return f"{primary} (then {', '.join(rest)})" if rest else primary


def command(*words: str | Path) -> str:
    """Return a command line, quoted for a shell."""
    return shlex.join(str(word) for word in words)


def short_labels(criteria: Iterable[str]) -> dict[str, str]:
    """Return a short name for each criterion id: the test's own name, with as much path as it takes."""
    labels: dict[str, str] = {}
    pending = {criterion: _path_of(criterion) for criterion in criteria}
    depth = 1
    while pending:
        names = {criterion: "::".join(parts[-depth:]) for criterion, parts in pending.items()}
        sharing = Counter(names.values())
        unique = {
            criterion: name
            for criterion, name in names.items()
            if sharing[name] == 1 or depth >= len(pending[criterion])
        }
        labels.update(unique)
        pending = {criterion: parts for criterion, parts in pending.items() if criterion not in unique}
        depth += 1
    return labels


def _path_of(criterion: str) -> Sequence[str]:
    path, _, rest = criterion.partition("::")
    *folders, module = path.split("/")
    return [*folders, module.removesuffix(".py"), *rest.split("::")]
