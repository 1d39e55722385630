"""``proofmap whatif``: what an outage leaves of the routes, and whom other prices would recommend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_proofmap.cli.inputs import (
    PriceOption,
    last_whole_run,
    price_option,
    prices_by_runtime,
    read_evidence_or_lock,
)

if TYPE_CHECKING:
    from pytest_proofmap.decide.whatif import Outage, PriceEffect, RouteChain, Survivors
    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.lock.models import Lock

__all__ = ["whatif"]

EXIT_FINDING = 1
TITLE = "proofmap whatif"


@click.command()
@click.argument("file", metavar="[EVIDENCE|LOCK]", required=False, type=click.Path(path_type=Path))
@click.option("--down", multiple=True, metavar="PROVIDER|RUNTIME", help="It is down; several are down together.")
@price_option
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Name every route.")
def whatif(
    file: Path | None, down: tuple[str, ...], prices: tuple[PriceOption, ...], as_json: bool, verbose: bool
) -> None:
    """Walk every route of EVIDENCE or LOCK when something goes down, or decide at other prices.

    Without a file: the evidence of the last whole run.

    With --down: who takes over, whether that runtime is qualified, how good and how dear it is, and which routes
    are left with nothing. With --price, on evidence only: who would then be recommended. With neither: each
    provider goes down in turn.

    Exit status: 0 it holds; 1 a route would be left with nothing; 2 bad input.
    """
    from pytest_proofmap.calls.costs import call_cost
    from pytest_proofmap.decide.whatif import Outage, outages, price_effects, routes_of, survivors
    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.lock.models import approved_chains
    from pytest_proofmap.report.difference import has_estimates

    file = file or last_whole_run()
    stored = read_evidence_or_lock(file)
    effects: list[PriceEffect] = []
    if prices:
        effects = price_effects(_evidence_for_prices(stored, file), prices_by_runtime(prices), call_cost)
        routes = [effect.new for effect in effects]
    else:
        routes = routes_of(stored) if isinstance(stored, Evidence) else approved_chains(stored)
    found: list[Outage] = []
    if down:
        names = tuple(dict.fromkeys(down))
        found = [Outage(names, survivors(routes, names))]
    elif not prices:
        found = outages(routes)
    if as_json:
        _print_json(file, routes, found, effects, "evidence" if isinstance(stored, Evidence) else "lock")
    else:
        _print_page(
            file,
            routes,
            found,
            effects,
            everything=verbose,
            is_walk=not down and not prices,
            estimated=isinstance(stored, Evidence) and has_estimates(stored),
        )
    if any(outage.with_fate("nothing_left") for outage in found):
        raise click.exceptions.Exit(EXIT_FINDING)


def _evidence_for_prices(stored: Evidence | Lock, file: Path) -> Evidence:
    from pytest_proofmap.errors import LockError
    from pytest_proofmap.evidence.models import Evidence

    if isinstance(stored, Evidence):
        return stored
    runs = sorted({route.evidence.run for route in stored.routes.values()})
    made = f" It was approved on: run {', '.join(runs)}." if runs else ""
    raise LockError(
        f"{str(file)!r} is a lock, which holds neither tokens nor the runtimes that were not chosen: it cannot "
        f"say who would be recommended at other prices. Give the evidence in its place.{made}"
    )


def _print_json(
    file: Path, routes: list[RouteChain], found: list[Outage], effects: list[PriceEffect], source: str
) -> None:
    from pytest_proofmap.cli.output import print_json

    print_json(
        {
            "source": source,
            "path": str(file),
            "routes": len(routes),
            "outages": [
                {"down": outage.down, "routes": [_route_record(route) for route in outage.routes]}
                for outage in found
            ],
            "nothing_left": any(outage.with_fate("nothing_left") for outage in found),
            "prices": [{**effect._asdict(), "moved": effect.is_moved} for effect in effects],
        }
    )


def _route_record(route: Survivors) -> dict[str, Any]:
    return {
        **route._asdict(),
        "fate": route.fate,
        "takes_over": route.left[0].runtime if route.fate == "taken_over" else None,
        "cost_change_per_1k_usd": route.cost_change if route.fate == "taken_over" else None,
        "pass_rate_change": route.pass_rate_change if route.fate == "taken_over" else None,
    }


def _print_page(
    file: Path,
    routes: list[RouteChain],
    found: list[Outage],
    effects: list[PriceEffect],
    *,
    everything: bool,
    is_walk: bool,
    estimated: bool,
) -> None:
    from pytest_proofmap.cli.output import this_page
    from pytest_proofmap.decide.wording import count
    from pytest_proofmap.report.outage_report import lost_line, outage_lines, outage_table, price_lines

    page = this_page()
    lines = [page.rule(TITLE), *page.wrap(f"{file}: {count(len(routes), 'route')}")]
    if estimated:
        lines += page.wrap("token counts are estimated, and so are the costs", "! ", "  ")
    if effects:
        lines += ["", *price_lines(effects, page, everything=everything)]
    if is_walk and found:
        lines += ["", *outage_table(found, page)]
    for outage in found:
        lines += ["", *outage_lines(outage, page, everything=everything)]
    lines.append("")
    lost = lost_line(found, everything=everything)
    if lost is not None:
        lines += [page.paint(line, "red") for line in page.wrap(lost, "", "    ")]
        lines += page.wrap(
            "next: qualify a challenger of another provider there, then proofmap approve", "", "    "
        )
    elif found:
        lines += page.wrap("every route outlives that" if not is_walk else "every route outlives any one provider")
    elif not effects:
        lines += page.wrap("there is no route to walk")
    for line in lines if lines[-1] else lines[:-1]:
        click.echo(line, color=page.colour)
