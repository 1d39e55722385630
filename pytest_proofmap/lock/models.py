"""The lock as pydantic models (``schema: "proofmap.lock/1"``), and the figures that its routes were approved on.

Money is in USD, times are UTC ISO 8601. Nothing here holds credentials: an endpoint is written as in the
configuration, with ``os.environ/NAME`` unexpanded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from pytest_proofmap.decide.whatif import ChainEntry, RouteChain
from pytest_proofmap.evidence.models import Price

__all__ = [
    "LOCK_SCHEMA",
    "Approval",
    "Lock",
    "LockedPrompt",
    "LockedRuntime",
    "Route",
    "RouteDecision",
    "RouteEvidence",
    "approved_chains",
    "route_name",
    "route_parts",
]


LOCK_SCHEMA: Literal["proofmap.lock/1"] = "proofmap.lock/1"
"""Name of the schema, written in every lock."""


def _check_time(text: str) -> str:
    datetime.fromisoformat(text.replace("Z", "+00:00"))
    return text


Timestamp = Annotated[str, AfterValidator(_check_time)]
"""ISO 8601."""

RouteDecision = Literal["promoted", "partial", "baseline_retained"]


class LockModel(BaseModel):
    """Base of the lock's models: frozen, and closed to fields that this version would drop on writing."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", protected_namespaces=())

    later_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that came after the first version: left out where unset, so that older digests stay what they are."""

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if value or name not in self.later_fields}


class LockedRuntime(LockModel):
    """An approved runtime."""

    name: str
    model: str
    """LiteLLM model id."""
    provider: str
    params: dict[str, Any]
    variant: str | None
    api_base: str | None
    """As written in the configuration."""
    price: Price | None
    """What it cost when it was approved; no part of what was approved."""
    transport: dict[str, Any] | None = None
    """How it is reached: parameters that name environment variables, ``{"api_key": "os.environ/NAME"}``."""
    served: list[str] | None = None
    """The models that may answer for it, beside its own."""

    later_fields = frozenset({"served", "transport"})


class LockedPrompt(LockModel):
    """An approved variant of a prompt package, with its unrendered message templates."""

    name: str
    variant: str
    file: str
    messages: list[dict[str, Any]]

    @property
    def title(self) -> str:
        """Its name in messages: ``triage``, or ``triage.mini`` for another variant than the default."""
        return self.name if self.variant == "default" else f"{self.name}.{self.variant}"


class RouteEvidence(LockModel):
    """What a route was approved on."""

    run: str
    """Id of the run."""
    sha256: str
    """Of the evidence artifact's file."""
    cases: int
    """How many cases of the route's criteria were judged here: skipped ones are not among them."""
    pass_rates: dict[str, float | None]
    """Share of the cases that passed, by name of each runtime of the chain; null when none was answered."""
    cost_per_1k_usd: dict[str, float | None] = {}
    """Cost of 1,000 cases by runtime; null when it is unknown."""
    skipped: int = 0
    """How many cases were skipped."""
    oldest_answers: dict[str, Timestamp] = {}
    """When the oldest answer of each runtime was made."""
    superseded: dict[str, int] = {}
    """How many answers of a runtime were made before its model changed."""

    later_fields = frozenset({"skipped", "oldest_answers", "superseded"})


class Approval(LockModel):
    """A person's reviewed yes."""

    by: str
    at: Timestamp
    reason: str
    expires_at: Timestamp | None


class Route(LockModel):
    """An objective, or a slice of it, and the runtimes that may serve it."""

    chain: Annotated[list[str], Field(min_length=1)]
    """Keys of runtimes: the primary, then its fallbacks."""
    prompts: list[str]
    """Keys of the prompt variants that the chain renders."""
    decision: RouteDecision
    reason: str
    """Why the evidence recommends the chain."""
    criteria: dict[str, str]
    """Fingerprints of the criteria that the chain was evaluated on."""
    auxiliary_runtimes: dict[str, str] = {}
    """Fingerprints of the runtimes that these criteria ask besides: judges, rewriters."""
    auxiliary_prompts: dict[str, str] = {}
    """First digits of the hashes of the prompt variants that are rendered for these, by ``name.variant``."""
    evidence: RouteEvidence
    approval: Approval
    from_hooks: list[str] = []
    """Names of the runtimes, of the chain or auxiliary, that ``pytest_proofmap_runtimes`` gave."""

    looks: list[str] = []
    """Digests of what the history held of the looks that it was approved on."""

    later_fields = frozenset({"auxiliary_runtimes", "auxiliary_prompts", "from_hooks", "looks"})

    digest: str
    """SHA-256 of the canonical JSON of the route, its name and the entries that it names, less prices."""


class Lock(LockModel):
    """The approved routes with what they name."""

    schema_: Literal["proofmap.lock/1"] = Field(default=LOCK_SCHEMA, alias="schema")
    runtimes: dict[str, LockedRuntime] = {}
    prompts: dict[str, LockedPrompt] = {}
    routes: dict[str, Route] = {}

    model_config = ConfigDict(
        frozen=True, defer_build=True, extra="forbid", populate_by_name=True, protected_namespaces=()
    )


def route_name(objective: str, slice_name: str | None) -> str:
    """Return the name of a route: ``triage``, or ``triage/language=fr`` for a slice."""
    return objective if slice_name is None else f"{objective}/{slice_name}"


def route_parts(name: str) -> tuple[str, str | None]:
    """Return the objective and the slice that a route's name stands for."""
    objective, _, slice_name = name.rpartition("/")
    return (objective, slice_name) if objective and "=" in slice_name else (name, None)


def approved_chains(lock: Lock) -> list[RouteChain]:
    """Return the routes of a lock with the figures that they were approved on."""
    return [
        RouteChain(*route_parts(name), tuple(_entry(key, route, lock) for key in route.chain))
        for name, route in sorted(lock.routes.items())
    ]


def _entry(key: str, route: Route, lock: Lock) -> ChainEntry:
    runtime = lock.runtimes[key]
    return ChainEntry(
        runtime.name,
        runtime.provider,
        "approved",
        route.evidence.pass_rates.get(runtime.name),
        route.evidence.cost_per_1k_usd.get(runtime.name),
    )
