"""The option ``--price RUNTIME=IN,OUT[,CACHED]``, in USD per million tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from pytest_proofmap.evidence.models import Price

__all__ = ["PriceOption", "price_option", "prices_by_runtime"]

EXAMPLE_PRICE = "gpt-4o-mini=0.15,0.60"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class PriceOption(NamedTuple):
    """A price as it was typed, in USD per million tokens."""

    runtime: str
    rates: tuple[float, ...]
    """Of input, output and, where given, cached input."""


def price_option(command: Decorated) -> Decorated:
    """Add the option to a command, which gets it as ``prices``."""
    option = click.option(
        "--price",
        "prices",
        callback=_read_prices,
        multiple=True,
        metavar="RUNTIME=IN,OUT[,CACHED]",
        help="USD per million tokens; may be repeated.",
    )
    return option(command)


def prices_by_runtime(options: Sequence[PriceOption]) -> dict[str, Price]:
    """Return the prices that were typed; of two for one runtime the last."""
    from pytest_proofmap.evidence.models import Price

    return {
        each.runtime: Price(
            input_per_mtok=each.rates[0],
            output_per_mtok=each.rates[1],
            cached_input_per_mtok=each.rates[2] if len(each.rates) > 2 else None,
        )
        for each in options
    }


def _read_prices(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[PriceOption, ...]:
    return tuple(map(_read_price, values))


def _read_price(text: str) -> PriceOption:
    # The name of a runtime that is not configured may hold any character.
    runtime, _, figures = text.rpartition("=")
    try:
        rates = tuple(float(figure) for figure in figures.split(","))
    except ValueError:
        rates = ()
    if not runtime or len(rates) not in (2, 3):
        raise click.BadParameter(
            f"{text!r} is not RUNTIME=IN,OUT[,CACHED] with prices in USD per million tokens, such as "
            f"{EXAMPLE_PRICE}."
        )
    if any(rate < 0 or not math.isfinite(rate) for rate in rates):
        raise click.BadParameter(f"{text!r}: a price is a number of USD of at least 0.")
    return PriceOption(runtime, rates)
