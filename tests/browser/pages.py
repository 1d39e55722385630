"""Pages to open, made from evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.report.html.document import html_report
from pytest_proofmap.report.view import view_of_evidence

__all__ = ["edited", "two_objectives", "with_requests", "write_page"]

Edit = Callable[[dict[str, Any]], None]


def write_page(path: Path, evidence: Evidence, **settings: Any) -> Path:
    """Write the page of an artifact."""
    parts = html_report(evidence, view_of_evidence(evidence), **settings)
    path.write_text("".join(parts), encoding="utf-8", errors="surrogatepass")
    return path


def edited(evidence: Evidence, edit: Edit) -> Evidence:
    """Return an artifact, decided anew after a change to its JSON form."""
    content = json.loads(evidence.model_dump_json(by_alias=True))
    edit(content)
    for criterion in content["criteria"]:
        criterion["cells"] = []
    return decide_evidence(Evidence.model_validate(content))


def with_requests(content: dict[str, Any]) -> None:
    """Give every call a request that names its case, and every answer a few words."""
    for sample in content["samples"]:
        for call in sample["calls"]:
            content["requests"][call["key"]] = {
                "messages": [
                    {"role": "system", "content": "Answer in one word."},
                    {"role": "user", "content": f"Is {sample['case']} a ticket?"},
                ],
                "params": {"temperature": 0},
            }
            call["text"] = f"The answer for {sample['case']} is {call['text']}"


def two_objectives(decided: Callable[..., Evidence]) -> Evidence:
    """Return evidence with a challenger that qualifies and one that does not, on slices of two languages."""
    return edited(
        decided(
            {
                "tests/test_a.py::test_label": {
                    "base": "P" * 79 + "F",
                    "mini": "P" * 78 + "FF",
                    "haiku": "P" * 40 + "F" * 40,
                },
                "tests/test_b.py::test_reply": {"base": "P" * 12, "mini": "P" * 12, "haiku": "PPPEEPPPPPPP"},
            },
            slices=("language=fr", "language=en"),
            latency_s=0.5,
        ),
        with_requests,
    )
