"""What commands take: the project with its cache and recordings, evidence and locks, prices, and what git knows.

Evidence and locks are told apart by their schema. Bars, prices, runtimes and objectives of an artifact are changed
by pure functions that keep it consistent; what was decided before stays in it until it is decided anew.
"""

from __future__ import annotations

import glob
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from pytest_proofmap.cli.output import say
from pytest_proofmap.errors import EvidenceError, did_you_mean
from pytest_proofmap.evidence.artifact import SOURCE_RANK, Charge, read_evidence, read_parts, total
from pytest_proofmap.evidence.fingerprints import bar_fingerprint
from pytest_proofmap.evidence.models import Criterion, Evidence, Price, Totals
from pytest_proofmap.files import EVIDENCE_FILE, PARTIAL_FILE

if TYPE_CHECKING:
    from pytest_proofmap.calls.answer import Answer
    from pytest_proofmap.calls.cache.disk import DiskStore
    from pytest_proofmap.calls.recordings import Recordings
    from pytest_proofmap.config import Configuration
    from pytest_proofmap.lock.models import Lock

__all__ = [
    "PriceOption",
    "as_typed",
    "count_answers",
    "last_run",
    "last_whole_run",
    "load_configuration",
    "lock_option",
    "made_by",
    "mark_excluded",
    "only_objectives",
    "open_cache",
    "open_recordings",
    "price_option",
    "prices_by_runtime",
    "read_decided",
    "read_evidence_or_lock",
    "recounted",
    "refingerprinted",
    "require_runtimes",
    "rootdir_option",
    "verbosity_options",
]


Command = TypeVar("Command", bound=Callable[..., Any])


def rootdir_option(command: Command) -> Command:
    """Add ``--rootdir`` to a command."""
    option = click.option(
        "--rootdir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="The project's root directory; default: the nearest folder upward with a configuration.",
    )
    return option(command)


def load_configuration(rootdir: Path | None) -> Configuration:
    """Read the configuration of the project at ``rootdir``, or around the working directory.

    Raises:
        ConfigurationError: The configuration is not allowed.
    """
    from pytest_proofmap import config

    return config.load(config.find_rootdir(Path.cwd()) if rootdir is None else rootdir.absolute())


def open_cache(configuration: Configuration, *, readonly: bool = True) -> closing[DiskStore]:
    """Open the project's response cache, for ``with``.

    Raises:
        StoreError: It is to be written and cannot be.
    """
    from pytest_proofmap.calls.cache.disk import DiskStore

    if configuration.cache_url is not None:
        _warn(
            "cache_url is set: this command works on this machine's folder "
            f"{str(configuration.cache_path)!r}, and not on the server."
        )
    return closing(DiskStore(configuration.cache_path, _warn, readonly=readonly))


def open_recordings(configuration: Configuration, *, without: Path | None = None) -> closing[Recordings]:
    """Open the project's recordings, for ``with``.

    Args:
        configuration: The project's configuration.
        without: A file to leave out, whether or not it exists.

    Raises:
        RecordingsError: They cannot be read.
    """
    from pytest_proofmap.calls.recordings import Recordings, find_recordings

    rootdir, patterns = configuration.rootdir, list(configuration.recordings)
    if without is not None:
        left_out = without.resolve()
        patterns = [pattern for pattern in patterns if (rootdir / pattern).resolve() != left_out]
        files = find_recordings(patterns, rootdir)
        patterns = [glob.escape(str(file)) for file in files if file.resolve() != left_out]
    return closing(Recordings(patterns, rootdir, configuration.cache_path))


def require_runtimes(configuration: Configuration, names: Sequence[str]) -> None:
    """Check that the runtimes exist.

    Raises:
        ConfigurationError: A name is neither configured nor a LiteLLM model id.
    """
    for name in names:
        configuration.runtime(name)


def made_by(answer: Answer, names: Sequence[str], configuration: Configuration) -> bool:
    """Return whether an answer was made by one of the runtimes named."""
    from pytest_proofmap.calls.request import owners

    known = {**configuration.runtimes, **{name: configuration.runtime(name) for name in names}}
    return not owners(answer.request, known).isdisjoint(names)


def count_answers(number: int) -> str:
    """Return a number of answers in words."""
    return f"{number:,} answer{'' if number == 1 else 's'}"


def as_typed(path: Path) -> str:
    """Return a path as somebody in the working directory would type it."""
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _warn(text: str) -> None:
    say(f"Warning: {text}", err=True)


_HEAD_BYTES = 4096
LARGEST_BYTES = 64 * 2**20
"""How far a schema is looked for that does not stand first."""
_SCHEMA_FIRST = re.compile(rb'\s*\{\s*"schema"\s*:\s*"(?P<schema>[^"]*)"')
_LOCK, _EVIDENCE = "proofmap.lock/", "proofmap.evidence/"


def last_whole_run(rootdir: Path | None = None) -> Path:
    """Return the artifact of the last whole run, and say where that of a partial run is newer.

    Args:
        rootdir: The project's root; None: the one around the working directory.

    Raises:
        EvidenceError: There is none, but one of a partial run.
    """
    root = _rootdir() if rootdir is None else rootdir
    whole, partial = root / EVIDENCE_FILE, root / PARTIAL_FILE
    if not partial.exists() or (whole.exists() and _written(partial) <= _written(whole)):
        return whole
    why = _reasons(partial)
    if not whole.exists():
        raise EvidenceError(
            f"there is no whole evidence in {as_typed(whole)!r}, but that of a partial run in "
            f"{as_typed(partial)!r}{why}. "
            "Run all of it: pytest --proofmap; or give the partial one by name."
        )
    say(
        f"Note: this is the last whole run; a newer partial one is in {as_typed(partial)}{why}. "
        "Give it by name to see it.",
        err=True,
    )
    return whole


def last_run(rootdir: Path) -> Path:
    """Return the artifact of the last run, whole or partial."""
    written = [path for path in (rootdir / EVIDENCE_FILE, rootdir / PARTIAL_FILE) if path.exists()]
    return max(written, key=_written, default=rootdir / EVIDENCE_FILE)


def _rootdir() -> Path:
    """Return the project's root: with a configuration, or with evidence where there is none."""
    from pytest_proofmap.config import find_rootdir

    here = Path.cwd()
    root = find_rootdir(here)
    holding = (folder for folder in (root, *here.parents) if last_run(folder).exists())
    return next(holding, root)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _reasons(path: Path) -> str:
    """Return in brackets why an artifact is incomplete, as far as it can be read."""
    try:
        run = next(part.value for part in read_parts(path) if part.section == "run")
        reasons = "; ".join(map(str, run["incomplete_reasons"]))
    except (EvidenceError, StopIteration, LookupError, TypeError):
        return ""
    return f" ({reasons})" if reasons else ""


def read_evidence_or_lock(path: Path) -> Evidence | Lock:
    """Read an artifact, decided where it was not, or a lock.

    Raises:
        EvidenceError: The file is neither, or it is evidence that cannot be read or is one shard of a run.
        LockError: It is a lock that cannot be read or was edited by hand.
    """
    schema = _schema(path)
    if schema.startswith(_LOCK):
        from pytest_proofmap.lock.file import read_lock

        return read_lock(path)
    if not schema.startswith(_EVIDENCE):
        raise EvidenceError(
            f"{str(path)!r} is neither evidence nor a lock: its schema is {schema!r}. Evidence is written by "
            "pytest --proofmap, a lock by proofmap approve."
        )
    return read_decided(path)


def read_decided(path: Path) -> Evidence:
    """Read an artifact, and decide on it by its own bars where it holds no verdicts.

    Raises:
        EvidenceError: It cannot be read, or is one shard of a run.
    """
    from pytest_proofmap.decide.decision import decide_evidence, is_decided

    evidence = read_evidence(path)
    if evidence.run.shard:
        raise EvidenceError(
            f"{str(path)!r} is one shard of a run and has no verdicts of its own. Join all shards first: "
            "proofmap merge"
        )
    if not is_decided(evidence):
        return decide_evidence(evidence)
    return evidence


def _schema(path: Path) -> str:
    """Return the schema that a file names; of a large file mostly its beginning is read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            found = _SCHEMA_FIRST.match(head)
            content = head if found else head + file.read(LARGEST_BYTES)
    except OSError as error:
        raise EvidenceError(
            f"cannot read {str(path)!r}: {error.strerror or error}. Evidence is written by pytest --proofmap, a "
            "lock by proofmap approve."
        ) from None
    if found:
        return found["schema"].decode("utf-8", "replace")
    try:
        schema = json.loads(content).get("schema")
    except (ValueError, AttributeError, RecursionError):
        # Cut in half or with merge conflicts: what it meant to be is said by the reader of that kind.
        return _LOCK if _LOCK.encode() in content or path.suffix == ".lock" else _EVIDENCE
    return schema if isinstance(schema, str) else repr(schema)


def only_objectives(evidence: Evidence, names: Collection[str]) -> Evidence:
    """Return an artifact with some of its objectives, whole (none named: with all of them).

    Raises:
        EvidenceError: A name is no objective of the artifact.
    """
    known = [objective.name for objective in evidence.objectives]
    for name in names:
        if name not in known:
            raise EvidenceError(
                f"The evidence has no objective {name!r}.{did_you_mean(name, known)} It has: {', '.join(known)}."
            )
    if not names:
        return evidence
    criteria = [criterion for criterion in evidence.criteria if criterion.objective in names]
    kept = {criterion.id for criterion in criteria}
    return evidence.model_copy(
        update={
            "objectives": [objective for objective in evidence.objectives if objective.name in names],
            "criteria": criteria,
            "samples": [sample for sample in evidence.samples if sample.criterion in kept],
        }
    )


def mark_excluded(evidence: Evidence, names: Iterable[str], option: str) -> Evidence:
    """Return an artifact that says that challengers were left out, and by which option."""
    excluded = sorted(set(names))
    if not excluded:
        return evidence
    reasons = [*evidence.run.incomplete_reasons, f"{option} left out {', '.join(excluded)}"]
    run = evidence.run.model_copy(update={"complete": False, "incomplete_reasons": reasons})
    return evidence.model_copy(update={"run": run})


def refingerprinted(evidence: Evidence) -> Evidence:
    """Return an artifact whose criteria have the fingerprints of their bars as they are now."""
    return evidence.model_copy(
        update={
            "criteria": [
                criterion.model_copy(update={"fingerprint": _fingerprint(criterion)})
                for criterion in evidence.criteria
            ]
        }
    )


def recounted(evidence: Evidence) -> Evidence:
    """Return an artifact whose totals are those of its samples as they are now."""
    return evidence.model_copy(update={"totals": _totals(evidence)})


def _fingerprint(criterion: Criterion) -> str:
    parts = criterion.fingerprint.split("/")
    bar = f"bar:{bar_fingerprint(criterion.bar)}"
    return "/".join(bar if part.startswith("bar:") else part for part in parts)


def _totals(evidence: Evidence) -> Totals:
    charges: dict[str, Charge] = {}
    for sample in evidence.samples:
        for call in sample.calls:
            charge = Charge(call.key, call.source, call.cost_usd, call.error is None, call.runtime)
            known = charges.get(call.key)
            if known is None or SOURCE_RANK[charge.source] < SOURCE_RANK[known.source]:
                charges[call.key] = charge
    return total(charges.values())


EXAMPLE_PRICE = "gpt-4o-mini=0.15,0.60"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class PriceOption(NamedTuple):
    """A price as it was typed, in USD per million tokens."""

    runtime: str
    rates: tuple[float, ...]
    """Of input, output and, where given, cached input."""


def lock_option(command: Decorated) -> Decorated:
    """Add ``--lock`` to a command, which gets it as ``lock_file``: approved routes to hold evidence against."""
    option = click.option(
        "--lock",
        "lock_file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Also check these approved routes against the evidence.",
    )
    return option(command)


def verbosity_options(command: Decorated) -> Decorated:
    """Add ``-v`` and ``-q`` to a command that shows a summary, which gets them as ``verbose`` and ``quiet``."""
    more = click.option("-v", "--verbose", count=True, help="More cases, all slices and reasons; -vv: every case.")
    less = click.option("-q", "--quiet", is_flag=True, help="Totals, recommendations and findings only.")
    return more(less(command))


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
    return {
        option.runtime: Price(
            input_per_mtok=option.rates[0],
            output_per_mtok=option.rates[1],
            cached_input_per_mtok=option.rates[2] if len(option.rates) > 2 else None,
        )
        for option in options
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
