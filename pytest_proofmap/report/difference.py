"""The page of ``proofmap diff`` on two artifacts: what got worse first, what failed the check last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pytest_proofmap.approve.staleness import Change
from pytest_proofmap.decide.coverage import Gap
from pytest_proofmap.decide.drift import ChainChange, Drift, Flip, ServedModels
from pytest_proofmap.decide.moved import RateDrift, RatioDrift
from pytest_proofmap.decide.wording import count, name_cases, percent, points
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.report.labels import short_labels
from pytest_proofmap.report.page import Page
from pytest_proofmap.report.wording import SIGNS, WORDS, plural

__all__ = ["Compared", "drift_lines", "evidence_notes", "has_estimates", "summary_of"]

_SHOWN = 8


class Compared(NamedTuple):
    """Two artifacts and what differs between them."""

    old: Evidence
    new: Evidence
    drift: Drift
    changed: tuple[Change, ...]
    """Fingerprints that are others now, of what both artifacts have."""


def drift_lines(compared: Compared, page: Page, *, verbosity: int = 0) -> list[str]:
    """Return the lines of the comparison, without its title, its notes and its end.

    Args:
        compared: What to show.
        page: Where to show it.
        verbosity: 1 names every flip, gap and criterion; 2 every case too.
    """
    drift = compared.drift
    labels = short_labels(
        dict.fromkeys(criterion.id for each in (compared.old, compared.new) for criterion in each.criteria)
    )
    writer = _Writer(page, labels, verbosity)
    sections = [
        writer.flips("Verdicts that got worse", drift.worse, "red"),
        writer.flips("Verdicts that got better (they offset nothing above)", drift.better, "green"),
        writer.listed("Lost coverage: OLD has it, NEW lacks it", map(writer.gap, drift.lost), "red"),
        writer.listed("New coverage: NEW has it, OLD lacked it", map(writer.gap, drift.added)),
        writer.listed("Not the same any more", writer.changes(compared)),
        writer.listed("Answered by another model", map(_served, drift.served), "yellow"),
        writer.rates(drift.rates),
        writer.ratios("Cost of the same cases, NEW by OLD", drift.costs, ("dearer", "cheaper")),
        writer.ratios("Latency of the same cases, NEW by OLD", drift.latencies, ("slower", "faster")),
        writer.listed("Recommended chains that changed", map(_chain, drift.chains)),
    ]
    lines: list[str] = []
    for section in filter(None, sections):
        if lines:
            lines.append("")
        lines += section
    return lines


def evidence_notes(compared: Compared) -> Iterator[str]:
    """Yield what a reader must know before trusting the comparison."""
    old, new = compared.old, compared.new
    if old.run.id == new.run.id:
        yield "both are of the same run"
    for name, evidence in (("OLD", old), ("NEW", new)):
        if not evidence.run.complete:
            reasons = "; ".join(evidence.run.incomplete_reasons) or "some marked tests did not run"
            yield f"{name} is incomplete: {reasons}"
    if has_estimates(old) or has_estimates(new):
        yield "token counts are estimated, and so are the costs"
    if new.totals.calls and not new.totals.live and old.run.id != new.run.id:
        yield (
            "NEW has no live answer, so it cannot show what providers changed: a drift check asks anew with "
            "pytest --proofmap --proofmap-cache=refresh"
        )


def has_estimates(evidence: Evidence) -> bool:
    """Return whether some token counts, and so costs, are estimates."""
    return any(call.usage_estimated for sample in evidence.samples for call in sample.calls)


def summary_of(drift: Drift) -> list[str]:
    """Return in words what counts as a regression and what as drift."""
    dropped = {rate.runtime for rate in drift.rates if rate.dropped}
    rose = {rate.runtime for rate in drift.rates if rate.beyond_chance and not rate.dropped}
    worse = [
        count(len(drift.worse), "verdict got worse", "verdicts got worse") if drift.worse else "",
        f"coverage was lost in {count(len(drift.lost), 'place')}" if drift.lost else "",
        f"the pass rate of {_names(dropped)} dropped" if dropped else "",
    ]
    moved = [
        f"the pass rate of {_names(rose)} rose" if rose else "",
        *(
            f"the {what} of {_names(names)} moved"
            for what, ratios in (("cost", drift.costs), ("latency", drift.latencies))
            if (names := {each.runtime for each in ratios if each.beyond_interval})
        ),
        f"another model answered for {_names({each.runtime for each in drift.served})}" if drift.served else "",
    ]
    return [
        f"{what}: {'; '.join(found)}"
        for what, texts in (("regression", worse), ("drift", moved))
        if (found := [text for text in texts if text])
    ]


class _Writer:
    """Writes the sections of a page."""

    def __init__(self, page: Page, labels: dict[str, str], verbosity: int) -> None:
        self.page = page
        self.labels = labels
        self.verbosity = verbosity

    def listed(self, title: str, texts: Iterable[str], colour: str | None = None) -> list[str]:
        """Return a title with a line for each text, cut where there are many."""
        entries = [self.page.wrap(text, "  - ", "    ") for text in texts]
        if not entries:
            return []
        shown = entries if self.verbosity else entries[:_SHOWN]
        lines = [self.heading(f"{title} ({len(entries)})")]
        lines += [self.page.paint(line, *([colour] if colour else [])) for entry in shown for line in entry]
        return [*lines, *self.more(len(entries) - len(shown))]

    def flips(self, title: str, flips: Sequence[Flip], colour: str) -> list[str]:
        if not flips:
            return []
        said = {(flip.slice, flip.runtime, flip.reason) for flip in flips if flip.scope == "objective"}
        told = [
            flip
            for flip in flips
            if self.verbosity or flip.scope == "objective" or (flip.slice, flip.runtime, flip.reason) not in said
        ]
        shown = told if self.verbosity else told[:_SHOWN]
        lines = [self.heading(f"{title} ({len(flips)})")]
        for flip in shown:
            name = self.labels.get(flip.name, flip.name) if flip.scope == "criterion" else flip.name
            where = f"{name} {flip.slice}" if flip.slice else name
            text = f"{where}: {flip.runtime} {WORDS[flip.old]} → {WORDS[flip.new]}: {flip.reason}"
            wrapped = self.page.wrap(text, f"  {SIGNS[flip.new]} ", "    ")
            lines += [self.page.paint(line, colour) for line in wrapped]
        return [*lines, *self.more(len(flips) - len(shown))]

    def gap(self, gap: Gap) -> str:
        name = self.labels.get(gap.name, gap.name)
        if gap.kind in ("objective", "criterion"):
            return f"{gap.kind} {gap.name}"
        if gap.kind == "cases":
            return f"{name}: {plural(len(gap.cases), 'case')}: {self.cases(gap.cases)}"
        if gap.kind in ("slice", "runtime"):
            where = f"{self.labels.get(gap.criterion, gap.criterion)}: " if gap.criterion else ""
            return f"{where}{gap.kind} {gap.name}"
        text = f"{name}: {plural(len(gap.cases), 'answer')} of {gap.runtime}: {self.cases(gap.cases)}"
        return f"{text} ({gap.unavailable} asked and unavailable)" if gap.unavailable else text

    def changes(self, compared: Compared) -> Iterator[str]:
        for change in compared.changed:
            yield change.text
        for each in compared.drift.baselines:
            yield f"the baseline of {each.objective}: {each.old} → {each.new}; its verdicts compare with another"

    def rates(self, rates: Sequence[RateDrift]) -> list[str]:
        if not rates:
            return []
        lines = [self.heading("Pass rate on the same cases (95 % that no line is a false alarm)")]
        for rate in rates:
            if rate.criterion is not None and not (self.verbosity or rate.beyond_chance):
                continue
            where = f" {self.labels.get(rate.criterion, rate.criterion)}" if rate.criterion is not None else ""
            low, high = map(_signed, rate.interval)
            text = (
                f"{rate.runtime}{where}: {percent(rate.old)} → {percent(rate.new)} in "
                f"{plural(rate.cases, 'case')}, {_signed(rate.difference)} points ({low} to {high})"
            )
            if rate.regressed or rate.improved:
                text += f": {count(len(rate.regressed), 'regression')}, {count(len(rate.improved), 'improvement')}"
            if rate.regressed and (rate.dropped or self.verbosity):
                text += f": {self.cases(rate.regressed)}"
            if rate.changed:
                text += f" [{' and '.join(rate.changed)} changed]"
            colour = "red" if rate.dropped else "green" if rate.beyond_chance else None
            lines += self.measured(text, rate.beyond_chance, colour)
        return lines

    def ratios(self, title: str, ratios: Sequence[RatioDrift], words: tuple[str, str]) -> list[str]:
        known = [each for each in ratios if each.ratio is not None]
        if not known and not self.verbosity:
            return []
        lines = [self.heading(title)]
        for each in ratios:
            if each.ratio is None:
                lines += self.measured(f"{each.runtime}: {each.unknown}", False, None)
                continue
            text = f"{each.runtime}: {_times(each.ratio)}"
            if each.interval is not None:
                text += f" ({_times(each.interval.low)} to {_times(each.interval.high)})"
            text += f" in {plural(each.cases, 'case')}"
            if each.beyond_interval:
                text += f", {words[0] if each.ratio > 1.0 else words[1]}"
            lines += self.measured(text, each.beyond_interval, "yellow" if each.beyond_interval else None)
        return lines

    def measured(self, text: str, moved: bool, colour: str | None) -> list[str]:
        lines = self.page.wrap(text, "  ! " if moved else "    ", "      ")
        return [self.page.paint(line, colour) for line in lines] if colour else lines

    def heading(self, text: str) -> str:
        return self.page.paint(self.page.shorten(text, self.page.columns), "bold")

    def more(self, number: int) -> list[str]:
        return self.page.wrap(f"and {number} more (-v shows them)", "    ", "    ") if number else []

    def cases(self, cases: Sequence[str]) -> str:
        return ", ".join(case or "the only case" for case in cases) if self.verbosity > 1 else name_cases(cases)


def _served(served: ServedModels) -> str:
    old, new = (
        ", ".join(f"{model} ({plural(number, 'answer')})" for model, number in models.items())
        for models in (served.old, served.new)
    )
    return f"{served.runtime}: {old} → {new}"


def _chain(change: ChainChange) -> str:
    where = f"{change.objective} {change.slice}" if change.slice else change.objective
    return f"{where}: {', then '.join(change.old)} → {', then '.join(change.new)}"


def _signed(difference: float) -> str:
    rounded = round(difference, 3)
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else ''}{points(abs(rounded))}"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:,.0f}×"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
