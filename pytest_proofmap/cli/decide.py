"""``proofmap decide``: decide anew on a stored artifact, without any call."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_proofmap.cli.inputs import (
    PriceOption,
    last_whole_run,
    lock_option,
    mark_excluded,
    only_objectives,
    price_option,
    prices_by_runtime,
    recounted,
    refingerprinted,
    verbosity_options,
)

if TYPE_CHECKING:
    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.report.result import Result

__all__ = ["decide"]


def _number(rule: Callable[[float], bool], allowed: str, *, can_be_off: bool = False) -> Callable[..., Any]:
    """Return a callback that reads a number that meets a rule, or ``none`` where that switches it off."""
    allowed += ", or none" if can_be_off else ""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
        if value is None:
            return "unset"
        if can_be_off and value.strip().lower() == "none":
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not rule(number):
            raise click.BadParameter(f"{value!r} is not {allowed}.")
        return number

    return read


_RATE = "a number above 0 and up to 1"
_MARGIN = "a number above 0 and below 1 (0.05 is 5 points)"
_CONFIDENCE = "0 (decide on the observed rate) or a number of at least 0.5 and below 1"


def _is_rate(number: float) -> bool:
    return 0 < number <= 1


def _is_margin(number: float) -> bool:
    return 0 < number < 1


def _is_confidence(number: float) -> bool:
    return number == 0 or 0.5 <= number < 1


@click.command()
@click.argument("evidence", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the artifact here.")
@click.option(
    "--margin",
    callback=_number(_is_margin, _MARGIN, can_be_off=True),
    metavar="X|none",
    help="How much lower than the baseline's the pass rate may be.",
)
@click.option(
    "--min-pass-rate",
    callback=_number(_is_rate, _RATE),
    metavar="X",
    help="Share of the cases that must pass.",
)
@click.option(
    "--max-failure-rate",
    callback=_number(_is_rate, _RATE, can_be_off=True),
    metavar="X|none",
    help="Failure rate to exclude where every case must pass.",
)
@click.option(
    "--confidence", callback=_number(_is_confidence, _CONFIDENCE), metavar="X", help="Confidence of the verdicts."
)
@price_option
@click.option("--without", "excluded", multiple=True, metavar="RUNTIME", help="Leave a challenger out.")
@click.option("--objective", "objectives", multiple=True, metavar="NAME", help="Decide on this objective only.")
@click.option("--optimize", type=click.Choice(["cost", "latency"]), help="Choose by cost or by latency.")
@click.option("--strict", is_flag=True, help="Demand complete evidence and that every challenger qualifies.")
@lock_option
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON in place of the summary.")
@verbosity_options
def decide(
    evidence: Path | None,
    output: Path | None,
    margin: Any,
    min_pass_rate: Any,
    max_failure_rate: Any,
    confidence: Any,
    prices: tuple[PriceOption, ...],
    excluded: tuple[str, ...],
    objectives: tuple[str, ...],
    optimize: str | None,
    strict: bool,
    lock_file: Path | None,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> None:
    """Decide anew on the artifact EVIDENCE (default: that of the last whole run), without any call.

    Bars, confidence and what to optimize for hold for every criterion and objective. A margin alone takes
    the place of "every case must pass"; with --min-pass-rate both must hold. A challenger that is left out
    still counts in the correction for several challengers.

    Exit status: 0 it holds; 1 a baseline misses its own bar or was unavailable, a test broke or never asked its
    runtime, with --strict a challenger is not qualified or the evidence is incomplete, or with --lock an approved
    route is stale or has regressed; 2 bad input.
    """
    from pytest_proofmap.calls.costs import call_cost
    from pytest_proofmap.decide.decision import decide_evidence
    from pytest_proofmap.decide.whatif import BarChanges, rebar, reprice, without_runtimes
    from pytest_proofmap.evidence.artifact import read_evidence

    stored = only_objectives(read_evidence(evidence or last_whole_run()), objectives)
    complete = stored.run.complete
    changes = BarChanges(margin, min_pass_rate, max_failure_rate, confidence)
    if changes != BarChanges():
        stored = refingerprinted(rebar(stored, changes))
    stored = reprice(stored, prices_by_runtime(prices), call_cost)
    stored = mark_excluded(without_runtimes(stored, excluded), excluded, "--without")
    if objectives or prices or excluded:
        stored = recounted(stored)
    if optimize is not None:
        optimized = [objective.model_copy(update={"optimize": optimize}) for objective in stored.objectives]
        stored = stored.model_copy(update={"objectives": optimized})
    stored = decide_evidence(stored)
    result = _result(stored, excluded, strict=strict, complete=complete)
    if lock_file is not None:
        from pytest_proofmap.report.result import lock_findings

        against, warnings = lock_findings(stored, lock_file, strict=strict, objectives=objectives)
        result = replace(result, findings=(*result.findings, *against), warnings=(*result.warnings, *warnings))
    if output is not None:
        _write(stored, output)
    if as_json:
        _print_json(stored, result)
    else:
        _print_summary(result, excluded, output, -1 if quiet else verbose)
    if result.exit_status:
        raise click.exceptions.Exit(result.exit_status)


def _result(stored: Evidence, excluded: tuple[str, ...], *, strict: bool, complete: bool) -> Result:
    from pytest_proofmap.report.result import Finding, result_of_evidence

    result = result_of_evidence(stored, strict="--strict" if strict else None, excluded=excluded)
    # Challengers that --without leaves out on purpose are not what strictness is about.
    if strict and not complete:
        reasons = "; ".join(stored.run.incomplete_reasons) or "some marked tests did not run"
        finding = Finding(f"--strict: the evidence is incomplete: {reasons}", "run all of it: pytest --proofmap")
        result = replace(result, findings=(*result.findings, finding))
    return result


def _write(stored: Evidence, output: Path) -> None:
    from pytest_proofmap.errors import EvidenceError
    from pytest_proofmap.evidence.artifact import ArtifactParts, write_evidence

    prompts = {
        name: {variant: prompt.model_dump() for variant, prompt in variants.items()}
        for name, variants in stored.prompts.items()
    }
    parts = ArtifactParts(
        run=stored.run,
        runtimes=stored.runtimes,
        prompts_json=json.dumps(prompts, ensure_ascii=False),
        requests=((key, request.model_dump_json()) for key, request in stored.requests.items()),
        objectives=stored.objectives,
        criteria=stored.criteria,
        samples=(sample.model_dump_json(by_alias=True) for sample in stored.samples),
        totals=stored.totals,
    )
    try:
        write_evidence(output, parts)
    except OSError as error:
        raise EvidenceError(
            f"cannot write the evidence to {str(output)!r}: {error.strerror or error}. Choose another place "
            "with -o."
        ) from None


def _print_json(stored: Evidence, result: Result) -> None:
    decision = {
        "schema": stored.schema_,
        "run": stored.run.model_dump(mode="json", by_alias=True),
        "objectives": [objective.model_dump(mode="json", by_alias=True) for objective in stored.objectives],
        "criteria": [criterion.model_dump(mode="json", by_alias=True) for criterion in stored.criteria],
        "totals": stored.totals.model_dump(mode="json", by_alias=True),
        "findings": [finding._asdict() for finding in result.findings],
    }
    click.echo(json.dumps(decision, indent=2, ensure_ascii=True))


def _print_summary(result: Result, excluded: tuple[str, ...], output: Path | None, verbosity: int) -> None:
    from pytest_proofmap.cli.output import print_summary
    from pytest_proofmap.report.figures import command
    from pytest_proofmap.report.view import view_of

    steps = () if output is None else (command("proofmap", "report", "--text", output),)
    print_summary(view_of(result, excluded=excluded, next_steps=steps), verbosity)
