"""What differs between two artifacts, or two locks, in words: what got worse first, what failed the check last.

A regression is worse than the baseline in one run; what is worse than in an older run is a change for the worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from pytest_proofmap.decide.compare import Gap, RateDrift, RatioDrift
from pytest_proofmap.decide.drift import ChainChange, Drift, Flip, ServedModels
from pytest_proofmap.decide.wording import count, name_cases, percent
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.lock.compare import LockDifference, RouteDifference
from pytest_proofmap.lock.models import Approval, Lock
from pytest_proofmap.lock.staleness import Change
from pytest_proofmap.report.figures import SIGNS, WORDS, chain_text, money, place, short_labels, signed_points
from pytest_proofmap.report.page import Page

__all__ = [
    "Compared",
    "Entry",
    "Section",
    "drift_lines",
    "evidence_notes",
    "has_estimates",
    "lock_difference_lines",
    "sections",
    "summary_of",
]

_SHOWN = 8

Tone = Literal["good", "bad", "careful"]
"""What an entry means to its reader, beside its words."""

_COLOURS: dict[Tone, str] = {"good": "green", "bad": "red", "careful": "yellow"}


class Compared(NamedTuple):
    """Two artifacts and what differs between them."""

    old: Evidence
    new: Evidence
    drift: Drift
    changed: tuple[Change, ...]
    """Fingerprints that are others now, of what both artifacts have."""


class Entry(NamedTuple):
    """One thing that differs."""

    text: str
    sign: str = "-"
    tone: Tone | None = None


class Section(NamedTuple):
    """Things of one kind that differ."""

    title: str
    entries: Sequence[Entry]
    withheld: int = 0
    """How many more there are."""


def drift_lines(compared: Compared, page: Page, *, verbosity: int = 0) -> list[str]:
    """Return the lines of the comparison, without its title, its notes and its end.

    Args:
        compared: What to show.
        page: Where to show it.
        verbosity: 1 names every flip, gap and criterion; 2 every case too.
    """
    lines: list[str] = []
    for section in sections(compared, verbosity=verbosity):
        if lines:
            lines.append("")
        lines.append(page.paint(page.shorten(section.title, page.columns), "bold"))
        for entry in section.entries:
            styles = [_COLOURS[entry.tone]] if entry.tone else []
            wrapped = page.wrap(entry.text, f"  {entry.sign or ' '} ", "      " if entry.sign in "!" else "    ")
            lines += [page.paint(line, *styles) for line in wrapped]
        if section.withheld:
            lines += page.wrap(f"and {section.withheld} more (-v shows them)", "    ", "    ")
    return lines


def sections(compared: Compared, *, verbosity: int = 1) -> list[Section]:
    """Return what differs, what got worse first.

    Args:
        compared: What to show.
        verbosity: Below 1 the first few of each kind; 2 names every case.
    """
    drift = compared.drift
    labels = short_labels(
        dict.fromkeys(criterion.id for evidence in (compared.old, compared.new) for criterion in evidence.criteria)
    )
    formatter = _Formatter(labels, verbosity)
    parts = [
        formatter.flips("Verdicts that got worse", drift.worse, "bad"),
        formatter.flips("Verdicts that got better (they offset nothing above)", drift.better, "good"),
        formatter.listed("Lost coverage: OLD has it, NEW lacks it", map(formatter.gap, drift.lost), "bad"),
        formatter.listed("New coverage: NEW has it, OLD lacked it", map(formatter.gap, drift.added)),
        formatter.listed("Not the same any more", formatter.changes(compared)),
        formatter.listed("Answered by another model", map(_served, drift.served), "careful"),
        formatter.rates(drift.rates),
        formatter.ratios("Cost of the same cases, NEW by OLD", drift.costs, ("costlier", "cheaper")),
        formatter.ratios("Latency of the same cases, NEW by OLD", drift.latencies, ("slower", "faster")),
        formatter.listed("Recommended chains that changed", map(_chain, drift.chains)),
    ]
    return [section for section in parts if section.entries]


def evidence_notes(compared: Compared) -> Iterator[str]:
    """Yield what a reader must know before trusting the comparison."""
    old, new = compared.old, compared.new
    if old.run.id == new.run.id:
        yield "both are of the same run"
    for name, evidence in (("OLD", old), ("NEW", new)):
        if not evidence.run.complete:
            reasons = "; ".join(evidence.run.incomplete_reasons) or "some marked tests did not run"
            judged = "" if name == "OLD" else "; lost coverage is judged on the criteria that it holds whole"
            yield f"{name} is incomplete: {reasons}{judged}"
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
    """Return in words what counts as a change for the worse and what as drift."""
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
            if (names := {ratio.runtime for ratio in ratios if ratio.beyond_interval})
        ),
        f"another model answered for {_names({served.runtime for served in drift.served})}"
        if drift.served
        else "",
    ]
    return [
        f"{what}: {'; '.join(said)}"
        for what, texts in (("change for the worse", worse), ("drift", moved))
        if (said := [text for text in texts if text])
    ]


class _Formatter:
    """Says in words what differs."""

    def __init__(self, labels: dict[str, str], verbosity: int) -> None:
        self.labels = labels
        self.verbosity = verbosity

    def listed(self, title: str, texts: Iterable[str], tone: Tone | None = None) -> Section:
        """Return a section with an entry for each text, cut where there are many."""
        return self.cut(title, [Entry(text, tone=tone) for text in texts])

    def flips(self, title: str, flips: Sequence[Flip], tone: Tone) -> Section:
        said = {(flip.slice, flip.runtime, flip.reason) for flip in flips if flip.scope == "objective"}
        shown = [
            flip
            for flip in flips
            if self.verbosity or flip.scope == "objective" or (flip.slice, flip.runtime, flip.reason) not in said
        ]
        return self.cut(title, [self.flip(flip, tone) for flip in shown], len(flips))

    def flip(self, flip: Flip, tone: Tone) -> Entry:
        name = self.labels.get(flip.name, flip.name) if flip.scope == "criterion" else flip.name
        where = place(name, flip.slice)
        text = f"{where}: {flip.runtime} {WORDS[flip.old]} → {WORDS[flip.new]}: {flip.reason}"
        return Entry(text, SIGNS[flip.new], tone)

    def cut(self, title: str, entries: Sequence[Entry], number: int | None = None) -> Section:
        """Return a section that says how many there are, and tells the first few where few are asked for."""
        shown = entries if self.verbosity else entries[:_SHOWN]
        total = len(entries) if number is None else number
        return Section(f"{title} ({total})", shown, total - len(shown))

    def gap(self, gap: Gap) -> str:
        name = self.labels.get(gap.name, gap.name)
        if gap.kind in ("objective", "criterion"):
            return f"{gap.kind} {gap.name}"
        if gap.kind == "cases":
            return f"{name}: {count(len(gap.cases), 'case')}: {self.cases(gap.cases)}"
        if gap.kind in ("slice", "runtime"):
            where = f"{self.labels.get(gap.criterion, gap.criterion)}: " if gap.criterion else ""
            return f"{where}{gap.kind} {gap.name}"
        text = f"{name}: {count(len(gap.cases), 'answer')} of {gap.runtime}: {self.cases(gap.cases)}"
        return f"{text} ({gap.unavailable} asked and unavailable)" if gap.unavailable else text

    def changes(self, compared: Compared) -> Iterator[str]:
        yield from (change.text for change in compared.changed)
        for change in compared.drift.baselines:
            yield (
                f"the baseline of {change.objective}: {change.old} → {change.new}; its verdicts compare with "
                "another"
            )

    def rates(self, rates: Sequence[RateDrift]) -> Section:
        shown = [rate for rate in rates if rate.criterion is None or self.verbosity or rate.beyond_chance]
        title = "Pass rate on the same cases (95 % that no line is a false alarm)"
        return Section(title, [self.rate(rate) for rate in shown])

    def rate(self, rate: RateDrift) -> Entry:
        where = f" {self.labels.get(rate.criterion, rate.criterion)}" if rate.criterion is not None else ""
        low, high = map(signed_points, rate.interval)
        text = (
            f"{rate.runtime}{where}: {percent(rate.old)} → {percent(rate.new)} in "
            f"{count(rate.cases, 'case')}, {signed_points(rate.difference)} points ({low} to {high})"
        )
        if rate.regressed or rate.improved:
            text += f": {len(rate.regressed)} changed for the worse, {len(rate.improved)} for the better"
        if rate.regressed and (rate.dropped or self.verbosity):
            text += f": {self.cases(rate.regressed)}"
        if rate.changed:
            text += f" [{' and '.join(rate.changed)} changed]"
        return _measured(text, rate.beyond_chance, "bad" if rate.dropped else "good")

    def ratios(self, title: str, ratios: Sequence[RatioDrift], words: tuple[str, str]) -> Section:
        known = any(drift.ratio is not None for drift in ratios)
        return Section(title, [_ratio(drift, words) for drift in ratios] if known or self.verbosity else [])

    def cases(self, cases: Sequence[str]) -> str:
        return ", ".join(case or "the only case" for case in cases) if self.verbosity > 1 else name_cases(cases)


def _measured(text: str, moved: bool, tone: Tone) -> Entry:
    return Entry(text, "!", tone) if moved else Entry(text, "")


def _ratio(drift: RatioDrift, words: tuple[str, str]) -> Entry:
    if drift.ratio is None:
        return Entry(f"{drift.runtime}: {drift.unknown}", "")
    text = f"{drift.runtime}: {_times(drift.ratio)}"
    if drift.interval is not None:
        text += f" ({_times(drift.interval.low)} to {_times(drift.interval.high)})"
    text += f" in {count(drift.cases, 'case')}"
    if drift.beyond_interval:
        text += f", {words[0] if drift.ratio > 1.0 else words[1]}"
    return _measured(text, drift.beyond_interval, "careful")


def _served(served: ServedModels) -> str:
    old, new = (
        ", ".join(f"{model} ({count(number, 'answer')})" for model, number in models.items())
        for models in (served.old, served.new)
    )
    return f"{served.runtime}: {old} → {new}"


def _chain(change: ChainChange) -> str:
    return f"{place(change.objective, change.slice)}: {chain_text(change.old)} → {chain_text(change.new)}"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:,.0f}×"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def lock_difference_lines(old: Lock, new: Lock, difference: LockDifference, page: Page) -> list[str]:
    """Return a block of lines for each route that differs."""
    lines: list[str] = []
    for route in difference.routes:
        sign, colour = (
            ("-", "red") if not route.new_chain else ("+", "green") if not route.old_chain else ("~", "bold")
        )
        text = f"{sign} {route.name}: {_headline(route)}"
        lines += [page.paint(line, colour) for line in page.wrap(text, "", "    ")]
        for loss in route.losses if route.new_chain else ():
            lines += [page.paint(line, "red") for line in page.wrap(loss, "    ! ", "      ")]
        for fact in _facts(route, old, new):
            lines += page.wrap(fact, "    ", "      ")
    return lines


def _headline(route: RouteDifference) -> str:
    was, now = (chain_text(chain) for chain in (route.old_chain, route.new_chain))
    if not route.new_chain:
        return f"the route is gone, was {was}"
    if not route.old_chain:
        return f"new route, {now}"
    if was != now:
        return f"{was} → {now}"
    return f"still {now}, {'on other grounds' if route.is_moved else 'approved anew'}"


def _facts(route: RouteDifference, old: Lock, new: Lock) -> Iterator[str]:
    """Yield what differs, what the chain was approved on, and by whom."""
    if not route.new_chain:
        return
    after, before = new.routes[route.name], old.routes.get(route.name)
    if before is None or route.old_decision != route.new_decision:
        was = f"{route.old_decision} → " if route.old_decision else ""
        yield f"decision: {was}{route.new_decision}: {after.reason}".replace("_", " ")
    for change in route.changed:
        if change.new is not None:
            fields = route.runtime_fields.get(change.name, ()) if change.kind == "runtime" else ()
            yield change.text + (
                f" ({', '.join(field for field in fields if field != 'price')})" if fields else ""
            )
        elif change.kind == "prompt":
            yield f"prompt {change.name} is no longer rendered"
    renamed = {change.name for change in route.changed if change.kind == "runtime"}
    for name, fields in route.runtime_fields.items():
        others = [field for field in fields if field != "price"]
        if others and name not in renamed:
            yield f"runtime {name} holds something else under the same key: {', '.join(others)}"
        if "price" in fields:
            yield f"runtime {name} has another price"
    for key in route.rewritten_prompts:
        yield f"prompt {key} holds other messages under the same key"
    for key in route.added_prompts:
        yield f"prompt {key} is new here"
    for criterion in route.added_criteria:
        yield f"criterion {criterion} is new here"
    for name, rate in after.evidence.pass_rates.items():
        earlier = before.evidence.pass_rates.get(name) if before else None
        cost = after.evidence.cost_per_1k_usd.get(name)
        was = f"{percent(earlier)} → " if earlier is not None and earlier != rate else ""
        passed = f"passes {was}{percent(rate)}" if rate is not None else "has no pass rate"
        if before is None or before.evidence.run != after.evidence.run:
            skipped = f" ({after.evidence.skipped} skipped)" if after.evidence.skipped else ""
            yield f"{name} {passed} of {after.evidence.cases} cases{skipped}, {money(cost)} for 1,000"
    providers = {new.runtimes[key].provider for key in after.chain}
    if len(providers) == 1:
        yield f"not outage-proof: {providers.pop()} serves every rung"
    yield from _approval(route.old_approval, route.new_approval)


def _approval(old: Approval | None, new: Approval | None) -> Iterator[str]:
    if new is None or old == new:
        return
    why = f": {new.reason}" if new.reason else ""
    ends = f", ends on {new.expires_at[:10]}" if new.expires_at else ""
    yield f"approved by {new.by} on {new.at[:10]}{ends}{why}"
    if old is not None:
        ended = f", would end on {old.expires_at[:10]}" if old.expires_at else ""
        yield f"before by {old.by} on {old.at[:10]}{ended}"
