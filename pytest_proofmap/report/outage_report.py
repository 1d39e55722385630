"""What ``proofmap whatif`` prints: what an outage leaves of the routes, and what other prices move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_proofmap.decide.whatif import ChainEntry, Outage, PriceEffect, Survivors
from pytest_proofmap.decide.wording import count, percent
from pytest_proofmap.report.figures import SIGNS, WORDS, chain_text, money, place, signed_points
from pytest_proofmap.report.page import Page, fitted_table

__all__ = ["lost_line", "outage_lines", "outage_table", "price_lines"]

_SHOWN = 8
_LEAST_NAME = 10


def outage_table(outages: Sequence[Outage], page: Page) -> list[str]:
    """Return a line for each provider: how many routes lose a rung, and what becomes of them."""
    headers = ["provider\nthat is down", "loses\na rung", "taken\nover", "fewer\nfallbacks", "nothing\nleft"]
    rows = [
        [
            ", ".join(outage.down),
            f"{len(outage.routes) - len(outage.with_fate('untouched'))} of {len(outage.routes)}",
            *(str(len(outage.with_fate(fate))) for fate in ("taken_over", "thinner", "nothing_left")),
        ]
        for outage in outages
    ]
    lines = fitted_table(headers, rows, ["left", *["right"] * (len(headers) - 1)], page, _LEAST_NAME)
    if lines is not None:
        return lines
    names = [" ".join(header.split()) for header in headers[1:]]
    return [
        line
        for provider, *numbers in rows
        for line in page.wrap(
            f"{provider}: " + ", ".join(f"{name} {value}" for name, value in zip(names, numbers, strict=True)),
            "",
            "  ",
        )
    ]


def outage_lines(outage: Outage, page: Page, *, everything: bool) -> list[str]:
    """Return what becomes of each route, those that are left with nothing first.

    Args:
        outage: What is down and what is left.
        page: Where to show it.
        everything: Whether to name every route; else a few of each fate, and those that only lose a fallback or
            nothing in numbers.
    """
    title = f"When {' and '.join(outage.down)} {'is' if len(outage.down) == 1 else 'are'} down"
    lines = [page.paint(line, "bold") for line in page.wrap(title)]
    lines += _some([_nothing(route, page) for route in outage.with_fate("nothing_left")], page, everything)
    lines += _some([_taken_over(route, page) for route in outage.with_fate("taken_over")], page, everything)
    thinner, untouched = outage.with_fate("thinner"), outage.with_fate("untouched")
    if everything:
        for route in thinner:
            lines += page.wrap(f"{_name(route)}: {_thinner(route)}", "    ", "      ")
        for route in untouched:
            lines += page.wrap(f"{_name(route)}: untouched, {_then(route.chain)}", "    ", "      ")
        return lines
    parts = [
        f"{count(len(routes), 'route')} {what}"
        for routes, what in ((thinner, "with fewer fallbacks"), (untouched, "untouched"))
        if routes
    ]
    return lines + (page.wrap(", ".join(parts), "    ", "      ") if parts else [])


def lost_line(outages: Iterable[Outage], *, everything: bool) -> str | None:
    """Return which routes some outage leaves with nothing, or None."""
    lost = dict.fromkeys(_name(route) for outage in outages for route in outage.with_fate("nothing_left"))
    if not lost:
        return None
    shown = list(lost) if everything else list(lost)[:_SHOWN]
    more = f" and {len(lost) - len(shown)} more" if len(lost) > len(shown) else ""
    return f"{count(len(lost), 'route')} would be left with nothing: {', '.join(shown)}{more}"


def price_lines(effects: Sequence[PriceEffect], page: Page, *, everything: bool) -> list[str]:
    """Return which routes other prices move, and what their primaries then cost."""
    moved = [effect for effect in effects if effect.is_moved]
    title = f"At these prices {len(moved)} of {count(len(effects), 'route')} would change"
    lines = [page.paint(line, "bold") for line in page.wrap(title)]
    for effect in moved:
        text = (
            f"{place(effect.new.objective, effect.new.slice)}: {_then(effect.old.chain)} → "
            f"{_then(effect.new.chain)}: {effect.reason}"
        )
        lines += [page.paint(line, "yellow") for line in page.wrap(text, "  ! ", "      ")]
        lines += page.wrap(_cost_move(effect), "      ", "      ")
    kept = [effect for effect in effects if not effect.is_moved]
    for effect in kept if everything else kept[:_SHOWN]:
        name = place(effect.new.objective, effect.new.slice)
        lines += page.wrap(f"{name}: still {_then(effect.new.chain)}: {_cost_move(effect)}", "    ", "      ")
    return lines + _more(0 if everything else len(kept) - _SHOWN, page)


def _some(entries: Sequence[list[str]], page: Page, everything: bool) -> list[str]:
    shown = entries if everything else entries[:_SHOWN]
    return [line for entry in shown for line in entry] + _more(len(entries) - len(shown), page)


def _more(number: int, page: Page) -> list[str]:
    return page.wrap(f"and {count(number, 'more route')} (-v shows them)", "    ", "      ") if number > 0 else []


def _nothing(route: Survivors, page: Page) -> list[str]:
    lines = page.wrap(
        f"{_name(route)}: nothing is left of {_then(route.chain)}", f"  {SIGNS['not_qualified']} ", "    "
    )
    lines = [page.paint(line, "red") for line in lines]
    if route.others:
        others = "; ".join(_described(entry) for entry in sorted(route.others, key=_rank))
        lines += page.wrap(f"still up, but not in the chain: {others}", "      ", "      ")
    return lines


def _taken_over(route: Survivors, page: Page) -> list[str]:
    entry = route.left[0]
    text = f"{_name(route)}: {route.chain[0].runtime} → {entry.runtime} ({_standing(entry)}), "
    text += "pass rate unknown" if entry.pass_rate is None else f"passes {percent(entry.pass_rate)}"
    if route.pass_rate_change is not None:
        text += f" ({_changed_points(route.pass_rate_change)})"
    text += f", {_cost(entry.cost_per_1k_usd)}"
    if route.cost_change is not None:
        text += f" ({_signed_money(route.cost_change)}{_times(route)})"
    if len(route.left) > 1:
        text += f", then {', '.join(rung.runtime for rung in route.left[1:])}"
    else:
        text += ", and no fallback after it"
    return page.wrap(text, "  → ", "      ")


def _thinner(route: Survivors) -> str:
    gone = [entry.runtime for entry in route.chain if entry not in route.left]
    return f"{route.left[0].runtime} stays, without {', '.join(gone)}"


def _described(entry: ChainEntry) -> str:
    passed = "" if entry.pass_rate is None else f", passes {percent(entry.pass_rate)}"
    return f"{entry.runtime} ({_standing(entry)}{passed})"


def _rank(entry: ChainEntry) -> int:
    """Return where a runtime stands among those that might be approved."""
    return ("baseline", "approved", "qualified", "insufficient", "not_qualified").index(entry.standing)


def _standing(entry: ChainEntry) -> str:
    if entry.standing == "baseline" or entry.standing == "approved":
        return entry.standing
    return WORDS[entry.standing]


def _cost(usd: float | None) -> str:
    return "cost unknown" if usd is None else f"{money(usd)} for 1,000"


def _cost_move(effect: PriceEffect) -> str:
    old, new = effect.old.chain[0].cost_per_1k_usd, effect.new.chain[0].cost_per_1k_usd
    return _cost(new) if old == new else f"{_cost(old)} → {_cost(new)}"


def _times(route: Survivors) -> str:
    old, new = route.chain[0].cost_per_1k_usd, route.left[0].cost_per_1k_usd
    if not old or not new:
        return ""
    ratio = new / old
    return f", {ratio:,.0f}×" if ratio >= 9.95 else f", {ratio:.2g}×"


def _changed_points(difference: float) -> str:
    return f"{signed_points(difference)} points" if round(difference, 3) else "the same"


def _signed_money(difference: float) -> str:
    if abs(difference) < 1e-9:
        return "the same"
    return f"{'−' if difference < 0 else '+'}{money(abs(difference))}"


def _then(entries: Iterable[ChainEntry]) -> str:
    return chain_text([entry.runtime for entry in entries])


def _name(route: Survivors) -> str:
    return place(route.objective, route.slice)
