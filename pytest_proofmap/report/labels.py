"""Short names for criteria: what tells them apart, without the path that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pytest_proofmap.report.page import Page, width_of

__all__ = ["fit_labels", "short_labels"]


def short_labels(criteria: Iterable[str]) -> dict[str, str]:
    """Return a short name for each criterion id: the test's own name, with as much path as it takes."""
    labels: dict[str, str] = {}
    pending = {criterion: _parts(criterion) for criterion in criteria}
    depth = 1
    while pending:
        names = {criterion: "::".join(parts[-depth:]) for criterion, parts in pending.items()}
        count = Counter(names.values())
        unique = {
            criterion: name
            for criterion, name in names.items()
            if count[name] == 1 or depth >= len(pending[criterion])
        }
        labels.update(unique)
        pending = {criterion: parts for criterion, parts in pending.items() if criterion not in unique}
        depth += 1
    return labels


def fit_labels(labels: Sequence[str], page: Page, width: int) -> list[str]:
    """Return labels that fit into a number of columns, without the ``test_`` that says nothing."""
    shown = [page.text(label) for label in labels]
    if all(width_of(label) <= width for label in shown):
        return shown
    return [page.shorten_middle(label.removeprefix("test_"), width) for label in shown]


def _parts(criterion: str) -> list[str]:
    path, _, rest = criterion.partition("::")
    *folders, module = path.split("/")
    return [*folders, module.removesuffix(".py"), *rest.split("::")]
