"""Collects the samples of a run on the process that writes the artifact, and the calls that no sample used.

Samples go to a file as they come, so that memory stays flat; what decisions and tables need is kept as slim
rows. A worker of pytest-xdist sends each sample as one JSON string on the report of its teardown, so that
the evidence of finished tests survives the worker.

Calls are paid and used by no sample where tests ended early, or asked something else than their dry runs.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from pytest_proofmap.calls.lookup import PaidCall
from pytest_proofmap.calls.outcome import CallRecord, withheld_messages
from pytest_proofmap.calls.request import Request
from pytest_proofmap.calls.sample import SampleRecord
from pytest_proofmap.decide.observation import Observation, data_error_of, observation_of
from pytest_proofmap.errors import BudgetError, ShortfallError
from pytest_proofmap.evidence.ages import AnswerAge
from pytest_proofmap.evidence.artifact import SOURCE_RANK, Charge, total
from pytest_proofmap.evidence.models import Outcome, Totals
from pytest_proofmap.redaction import Redactor
from pytest_proofmap.report.nonpasses import NonPass

if TYPE_CHECKING:
    pass

__all__ = ["Recorder", "SamplePayload", "describe_calls_ahead", "describe_unused_calls"]


ANSWER_LIMIT = 200
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class SamplePayload:
    """One finished sample on its way to the recorder."""

    sample: str
    """The sample as JSON."""
    observation: Observation
    charges: list[Charge]
    requests: dict[str, str]
    """JSON of the requests that this process has not sent before, by key."""
    prompts: list[tuple[str, str | None]]
    nonpass: NonPass | None
    over_budget: bool
    """True when it was skipped because the budget was used up."""
    shortfall: str | None
    """Why the budget lets no call through at all, when that is why it was skipped."""
    unsaved: str | None
    """Why an answer that it used could not be kept, when that is so."""

    @classmethod
    def of(
        cls,
        record: SampleRecord,
        sent: set[str],
        *,
        repeated: bool,
        texts: bool = True,
        redactor: Redactor | None = None,
    ) -> SamplePayload:
        """Build the payload of a finished sample.

        Args:
            record: The sample.
            sent: Keys of the requests that this process has sent; grows.
            repeated: Whether the criterion is sampled more than once a case.
            texts: Whether prompts and answers are kept.
            redactor: Takes out of requests that were refused what they were refused for.
        """
        requests = {}
        for call in record.calls:
            if call.key not in sent:
                sent.add(call.key)
                requests[call.key] = text = _to_json(_recorded(call.request, texts=texts))
                if redactor is not None and redactor.secret_in(text):
                    requests[call.key] = _to_json(redactor.clean(_recorded(call.request, texts=texts)))
        under_test = [call for call in record.calls if call.auxiliary is None]
        id, content = record.id, record.content(texts=texts)
        identity = (id.criterion, id.case, id.slice, id.runtime, id.sample)
        outcome: Outcome = content["outcome"]
        nonpass = None
        if outcome in ("failed", "error"):
            answer = " ".join(record.calls[-1].text.split())[:ANSWER_LIMIT] if record.calls and texts else ""
            nonpass = NonPass(
                id.criterion,
                id.case,
                id.slice,
                id.runtime,
                id.role,
                id.sample,
                outcome,
                record.message,
                record.error_kind,
                record.exception,
                record.raised_at,
                record.xfailed,
                answer,
            )
        return cls(
            sample=_to_json(content),
            observation=observation_of(
                identity,
                outcome,
                under_test,
                content["latency_s"],
                repeated=repeated,
                spared=record.not_sampled,
                error_kind=record.error_kind,
                data_error=data_error_of(record.exception, record.raised_at) if record.data_error else None,
            ),
            charges=[_charge(call, id.runtime) for call in record.calls],
            requests=requests,
            prompts=[(call.prompt.name, call.prompt.variant) for call in record.calls if call.prompt is not None],
            nonpass=nonpass,
            over_budget=isinstance(record.error, BudgetError),
            shortfall=record.error.message if isinstance(record.error, ShortfallError) else None,
            unsaved=record.unsaved,
        )

    def to_json(self) -> str:
        """Return the payload as one JSON string of plain values."""
        parts = [self.sample, self.observation, self.charges, self.requests, self.prompts, self.nonpass]
        return json.dumps([*parts, self.over_budget, self.shortfall, self.unsaved])

    @classmethod
    def from_json(cls, text: str) -> SamplePayload:
        """Read what :meth:`to_json` wrote."""
        sample, observation, charges, requests, prompts, nonpass, over_budget, shortfall, unsaved = json.loads(
            text
        )
        return cls(
            sample=sample,
            observation=Observation(*observation),
            charges=[Charge(*charge) for charge in charges],
            requests=requests,
            prompts=[(name, variant) for name, variant in prompts],
            nonpass=NonPass(*nonpass) if nonpass else None,
            over_budget=over_budget,
            shortfall=shortfall,
            unsaved=unsaved,
        )


def _charge(call: CallRecord, runtime: str) -> Charge:
    answer = call.answer
    hooked = answer is not None and answer.lane == "hook"
    return Charge(
        call.key, call.source, call.cost_usd, answer is not None, call.auxiliary, _age(call, runtime), hooked
    )


@dataclass(slots=True)
class Recorder:
    """The evidence of a run as it comes in."""

    folder: Path
    """Where the samples are kept until the artifact is written; the artifact's own folder."""
    observations: list[Observation] = field(default_factory=list)
    nonpasses: list[NonPass] = field(default_factory=list)
    charges: dict[str, Charge] = field(default_factory=dict)
    prompts: set[tuple[str, str | None]] = field(default_factory=set)
    auxiliary: set[str] = field(default_factory=set)
    """Names of the runtimes that were asked in auxiliary calls."""
    failure: OSError | None = None
    """Why the samples could not be written, once that has happened; the artifact then can't be either."""
    over_budget: int = 0
    """How many samples were skipped because the budget was used up."""
    shortfall: str | None = None
    """Why the budget let no call through at all, once that has happened."""
    unsaved: str | None = None
    """Why an answer that was paid could not be kept, once that has happened."""
    _paid: dict[str, PaidCall] = field(default_factory=dict)
    _seen: set[tuple[str, str, str, int]] = field(default_factory=set)
    _requests: set[str] = field(default_factory=set)
    _samples_file: IO[str] | None = None
    _requests_file: IO[str] | None = None

    def add(self, payload: SamplePayload) -> None:
        """Take in a finished sample; the same sample again is ignored.

        Raises:
            OSError: The sample cannot be written.
        """
        observation = payload.observation
        identity = (observation.criterion, observation.case, observation.runtime, observation.sample)
        if identity in self._seen:
            return
        self._seen.add(identity)
        self.observations.append(observation)
        self.over_budget += payload.over_budget
        self.shortfall = self.shortfall or payload.shortfall
        self.unsaved = self.unsaved or payload.unsaved
        if payload.nonpass is not None:
            self.nonpasses.append(payload.nonpass)
        for charge in payload.charges:
            if charge.auxiliary is not None:
                self.auxiliary.add(charge.auxiliary)
            known = self.charges.get(charge.key)
            if known is None or SOURCE_RANK[charge.source] < SOURCE_RANK[known.source]:
                self.charges[charge.key] = charge
        self.prompts.update(payload.prompts)
        if self._samples_file is None:
            self._samples_file = self._open()
        self._samples_file.write(payload.sample + "\n")
        for key, text in payload.requests.items():
            if key not in self._requests:
                self._requests.add(key)
                if self._requests_file is None:
                    self._requests_file = self._open()
                self._requests_file.write(f"{key} {text}\n")

    @property
    def samples_count(self) -> int:
        """How many samples came in."""
        return len(self._seen)

    def has(self, criterion: str, case: str, runtime: str, sample: int) -> bool:
        """Return whether a sample came in."""
        return (criterion, case, runtime, sample) in self._seen

    def cases(self) -> set[tuple[str, str, str]]:
        """Return criterion, case and runtime of the samples that came in."""
        return {(criterion, case, runtime) for criterion, case, runtime, _ in self._seen}

    def samples(self) -> Iterator[str]:
        """Yield the samples as JSON texts, in the order in which they came in."""
        return _lines(self._samples_file)

    def requests(self) -> Iterator[tuple[str, str]]:
        """Yield key and JSON text of each request."""
        for line in _lines(self._requests_file):
            key, _, text = line.partition(" ")
            yield key, text

    def totals(self) -> Totals:
        """Return the totals over the distinct requests; what was spent counts unused calls, too."""
        totals = total(self.charges.values())
        unused = sum(call.cost_usd or 0.0 for call in self.unused_calls())
        return totals.model_copy(update={"spent_usd": totals.spent_usd + unused}) if unused else totals

    def note_paid(self, calls: Iterable[PaidCall]) -> None:
        """Take in calls that were paid for, whether or not a sample has used their answers."""
        self._paid.update((call.key, call) for call in calls)

    def unused_calls(self) -> list[PaidCall]:
        """Return the calls that were paid for and whose answers no sample used."""
        return [call for key, call in self._paid.items() if key not in self.charges]

    def close(self) -> None:
        """Drop the files; the artifact was written or never will be."""
        for file in (self._samples_file, self._requests_file):
            if file is not None:
                # What is buffered may find no room any more; nobody reads it.
                with contextlib.suppress(OSError):
                    file.close()

    def _open(self) -> IO[str]:
        # An unnamed file goes with the process, however that ends.
        return tempfile.TemporaryFile(
            "w+", encoding="utf-8", errors="surrogatepass", newline="\n", dir=self.folder
        )


def _age(call: CallRecord, runtime: str) -> AnswerAge | None:
    """Return when and by whom a call was answered; None: nobody says when."""
    if call.answer is None or call.answer.made_at is None:
        return None
    return AnswerAge(call.auxiliary or runtime, call.answer.model or call.request.model, call.answer.made_at)


def _recorded(request: Request, *, texts: bool) -> dict[str, Any]:
    """Return the fields of :class:`pytest_proofmap.evidence.models.RecordedRequest`."""
    return {
        "messages": request.messages if texts else withheld_messages(request.messages),
        "tools": request.tools,
        "response_format": request.response_format,
        "params": request.params,
    }


def _to_json(content: dict[str, Any]) -> str:
    """Return JSON; a lone surrogate, which JSON readers refuse, becomes the replacement character."""
    try:
        return to_json(content, inf_nan_mode="null").decode()
    except PydanticSerializationError:
        return SURROGATE.sub("\ufffd", json.dumps(content, ensure_ascii=False, default=to_jsonable_python))


def _lines(file: IO[str] | None) -> Iterator[str]:
    if file is None:
        return
    file.flush()
    file.seek(0)
    for line in file:
        yield line.rstrip("\n")
    file.seek(0, 2)


NAMED_AT_MOST = 3


def describe_unused_calls(calls: Sequence[PaidCall], *, ran: int, kept: bool) -> str | None:
    """Say which answers were paid for and used by no sample.

    Args:
        calls: The calls.
        ran: Of how many of them the sample that asked first was run after all.
        kept: Whether answers outlive the run.
    """
    if not calls:
        return None
    is_single = len(calls) == 1
    samples = list(dict.fromkeys(call.asked_for for call in calls))
    names = ", ".join(samples[:NAMED_AT_MOST])
    if len(samples) > NAMED_AT_MOST:
        names += f" and {len(samples) - NAMED_AT_MOST} more"
    spent_usd = sum(call.cost_usd or 0.0 for call in calls)
    cost = f" ${spent_usd:.2g}, which 'spent' counts," if spent_usd else ""
    fate = "in the cache" if kept else "lost"
    reasons = ["the run ended before their tests"] if ran < len(calls) else []
    reasons += ["dry runs asked what the tests then did not"] if ran else []
    return (
        f"{len(calls)} {'answer was' if is_single else 'answers were'} paid for{cost} and used by no sample, "
        f"because {' or '.join(reasons)}: {names}. {'It is' if is_single else 'They are'} {fate}."
    )


def describe_calls_ahead(status: dict[str, Any], used: int, spent_usd: float, *, kept: bool) -> str | None:
    """Say how many calls are in no sample of a run that ended early, what they cost and where their answers are.

    Args:
        status: The call service's figures, with ``done``, ``in_flight`` and ``spent_usd``.
        used: How many of its calls are in samples.
        spent_usd: What those cost.
        kept: Whether answers outlive the run.
    """
    calls = status.get("done", 0) + status.get("in_flight", 0) - used
    if calls <= 0:
        return None
    more_usd = max(0.0, status.get("spent_usd", 0.0) - spent_usd)
    noun = "call was" if calls == 1 else "calls were"
    cost = f" for ${more_usd:.2g}" if more_usd else ""
    fate = "what came back is in the cache, where the next run finds it" if kept else "the answers are lost"
    return f"{calls} {noun} made ahead{cost} whose tests did not run; {fate}"
