"""The evidence artifact as pydantic models (``schema: "proofmap.evidence/1"``).

One :class:`Evidence` is one run of ``pytest --proofmap``. Money is in USD, durations are in seconds, times
are UTC ISO 8601. Nothing here holds headers, credentials or the environment.

Every field that the artifact promised from its first version is required on reading unless a run may leave
it unknown; fields that came later have defaults, so that an older artifact stays readable.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

__all__ = [
    "SCHEMA",
    "AdaptiveCell",
    "AdaptiveSampling",
    "AttributedDifference",
    "AuxiliaryTotals",
    "Bar",
    "Call",
    "CallFailure",
    "Cell",
    "CellLook",
    "Criterion",
    "Evidence",
    "FallbackFigures",
    "GitState",
    "Latency",
    "Needs",
    "Objective",
    "ObjectiveVerdict",
    "Price",
    "PromptRef",
    "PromptVariant",
    "Recommendation",
    "RecordedRequest",
    "RunInfo",
    "RuntimeInfo",
    "Sample",
    "Totals",
    "Versions",
]

SCHEMA: Literal["proofmap.evidence/1"] = "proofmap.evidence/1"
"""Name of the schema, written in every artifact."""

BarKind = Literal["all_pass", "min_pass_rate", "margin", "both"]
Outcome = Literal["passed", "failed", "error", "skipped"]
ErrorKind = Literal["unavailable", "test"]
"""Of an ``error``: a call of the runtime under test gave no usable answer; anything else, which is the test's."""
Role = Literal["baseline", "challenger"]
Source = Literal["live", "cache", "recording"]
Status = Literal["qualified", "not_qualified", "insufficient"]
SlicesRule = Literal["fdr", "all", "each"]
"""Of the slices promoted at most alpha expected to be wrong; no error anywhere; each slice by itself."""
Looks = Literal[1, 2, 3, "open"]
"""How often a verdict may be looked for, with more cases each time."""

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0.0, le=1e15)]
"""Money or time: what cannot be negative, and is no astronomer's number."""

Ratio = Annotated[float, Field(gt=1e-300, le=1e300)]
"""Of two amounts; its inverse is a number too."""


def _check_plain(value: Any) -> Any:
    """Check that a value can be written as JSON again.

    Raises:
        ValueError: It holds NaN, an infinity, or a number of thousands of digits.
    """
    json.dumps(value, allow_nan=False)
    return value


PlainObject = Annotated[dict[str, Any], AfterValidator(_check_plain)]


class Model(BaseModel):
    """Base of the evidence models: frozen, and tolerant of fields that a later version adds.

    Validators are built when they are first needed: a run fills in half of the models.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", protected_namespaces=(), defer_build=True, allow_inf_nan=False
    )


class GrowingModel(Model):
    """A model with fields that came after its first version: those are left out where they are unset."""

    added: ClassVar[frozenset[str]] = frozenset()
    """Names of these fields."""

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        for name in self.added:
            if fields.get(name) is None:
                fields.pop(name, None)
        return fields


class Versions(Model):
    """The software that made the run."""

    proofmap: str
    pytest: str
    python: str
    litellm: str | None = None
    """Version of LiteLLM, or null when the run made no call through it."""


class GitState(Model):
    """The commit that the run was made on."""

    commit: str
    dirty: bool


class RunInfo(GrowingModel):
    """When, where and how completely the run was made."""

    added = frozenset({"other_runtimes", "max_age_days"})

    id: str
    started_at: str
    finished_at: str
    versions: Versions
    git: GitState | None = None
    complete: bool
    """False when a marked item was deselected, not run, skipped for the budget or interrupted."""
    shard: bool = False
    """True for one shard of a run: it carries no verdict of its own."""
    incomplete_reasons: list[str] = []
    """Why ``complete`` is false, in words."""
    strict: bool = False
    """True when the run demanded that every challenger qualify."""
    texts_left_out: bool = False
    """True when prompts, answers and messages are not held: stand-ins name their length and SHA-256."""
    other_runtimes: dict[str, str] | None = None
    """Model ids of the configured runtimes that took no part, by name: an answer may have come from one."""
    max_age_days: Count | None = None
    """Answers that were older when the run began are named; 0: none is."""


class Price(GrowingModel):
    """Price of a runtime in USD per million tokens."""

    added = frozenset({"listed"})

    input_per_mtok: Amount
    output_per_mtok: Amount
    cached_input_per_mtok: Amount | None = None
    """Price of input tokens served from the provider's prompt cache; null: as other input."""
    source: Literal["declared", "litellm"] = "declared"
    """Where the price is from: the configuration, or LiteLLM's bundled map."""
    listed: PlainObject | None = None
    """What the map says of the price besides (tiers, cache writes, audio, fees), as it names it, in USD."""


class RuntimeInfo(GrowingModel):
    """A runtime as it was configured for the run."""

    added = frozenset({"origin", "served", "transport"})

    model: str
    provider: str
    params: PlainObject
    variant: str | None = None
    api_base: str | None = None
    """As written in the configuration, with ``os.environ/NAME`` unexpanded."""
    price: Price | None = None
    served: list[str] | None = None
    """The models that a person has said may answer for it, beside its own."""
    fingerprint: str
    """Content hash of everything above but the price, 12 hexadecimal digits."""
    transport: PlainObject | None = None
    """How it is reached, as far as variables are named for it: ``{"api_key": "os.environ/NAME"}``."""
    origin: Literal["hook"] | None = None
    """``hook``: it comes from ``pytest_proofmap_runtimes``; null: from the configuration."""


class PromptVariant(Model):
    """One variant of a prompt package: its file and its unrendered message templates."""

    file: str
    sha256: str
    messages: list[PlainObject]


class RecordedRequest(Model):
    """What was asked, once for each distinct request."""

    messages: list[PlainObject]
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    params: PlainObject


class PromptRef(Model):
    """Which prompt package and variant rendered a request."""

    name: str
    variant: str | None = None


class CallFailure(Model):
    """Why a call gave no usable answer."""

    class_: str = Field(alias="class")
    """Class name of the failure."""
    message: str
    """Its message, redacted."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False)


class Call(GrowingModel):
    """One call made by a sample on the runtime under test."""

    added = frozenset({"billed", "made_at"})

    key: str
    prompt: PromptRef | None = None
    source: Source
    """How this run first got the answer."""
    attempts: Count
    """How many times the request was sent for this answer; 0 when it never was."""
    error: CallFailure | None = None
    model: str | None
    """The model that served the answer, or that was asked when none came."""
    input_tokens: Count | None
    output_tokens: Count | None
    cached_input_tokens: Count | None
    cost_usd: Amount | None
    latency_s: Amount | None
    """Duration of the real call, without our own queueing, also when it is replayed."""
    finish_reason: str | None
    text: str
    tool_calls: list[Any] | None = None
    runtime: str | None = None
    """Name of the runtime of an auxiliary call (a judge, a rewriter); null for the runtime under test."""
    concurrency: Count | None = None
    """How many calls to the same provider were under way when the answer was made."""
    usage_estimated: bool = False
    """True when the token counts were estimated and not reported by the model."""
    made_at: str | None = None
    """When the answer was made."""
    billed: dict[str, Amount] | None = None
    """How much the answer has of what else is billed (``cache_write_tokens``, ``searches``, ...)."""


class Sample(GrowingModel):
    """One attempt at one case on one runtime."""

    added = frozenset({"error_kind", "exception", "raised_at", "data_error", "xfailed"})

    criterion: str
    case: str
    slice: str | None = None
    runtime: str
    role: Role
    sample: Count
    outcome: Outcome
    message: str
    """One line: the assertion, the failure or the reason of the skip; empty when passed."""
    calls: list[Call]
    latency_s: Amount | None = None
    """From first request to last answer on the runtime under test, in seconds; null when unknown."""
    spared: bool = False
    """True when adaptive sampling had decided before: skipped, and no evidence on the runtime."""
    error_kind: ErrorKind | None = None
    """Whose an ``error`` is; null for other outcomes, and in artifacts from before it was told."""
    exception: str | None = None
    """Class of the exception that settled the outcome, of a failed call that of its failure; null: none did."""
    raised_at: str | None = None
    """Where in the project it was raised, ``tests/test_triage.py:12``; null for what no broken test can cause."""
    data_error: Literal[True] | None = None
    """True when the test could make no sense of the answer and failed by that, such as by a ``KeyError``."""
    xfailed: Literal[True] | None = None
    """True when the project expected the test to fail, so that pytest counts it as xfailed."""


class AdaptiveSampling(Model):
    """The rule that said after each wave of cases which challengers need no more of them."""

    seed: int
    """What the random order of the cases comes from, beside their names."""
    early: bool = True
    """Whether challengers could qualify early; false where the order in which tests ran is not known."""


class AdaptiveCell(Model):
    """How far adaptive sampling went in a cell."""

    asked: Count
    """Cases that the challenger was asked."""
    cases: Count
    """Cases that there are."""


class CellLook(GrowingModel):
    """Which of several looks, with more cases each time, a verdict is."""

    added = frozenset({"put_back", "state"})

    planned: Literal[2, 3, "open"]
    """How many looks were planned."""
    number: Annotated[int, Field(ge=1)]
    """Which look this is."""
    restarts: Count
    """How often a bar, prompt, criterion or runtime was changed and the looks began anew."""
    cases: Count
    """Cases that all looks so far have consumed."""
    refused: list[str] = []
    """New cases that come after the last planned look and do not count."""
    most_acceptable: float | None = None
    """Of open looks the logarithm of the greatest wealth of the bets that the challenger is acceptable."""
    most_worse: float | None = None
    """Of open looks the same of the bets that it is worse."""
    margin: Share | None = None
    """Of open looks the margin that was bet on."""
    put_back: Count | None = None
    """How many earlier looks the history lacked, though they were taken in this folder: they count."""
    state: str | None = None
    """Digest of what the history holds of these looks afterwards."""


class Latency(Model):
    """Latency of the samples of a cell, from first request to last answer, in seconds."""

    p50: Amount | None
    p95: Amount | None
    """Order-statistic 95th percentile; null below 59 samples."""
    max: Amount | None
    n: Count


class Needs(GrowingModel):
    """How many *additional* cases a verdict needs, at the level that is left after all corrections."""

    added = frozenset({"rerun"})

    best: Count | None
    """If every further case agrees; null when no number of cases would do."""
    typical: Count | None
    """If the rates seen so far go on, with a probability of 80 %; null: none at this rate."""
    rerun: Count | None = None
    """Cases without an outcome that must be asked again first: they are no question of further cases."""


class Bar(GrowingModel):
    """The pass rule of a criterion."""

    added = frozenset({"miss", "calls"})

    kind: BarKind
    min_pass_rate: Share | None
    max_failure_rate: Share | None
    margin: Share | None
    """Tolerated loss of pass rate against the baseline; 1 is read from old artifacts and decides nothing."""
    confidence: Annotated[float, Field(ge=0.0, lt=1.0)]
    samples: Annotated[int, Field(ge=1, le=10**6)]
    baseline_must_pass: bool = True
    miss: list[str] | None = None
    """Classes of exceptions that are a miss of the model beside the usual ones; null: none."""
    calls: Literal["optional"] | None = None
    """``optional`` where a sample may pass without asking its runtime; null: it must ask."""


class Cell(GrowingModel):
    """The evidence of one runtime on one criterion and slice, and its verdict."""

    added = frozenset({"level", "look", "reason_code", "test_errors"})

    runtime: str
    role: Role
    slice: str | None
    """Name of the slice; null for all cases."""
    status: Status | None
    """The verdict; null for the baseline."""
    cases: Count
    passed: Count
    failed: Count
    errors: Count
    skipped: Count
    pass_rate: Amount | None
    """passed / (cases - skipped); null when no case was left."""
    interval: tuple[float, float] | None
    """Two-sided Clopper-Pearson interval of ``pass_rate``."""
    p_unsafe: Amount | None = None
    p_worse: Amount | None = None
    p_adjusted: Amount | None = None
    regressions: Count | None = None
    improvements: Count | None = None
    needs: Needs | None = None
    reason: str
    cost_usd: Amount | None
    latency_s: Latency
    pass_hat_k: Amount | None = None
    """Probability that all of a case's samples pass, where a case has several; null otherwise."""
    adaptive: AdaptiveCell | None = None
    """How far adaptive sampling went; null where every case was asked for."""
    test_errors: Count | None = None
    """How many of the errors are the test's own and say nothing of the runtime; null: none."""
    level: Amount | None = None
    """What ``p_adjusted`` must not exceed to qualify; null where no p-value decides."""
    reason_code: str | None = None
    """What the reason says, for tools."""
    look: CellLook | None = None
    """Which of several looks the verdict is; null where there is one."""


class AttributedDifference(Model):
    """Paired difference in pass rate between two runtimes that differ along one axis alone."""

    axis: Literal["prompt", "model"]
    slice: str | None
    from_runtime: str
    to_runtime: str
    difference: float
    """Pass rate of ``to_runtime`` minus that of ``from_runtime`` on the same cases."""
    interval: tuple[float, float]
    """Tango's score interval at the criterion's confidence, two-sided."""
    pairs: Count


class Criterion(GrowingModel):
    """One marked test function, its bar and its cells."""

    added = frozenset({"broken", "case_digests"})

    id: str
    objective: str
    fingerprint: str
    collected: list[str]
    """Case ids before deselection, in the order of collection."""
    bar: Bar
    cells: list[Cell] = []
    attribution: list[AttributedDifference] = []
    challengers: list[str] = []
    """Challengers that the mark names, the family that its verdicts are corrected for; empty: the objective's."""
    adaptive: AdaptiveSampling | None = None
    """The rule of adaptive sampling; null where every case was asked for."""
    case_digests: dict[str, str] | None = None
    """Content hash of each case's parametrized values, by which a renamed case is known again."""
    broken: str | None = None
    """Why the test itself seems broken, in words: it decides on nobody; null: it does not."""


class ObjectiveVerdict(GrowingModel):
    """Verdict on a challenger over all criteria of an objective."""

    added = frozenset({"level", "reason_code"})

    runtime: str
    slice: str | None
    status: Status
    reason: str
    p_unsafe: Amount | None = None
    p_adjusted: Amount | None = None
    level: Amount | None = None
    """What ``p_adjusted`` must not exceed to qualify; null where no p-value decides."""
    reason_code: str | None = None
    """What the reason says, for tools."""


class FallbackFigures(Model):
    """What a fallback does on the cases that the chain's primary fails."""

    runtime: str
    primary_failures: Count
    rescued: Count


class Recommendation(GrowingModel):
    """The chain proposed for an objective or one of its slices."""

    added = frozenset({"reason_code"})

    slice: str | None
    chain: Annotated[list[str], Field(min_length=1)]
    reason: str
    cost_ratio: Ratio | None
    """Cost of the baseline divided by that of the chosen runtime: above 1 is cheaper."""
    latency_ratio: Ratio | None
    """Median of the per-case ratios of latency, baseline divided by chosen: above 1 is faster."""
    cost_interval: tuple[Ratio, Ratio] | None = None
    latency_interval: tuple[Ratio, Ratio] | None = None
    fallbacks: list[FallbackFigures] = []
    joint_pass_rate: Amount | None = None
    """Share of the cases that at least one runtime of the chain passes."""
    outage_proof: bool | None = None
    """False when one provider's outage would empty the chain."""
    warnings: list[str] = []
    reason_code: str | None = None
    """What the reason says, for tools."""


class Objective(GrowingModel):
    """The job that production routes, with its verdicts and recommendations."""

    added = frozenset({"decision_error", "looks", "slices_rule"})

    name: str
    baseline: str
    challengers: list[str]
    sensitive: bool = False
    criteria: list[str]
    verdicts: list[ObjectiveVerdict] = []
    recommendations: list[Recommendation] = []
    optimize: Literal["cost", "latency"] = "cost"
    p95_latency_s: Amount | None = None
    """Service ceiling in seconds: a runtime above it is not recommended."""
    max_cost_per_1k_usd: Amount | None = None
    """Service ceiling in USD for 1,000 cases: a runtime above it is not recommended."""
    slices_rule: SlicesRule | None = None
    """How the verdicts on several slices are corrected for each other; null: decided before there was a choice."""
    looks: Looks | None = None
    """How often a verdict may be looked for, with more cases each time; null: once."""
    decision_error: str | None = None
    """Why deciding failed, in words: there are no verdicts then, and everything that was observed is kept."""


class AuxiliaryTotals(Model):
    """What one runtime was asked in auxiliary calls (a judge, a rewriter)."""

    calls: Count
    list_usd: Amount
    unpriced: Count = 0


class Totals(Model):
    """Totals over the distinct requests of the run."""

    calls: Count
    live: Count
    cached: Count
    recorded: Count
    spent_usd: Amount
    """What this run paid."""
    list_usd: Amount
    """What the same answers cost when they were made."""
    unpriced: Count = 0
    """How many of the answers have an unknown price and are in neither sum."""
    auxiliary: dict[str, AuxiliaryTotals] = {}
    """By runtime, the part of all this that auxiliary calls have."""


class Evidence(Model):
    """Everything observed in a run and what was decided from it."""

    schema_: Literal["proofmap.evidence/1"] = Field(default=SCHEMA, alias="schema")
    run: RunInfo
    runtimes: dict[str, RuntimeInfo]
    prompts: dict[str, dict[str, PromptVariant]] = {}
    requests: dict[str, RecordedRequest] = {}
    objectives: list[Objective]
    criteria: list[Criterion]
    samples: list[Sample]
    totals: Totals

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        protected_namespaces=(),
        defer_build=True,
        allow_inf_nan=False,
    )
