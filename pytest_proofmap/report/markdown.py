"""The Markdown report: for a pull-request comment, a job's summary, or any page that shows Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_proofmap.decide.wording import assumptions
from pytest_proofmap.report.markdown_sections import Section, sections
from pytest_proofmap.report.markdown_text import clip, code, prose
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.totals_line import totals_line
from pytest_proofmap.report.verdict_line import verdict_line
from pytest_proofmap.report.wording import plural

__all__ = ["COMMENT_BYTES", "MARKER", "STEP_SUMMARY_BYTES", "markdown_report"]

COMMENT_BYTES = 65_000
"""A comment on GitHub takes 65,536 characters; its words around the report need some."""

STEP_SUMMARY_BYTES = 1024 * 1024 - 1024
"""A step's summary on GitHub takes 1 MiB; more, and none of it is shown."""

MARKER = "<!-- proofmap -->"
"""The first line, not shown: by it the comment of an earlier run is found."""

_REASONS = 5
_LEFT_OUT_BYTES = 400


def markdown_report(summary: Summary, limit: int) -> str:
    """Return the report, which is never longer than a number of bytes in UTF-8.

    What matters least is left out first, whole rows and parts of it, and the report says what. With no room
    for the verdict nothing is returned.

    Args:
        summary: What to show.
        limit: The most bytes.
    """
    head, foot = _head(summary), _foot(summary)
    room = limit - _size(head) - _size(foot) - _LEFT_OUT_BYTES
    if room < 0:
        room, foot = room + _size(foot), []
    if room < 0:
        return ""
    shown, left_out = _fit(sections(summary), room)
    if left_out:
        foot = [
            f"Left out, for want of room: {', '.join(left_out)}. `proofmap report --text -vv` shows all.",
            *foot,
        ]
    return _joined([*head, *shown, *foot])


def _fit(parts: Sequence[Section], room: int) -> tuple[list[str], list[str]]:
    """Return the parts as they fit, the first at the expense of the last, and what was left out."""
    shown: list[str] = []
    left_out: list[str] = []
    sizes = [_size([_render(part, len(part.rows))]) for part in parts]
    for index, part in enumerate(parts):
        # One long part leaves those after it at least half of the room.
        own = max(room // 2, room - sum(sizes[index + 1 :]))
        rows = _rows_that_fit(part, own) if sizes[index] > own else len(part.rows)
        if rows:
            shown.append(_render(part, rows))
            room -= _size(shown[-1:])
        if rows < len(part.rows):
            left_out.append(plural(_total(part) - rows, f"more {part.noun}" if rows else part.noun))
    return shown, left_out


def _rows_that_fit(part: Section, room: int) -> int:
    room -= _size([_render(part, 0)])
    for count, row in enumerate(part.rows):
        room -= len(row.encode()) + 1
        if room < 0:
            return count
    return len(part.rows)


def _render(part: Section, rows: int) -> str:
    body = "\n".join([*part.head, *part.rows[:rows]])
    rest = _total(part) - rows
    blocks = [body, *([f"and {plural(rest, f'more {part.noun}')}"] if rest else []), *part.tail]
    text = "\n\n".join(blocks)
    if part.folded:
        return f"<details><summary>{part.title}</summary>\n\n{text}\n\n</details>"
    return f"#### {part.title}\n\n{text}"


def _total(part: Section) -> int:
    return max(part.total, len(part.rows))


def _size(blocks: Sequence[str]) -> int:
    """Return the bytes of blocks with the empty lines between them."""
    return sum(len(block.encode()) + 2 for block in blocks)


def _head(summary: Summary) -> list[str]:
    run = summary.run
    line = verdict_line(summary)
    blocks = [f"{MARKER}\n### {f'{line.sign} ' if line.sign else ''}ProofMap: {line.text}"]
    if not run.complete:
        reasons = run.incomplete_reasons or ["some marked tests did not run"]
        more = f"; and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else ""
        named = "; ".join(prose(clip(reason, 200)) for reason in reasons[:_REASONS])
        blocks.append(f"**Incomplete evidence**, which cannot be approved: {named}{more}")
    return blocks


def _foot(summary: Summary) -> list[str]:
    run = summary.run
    facts = [totals_line(summary, code)]
    if run.git is not None:
        facts.append(f"commit {code(clip(run.git.commit, 12))}{' with changes' if run.git.dirty else ''}")
    facts.append(f"run {code(clip(run.id, 12))}, finished {code(clip(run.finished_at, 40))}")
    facts.append(f"ProofMap {code(clip(run.versions.proofmap, 40))}")
    steps = [f"next: {code(clip(step, 400))}" for step in summary.next_steps]
    notes = [] if run.shard else [" ".join(assumptions(summary.objectives, summary.criteria, everything=True))]
    return ["---", *(["<br>".join(steps)] if steps else []), " · ".join(facts), *notes]


def _joined(blocks: Sequence[str]) -> str:
    return "\n\n".join(blocks) + "\n"
