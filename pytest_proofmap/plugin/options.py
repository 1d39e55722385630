"""What ProofMap adds to pytest's surface: the ``proofmap`` option group and the ``qualify`` mark."""

from __future__ import annotations

import argparse
import math

import pytest

__all__ = ["MARK", "MARK_HELP", "add_options"]

MARK = "qualify"
MARK_HELP = (
    "qualify(baseline, challengers, *, objective, slice_by, samples, min_pass_rate, max_failure_rate, margin, "
    "confidence, slices, looks, sensitive, baseline_must_pass, prefetch, miss, calls): run this test on a "
    "baseline and on challengers, and decide which of them may take over (see --proofmap)."
)

CACHE_MODES = ("auto", "replay", "refresh", "off")


def add_options(parser: pytest.Parser) -> None:
    """Add the ``proofmap`` option group to pytest's command line."""
    group = parser.getgroup("proofmap", "ProofMap: which model and prompt each AI task should run on")
    group.addoption(
        "--proofmap",
        action="store_true",
        default=False,
        help="Run tests marked 'qualify' on every runtime and decide. Without it they are skipped.",
    )
    group.addoption(
        "--proofmap-runtimes",
        type=_names,
        default=None,
        metavar="A,B",
        help="Run on these runtimes only; the evidence is then incomplete.",
    )
    group.addoption(
        "--proofmap-samples",
        type=_positive_int,
        default=None,
        metavar="N",
        help="Attempts at each case on each runtime; overrides marks and configuration.",
    )
    group.addoption(
        "--proofmap-cache",
        choices=CACHE_MODES,
        default="auto",
        help="auto: call what is neither recorded nor cached (default). replay: never call out. "
        "refresh: call every request once, anew. off: keep answers in memory for this run only.",
    )
    group.addoption(
        "--proofmap-concurrency",
        type=_not_negative_int,
        default=None,
        metavar="N",
        help="Calls under way at once; 0: no prefetch, one call at a time.",
    )
    group.addoption(
        "--proofmap-budget",
        type=_positive_float,
        default=None,
        metavar="USD",
        help="Stop calling before this run has spent more.",
    )
    group.addoption(
        "--proofmap-plan",
        action="store_true",
        default=False,
        help="Show what would be called and what it may cost; call nothing and run nothing.",
    )
    group.addoption(
        "--proofmap-json",
        default=None,
        metavar="PATH",
        help="Where to write the evidence (default: .proofmap/evidence.json; where the run does not hold all of "
        "the tests, .proofmap/partial.json).",
    )
    group.addoption(
        "--proofmap-no-texts",
        action="store_true",
        default=False,
        help="Leave prompts, answers and messages of assertions out of the evidence and of what is made from it.",
    )
    group.addoption(
        "--proofmap-html",
        default=None,
        metavar="PATH",
        help="Write the report as one HTML page that needs no network.",
    )
    group.addoption(
        "--proofmap-md",
        default=None,
        metavar="PATH",
        help="Write the summary as Markdown, for a pull-request comment; $GITHUB_STEP_SUMMARY gets it too.",
    )
    group.addoption(
        "--proofmap-shard",
        action="store_true",
        default=False,
        help="This run is one shard of a larger one: write its evidence and decide nothing; "
        "'proofmap merge' joins the shards and decides.",
    )
    group.addoption(
        "--proofmap-adaptive",
        action="store_true",
        default=False,
        help="Ask challengers in waves of random cases, and no further once that has decided on them.",
    )
    group.addoption(
        "--proofmap-adaptive-seed",
        type=_not_negative_int,
        default=0,
        metavar="N",
        help="Another random order of the cases for --proofmap-adaptive (default: %(default)s).",
    )
    group.addoption(
        "--proofmap-strict",
        action="store_true",
        default=False,
        help="Fail unless every challenger is qualified on every objective.",
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no runtime; give names separated by commas")
    return names


def _positive_int(text: str) -> int:
    return _whole_number(text, least=1)


def _not_negative_int(text: str) -> int:
    return _whole_number(text, least=0)


def _whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return number


def _positive_float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0 or math.isinf(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount in USD above 0")
    return number
