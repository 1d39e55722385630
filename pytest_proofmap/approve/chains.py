"""What a route's rungs render: which locked prompt variant belongs to which runtime of a chain.

Pure functions on the lock, shared by the production loader and the exports.
"""

from __future__ import annotations

from datetime import datetime, timezone

from pytest_proofmap.approve.models import Lock, Route
from pytest_proofmap.errors import LockError

__all__ = ["baseline_of", "has_expired", "packages", "prompt_of", "renders_alike"]

DEFAULT_VARIANT = "default"


def packages(lock: Lock, route: Route) -> list[str]:
    """Return the names of the prompt packages that a route was approved with, sorted."""
    return sorted({lock.prompts[key].name for key in route.prompts})


def prompt_of(lock: Lock, route: Route, runtime: str, package: str) -> str:
    """Return the key of the prompt variant that a runtime of a route's chain renders.

    As in a test: the runtime's own variant, and the default prompt where the package has no other.

    Args:
        lock: The lock.
        route: A route of it.
        runtime: Key of a runtime of the chain.
        package: Name of one of the route's prompt packages.

    Raises:
        LockError: The route was approved without that prompt variant.
    """
    variants = {lock.prompts[key].variant: key for key in route.prompts if lock.prompts[key].name == package}
    wanted = lock.runtimes[runtime].variant or DEFAULT_VARIANT
    if wanted in variants:
        return variants[wanted]
    if variants.keys() == {DEFAULT_VARIANT}:
        return variants[DEFAULT_VARIANT]
    raise LockError(
        f"the runtime {lock.runtimes[runtime].name!r} renders the prompt {package!r} in its variant {wanted!r}, "
        f"and the route was approved with {', '.join(sorted(variants)) or 'none'} only. Approve the route anew, "
        f"on evidence in which {lock.runtimes[runtime].name!r} ran {package!r}."
    )


def renders_alike(lock: Lock, route: Route) -> bool:
    """Return whether all rungs of a route render the same prompt variants, so that one prompt serves them all."""
    return all(
        len({prompt_of(lock, route, runtime, package) for runtime in route.chain}) == 1
        for package in packages(lock, route)
    )


def baseline_of(route: Route) -> str | None:
    """Return the key of the runtime of a chain that is its baseline, or None when the chain ends without it.

    The last rung where a challenger was promoted, the first one otherwise.
    """
    if route.decision != "promoted":
        return route.chain[0]
    return route.chain[-1] if len(route.chain) > 1 else None


def has_expired(route: Route, now: datetime) -> bool:
    """Return whether a route's approval has expired.

    Raises:
        LockError: The time of expiry is none.
    """
    if route.approval.expires_at is None:
        return False
    try:
        expires_at = datetime.fromisoformat(route.approval.expires_at.replace("Z", "+00:00"))
    except ValueError:
        raise LockError(
            f"an approval expires at {route.approval.expires_at!r}, which is no time. Approve the route anew."
        ) from None
    if expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=timezone.utc)
    return expires_at <= now
