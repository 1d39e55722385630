"""The Markdown report: for a pull-request comment, a job's summary, or any page that shows Markdown.

Names, messages and case ids may be written by a model, and a report is read where ``@name`` calls a person
and ``#1`` links an issue. GitHub looks for those in the rendered text and not in the source, so that escaping
alone does not help: it leaves the contents of ``<code>`` alone, and a comment ends a piece of text for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_proofmap.decide.wording import count
from pytest_proofmap.report.figures import SIGNS, WORDS, Gain
from pytest_proofmap.report.view import OWN_BAR, CellView, ObjectiveView, RouteView, RowView, View

__all__ = [
    "COMMENT_BYTES",
    "MARKER",
    "STEP_SUMMARY_BYTES",
    "clip",
    "clip_middle",
    "code",
    "markdown_report",
    "prose",
    "shown",
]

COMMENT_BYTES = 65_000
"""A comment on GitHub takes 65,536 characters; its words around the report need some."""

STEP_SUMMARY_BYTES = 1024 * 1024 - 1024
"""A step's summary on GitHub takes 1 MiB; more, and none of it is shown."""

MARKER = "<!-- proofmap -->"
"""The first line, not shown: by it the comment of an earlier run is found."""

NAME_LIMIT = 80
MESSAGE_LIMIT = 240
REASON_LIMIT = 400
OPEN_ROWS = 10
"""Longer tables of cases are folded."""
CASES_SHOWN = 100

_CODE = "<code>{}</code>"
_CHAIN_SHOWN = 6
_ROUTES_SHOWN = 3
_REASONS = 5
_TRUNCATED_BYTES = 400

# What the columns of cost and latency say already.
_RATIO = re.compile(r"^[\d.,]+× \w+ \([^)]*\)(?:, |$)")


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report."""

    title: str
    rows: Sequence[str]
    """The first are the most informative."""
    noun: str
    """What one row is, for the line that says how many there was no room for."""
    head: Sequence[str] = ()
    """Lines above the rows: those of a table's columns."""
    tail: Sequence[str] = ()
    """Lines below the rows."""
    total: int = 0
    """How many rows there would be, where only the first are there."""
    folded: bool = False

    @property
    def number(self) -> int:
        """How many rows there would be."""
        return max(self.total, len(self.rows))

    def written(self, rows: int) -> str:
        """Return the part with its first rows."""
        rest = self.number - rows
        more = [f"and {count(rest, f'more {self.noun}')}"] if rest else []
        text = "\n\n".join(["\n".join([*self.head, *self.rows[:rows]]), *more, *self.tail])
        if self.folded:
            return f"<details><summary>{self.title}</summary>\n\n{text}\n\n</details>"
        return f"#### {self.title}\n\n{text}"

    def rows_within(self, room: int) -> int:
        """Return how many rows there is room for."""
        room -= _size([self.written(0)])
        for number, row in enumerate(self.rows):
            room -= len(row.encode()) + 1
            if room < 0:
                return number
        return len(self.rows)


def markdown_report(view: View, limit: int) -> str:
    """Return the report, which is never longer than a number of bytes in UTF-8.

    For want of room whole rows and parts go, the least important first, and the report says what. With no room
    for the verdict nothing is returned.

    Args:
        view: What to show.
        limit: The most bytes.
    """
    head, foot = _head(view), _foot(view)
    room = limit - _size(head) - _size(foot) - _TRUNCATED_BYTES
    if room < 0:
        room, foot = room + _size(foot), []
    if room < 0:
        return ""
    parts, truncated = _fit([part for part in _sections(view) if part.rows], room)
    if truncated:
        foot = [
            f"Left out, for want of room: {', '.join(truncated)}. `proofmap report --text -vv` shows all.",
            *foot,
        ]
    return "\n\n".join([*head, *parts, *foot]) + "\n"


def _fit(parts: Sequence[Section], room: int) -> tuple[list[str], list[str]]:
    """Return the parts as they fit, the first at the expense of the last, and what there was no room for."""
    written: list[str] = []
    truncated: list[str] = []
    sizes = [_size([part.written(len(part.rows))]) for part in parts]
    for index, part in enumerate(parts):
        # One long part leaves those after it at least half of the room.
        share = max(room // 2, room - sum(sizes[index + 1 :]))
        rows = part.rows_within(share) if sizes[index] > share else len(part.rows)
        if rows:
            written.append(part.written(rows))
            room -= _size(written[-1:])
        if rows < len(part.rows):
            truncated.append(count(part.number - rows, f"more {part.noun}" if rows else part.noun))
    return written, truncated


def _size(blocks: Sequence[str]) -> int:
    """Return the bytes of blocks with the empty lines between them."""
    return sum(len(block.encode()) + 2 for block in blocks)


def _head(view: View) -> list[str]:
    line = view.headline
    blocks = [f"{MARKER}\n### {f'{line.sign} ' if line.sign else ''}ProofMap: {line.text}"]
    if view.incomplete is not None:
        reasons = view.run.incomplete_reasons or [view.incomplete]
        more = f"; and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else ""
        named = "; ".join(prose(clip(reason, 200)) for reason in reasons[:_REASONS])
        blocks.append(f"**Incomplete evidence**, which cannot be approved: {named}{more}")
    return blocks


def _foot(view: View) -> list[str]:
    run = view.run
    # Between two dollar signs a page would read a formula.
    facts = [view.money.line(_CODE)]
    if run.git is not None:
        facts.append(f"commit {code(clip(run.git.commit, 12))}{' with changes' if run.git.dirty else ''}")
    facts.append(f"run {code(clip(run.id, 12))}, finished {code(clip(run.finished_at, 40))}")
    facts.append(f"ProofMap {code(clip(run.versions.proofmap, 40))}")
    steps = [f"next: {code(clip(step, 400))}" for step in view.next_steps]
    notes = [] if run.shard else [view.all_assumptions]
    return ["---", *(["<br>".join(steps)] if steps else []), " · ".join(facts), *notes]


def _sections(view: View) -> list[Section]:
    """Return the parts, the most important first."""
    return [
        _findings(view),
        _decisions(view.routes),
        _notes(view),
        _regressions(view),
        _missing(view),
        _matrix(view),
        _costs(view),
    ]


def _table(*columns: str) -> tuple[str, str]:
    """Return the two lines above the rows of a table."""
    return _row(columns), _row(["---"] * len(columns))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(text: str) -> str:
    return code(clip_middle(text, NAME_LIMIT))


def _reason(text: str) -> str:
    return prose(clip(text, REASON_LIMIT))


def _findings(view: View) -> Section:
    rows = [f"- {_reason(finding.text)}<br>next: {_reason(finding.next_step)}" for finding in view.findings]
    return Section(f"What fails the run ({len(rows)})", rows, "finding")


def _decisions(routes: Sequence[RouteView]) -> Section:
    has_slices = any(route.slice is not None for route in routes)
    has_costs = any(route.cost.ratio is not None for route in routes)
    has_latencies = any(route.latency.ratio is not None for route in routes)

    def row(route: RouteView) -> str:
        cells = [_name(route.objective)]
        if has_slices:
            cells.append(_name(route.slice) if route.slice else "all cases")
        cells += ["**moves**" if route.is_promoted else "stays", _chain(route.chain)]
        cells += [_gain(route.cost)] if has_costs else []
        cells += [_gain(route.latency)] if has_latencies else []
        said = _RATIO.sub("", route.reason) if route.is_promoted else route.reason.removeprefix("baseline kept: ")
        return _row([*cells, _reason(said)])

    columns = ["objective", *(["slice"] if has_slices else []), "", "runtime, then fallbacks"]
    columns += [*(["cost"] if has_costs else []), *(["latency"] if has_latencies else []), "why"]
    return Section("Decisions", [row(route) for route in routes], "decision", _table(*columns))


def _gain(gain: Gain) -> str:
    return "" if gain.ratio is None else gain.full


def _chain(names: Sequence[str]) -> str:
    primary, *rest = [_name(name) for name in names[:_CHAIN_SHOWN]]
    return " → ".join([f"**{primary}**", *rest, *(["…"] if len(names) > _CHAIN_SHOWN else [])])


def _notes(view: View) -> Section:
    rows = [prose(clip(text, REASON_LIMIT)) for text, _ in view.baseline_failures()]
    for outage in view.unavailable:
        message, times = outage.reasons[0]
        more = f" and {count(len(outage.reasons) - 1, 'other reason')}" if len(outage.reasons) > 1 else ""
        rows.append(f"{_reason(outage.text)}: {times:,}× {code(clip(message, MESSAGE_LIMIT))}{more}")
    for warning, routes in view.route_warnings().items():
        named = ", ".join(map(_name, routes[:_ROUTES_SHOWN]))
        rest = f" and {len(routes) - _ROUTES_SHOWN} more" if len(routes) > _ROUTES_SHOWN else ""
        rows.append(f"{_reason(warning)} ({named}{rest})")
    rows += map(_reason, view.notes)
    return Section("To note", [f"- {row}" for row in rows], "note")


def _regressions(view: View) -> Section:
    cases = view.regressions
    # Runs that keep no texts have no messages.
    has_messages = any(case.message for case in cases)
    rows = [
        _row(
            [
                _name(case.runtime),
                f"{_name(case.name)}{case.times}",
                *([code(clip(case.message, MESSAGE_LIMIT))] if has_messages else []),
            ]
        )
        for case in cases[:CASES_SHOWN]
    ]
    return Section(
        f"Regressions: {count(len(cases), 'case')} that the baseline passes",
        rows,
        "regression",
        _table("runtime", "case", *(["what the test says"] if has_messages else [])),
        total=len(cases),
        folded=len(rows) > OPEN_ROWS,
    )


def _missing(view: View) -> Section:
    rows = [
        _row(
            [
                _name(cell.label) + (f" {_name(cell.slice)}" if cell.slice else ""),
                _name(cell.runtime),
                cell.needs_text,
                _reason(cell.reason),
            ]
        )
        for cell in view.missing
    ]
    return Section(
        f"Evidence that is missing: {count(len(rows), 'open verdict')}",
        rows,
        "open verdict",
        _table("criterion", "challenger", "what would settle it", "why"),
        folded=len(rows) > OPEN_ROWS,
    )


def _matrix(view: View) -> Section:
    headers = [_name(name) + (" (baseline)" if name in view.baselines else "") for name in view.columns]
    signs = ", ".join(f"{SIGNS[status]} {word}" for status, word in WORDS.items())
    notes = (f"{signs}, {OWN_BAR[0]} the baseline {OWN_BAR[1]}", view.interval_note)
    return Section(
        "Every criterion on every runtime",
        [row for objective in view.objectives for row in _matrix_rows(objective, view.columns)],
        "row",
        _table("criterion", *headers),
        [" ".join(f"{note}." for note in notes if note)],
        folded=True,
    )


def _matrix_rows(objective: ObjectiveView, names: Sequence[str]) -> list[str]:
    def cells(row: RowView) -> list[str]:
        return [_entry(row.cells[name]) if name in row.cells else "" for name in names]

    rows = []
    for criterion in objective.criteria:
        rows.append(_row([_name(criterion.label), *cells(criterion.whole)]))
        rows += [_row([f"↳ {_name(row.slice or '')}", *cells(row)]) for row in criterion.slices]
    if len(objective.criteria) > 1 and objective.verdicts:
        number = len(objective.criteria)
        whole = (objective.verdicts.get(name) for name in names)
        verdicts = (f"{standing.sign} all {number}" if standing else "" for standing in whole)
        rows.append(_row([f"**{_name(objective.name)}**", *verdicts]))
    return rows


def _entry(cell: CellView) -> str:
    text = f"{cell.sign} {cell.counts}".lstrip()
    if cell.rate is not None:
        text += f" ({cell.rate.range})"
    return f"{text}, {cell.errors.text}" if cell.errors.text else text


def _costs(view: View) -> Section:
    rows = [
        _row(
            [
                _name(runtime.runtime),
                runtime.cost.written(_CODE),
                runtime.per_1k.written(_CODE),
                runtime.versus,
                runtime.latency.p50,
                runtime.latency.slow_end,
            ]
        )
        for runtime in view.runtimes
    ]
    columns = ("runtime", "list cost", "per 1,000 cases", "vs baseline", "latency p50", "slow end")
    about = ["<code>~</code> token counts are estimated, and so are these costs."] if view.is_estimated else []
    return Section("Cost and latency of every runtime", rows, "runtime", _table(*columns), about, folded=True)


# Text from outside: it is shown as it is, and means nothing

_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# They join emoji and shape many scripts; after ASCII they only hide.
_JOINERS = frozenset("\u200c\u200d")
# Letters by category that are drawn as nothing.
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")

# Dots and slashes too, where they may be a host's: some pages make links of bare names.
_MEANINGFUL = re.compile(r"[\\`*_\[\]{}<>&|~:@^$#!]|\.(?=[^\W\d_])|/(?=/)")
# Words and figures that no reader of Markdown takes for anything else. Seven digits might be a commit.
_PLAIN = re.compile(
    r"""(?![a-f]{7,40}$)[^\W\d_]+(?:[-'’][^\W\d_]+)*
      |[-+±−–~≥≤<]*\d{1,6}(?:[.,/–-]\d{1,6})*[%×]?
      |[-–−→≥≤…·✓✗+%]""",
    re.VERBOSE,
)
# Begins a list where it is the first word of a line.
_LIST_MARK = re.compile(r"[-+]|\d+[.)]")
_OPENING, _CLOSING = '("“‘', ')"”’,.;:?%…'


def shown(text: str) -> str:
    r"""Return a text in one line, with each invisible character as an escape, such as ``\x1b``."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    line = " ".join(text.split())
    return "".join(
        _escape(character) if _is_invisible(character, line[index - 1] if index else "") else character
        for index, character in enumerate(line)
    )


def clip(text: str, limit: int) -> str:
    """Return a text in one line, or its beginning."""
    # What follows is not looked at: an answer may have ten million characters.
    line = shown(text[: 8 * limit])
    return line if len(line) <= limit and len(text) <= 8 * limit else f"{line[: limit - 1].rstrip()}…"


def clip_middle(text: str, limit: int) -> str:
    """Return a name in one line, or its beginning and its end."""
    if len(text) > 8 * limit:
        text = f"{text[: 4 * limit]} … {text[-4 * limit :]}"
    line = shown(text)
    if len(line) <= limit:
        return line
    tail = limit // 3
    return f"{line[: limit - tail - 1].rstrip()}…{line[-tail:].lstrip()}"


def code(text: str) -> str:
    """Return Markdown that shows a text, and nothing but it, as code."""
    return f"<code>{_escaped(shown(text))}</code>" if text.strip() else ""


def prose(text: str) -> str:
    """Return Markdown that shows a sentence: plain words as such, and all that might be more as code."""
    words = [word for word in shown(text).split(" ") if word]
    return " ".join(_word(word, is_first=index == 0) for index, word in enumerate(words))


def _word(text: str, *, is_first: bool) -> str:
    core = text.lstrip(_OPENING)
    before, core = text[: len(text) - len(core)], core.rstrip(_CLOSING)
    after = text[len(before) + len(core) :]
    if is_first and _LIST_MARK.fullmatch(text):
        return f"<code>{_escaped(text)}</code>"
    if core and not _PLAIN.fullmatch(core):
        return f"{before}<code>{_escaped(core)}</code>{after}"
    return before + core.replace("<", "&lt;").replace("~", "&#126;") + after


def _is_invisible(character: str, before: str) -> bool:
    if character in _JOINERS:
        return not before or before.isascii()
    return unicodedata.category(character) in _INVISIBLE or character in _BLANK_LETTERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _escaped(text: str) -> str:
    return _MEANINGFUL.sub(_entity, text)


def _entity(mark: re.Match[str]) -> str:
    # An address is looked for when entities have become characters; a comment keeps its halves apart.
    return "&#64;<!-- -->" if mark[0] == "@" else f"&#{ord(mark[0])};"
