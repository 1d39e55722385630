"""``proofmap whatif``: outages and prices."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import command_line
import pytest
from command_line import proofmap, store
from stored_evidence import decided

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.lock.file import write_lock
from pytest_proofmap.lock.models import Approval, Lock
from pytest_proofmap.lock.propose import ApprovalRequest, approved_routes, replace_objectives

X, Y = "t.py::test_x", "t.py::test_y"
GOOD = {"base": "P" * 60, "mini": "P" * 59 + "F", "haiku": "P" * 60}
PROVIDERS = {"base": "openai", "mini": "openai", "haiku": "anthropic"}
BOTH = {X: GOOD, Y: {"base": "P" * 60, "mini": "P" * 60, "haiku": "P" * 60}}
ALONE = {X: GOOD, Y: {"base": "P" * 60, "mini": "P" * 60, "haiku": "F" * 60}}


def evidence(outcomes: Mapping[str, Mapping[str, str]]) -> Evidence:
    """Return decided evidence whose runtimes have two providers."""
    found = decided(outcomes)
    runtimes = {
        name: info.model_copy(update={"provider": PROVIDERS[name]}) for name, info in found.runtimes.items()
    }
    return decide_evidence(found.model_copy(update={"runtimes": runtimes}))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Two routes that outlive any one provider."""
    return store(evidence(BOTH), tmp_path / "evidence.json")


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """Two routes, one of which a single provider serves."""
    return store(evidence(ALONE), tmp_path / "alone.json")


def lock_of(found: Evidence, path: Path) -> Path:
    """Write a lock with the routes that evidence recommends."""
    approval = Approval(by="ada", at="2026-01-02T00:00:00Z", reason="", expires_at=None)
    names = [objective.name for objective in found.objectives]
    write_lock(
        path, replace_objectives(Lock(), approved_routes(found, ApprovalRequest(), approval, "0" * 64), names)
    )
    return path


words = partial(command_line.words, "whatif")
answer = partial(command_line.as_json, "whatif")


def test_a_provider_is_down(both: Path) -> None:
    """Who takes over is named with standing, pass rate and cost, and the status says that all routes live."""
    text = words(both, "--down", "openai")
    assert "When openai is down" in text
    assert (
        "→ x: mini → haiku (qualified), passes 100 % (+1.7 points), $0.40 for 1,000 (+$0.20, 2×), "
        "and no fallback after it" in text
    )
    assert "→ y: mini → haiku (qualified), passes 100 % (the same)" in text
    assert text.endswith("every route outlives that")


def test_a_route_is_left_with_nothing(alone: Path) -> None:
    """It is named first, with who is still up but not approved, and fails."""
    text = words(alone, "--down", "openai", status=1)
    assert "✗ y: nothing is left of mini (then base)" in text
    assert "still up, but not in the chain: haiku (not qualified, passes 0 %)" in text
    assert "1 route would be left with nothing: y next: qualify a challenger" in text


def test_several_are_down_together(both: Path) -> None:
    """Repeated options are one outage."""
    text = words(both, "--down", "haiku", "--down", "mini")
    assert "When haiku and mini are down → x: mini → base (baseline)" in text
    words(both, "--down", "anthropic", "--down", "openai", status=1)


def test_readiness_walks_every_provider(both: Path, alone: Path) -> None:
    """Without an option each provider goes down in turn, in a table and in words."""
    text = words(both)
    assert "provider loses taken fewer nothing that is down a rung over fallbacks left" in text
    assert "anthropic 2 of 2 0 2 0 openai 2 of 2 2 0 0" in text
    assert "When anthropic is down 2 routes with fewer fallbacks When openai is down" in text
    assert text.endswith("every route outlives any one provider")
    text = words(alone, status=1)
    assert "anthropic 1 of 2 0 1 0 openai 2 of 2 1 0 1" in text
    assert "1 route with fewer fallbacks, 1 route untouched" in text
    text = words(alone, "-v", status=1)
    assert "x: mini stays, without haiku" in text
    assert "y: untouched, mini (then base)" in text


def test_json(alone: Path) -> None:
    """The JSON holds each rung's standing and figures, and each route's fate."""
    found = answer(alone, status=1)
    assert (found["source"], found["routes"], found["nothing_left"], found["prices"]) == ("evidence", 2, True, [])
    assert [outage["down"] for outage in found["outages"]] == [["anthropic"], ["openai"]]
    x, y = found["outages"][1]["routes"]
    assert (x["objective"], x["fate"], x["takes_over"]) == ("x", "taken_over", "haiku")
    assert x["cost_change_per_1k_usd"] == pytest.approx(0.2)
    assert x["pass_rate_change"] == pytest.approx(1 / 60)
    assert x["left"][0]["standing"] == "qualified"
    assert (y["fate"], y["left"], y["takes_over"]) == ("nothing_left", [], None)


def test_other_prices(both: Path) -> None:
    """Who would be recommended is decided anew, with the reason and the cost before and after."""
    text = words(both, "--price", "mini=3,3")
    assert "At these prices 2 of 2 routes would change" in text
    assert "! x: mini (then haiku, base) → haiku (then mini, base): 5.0× cheaper" in text
    assert "$0.20 for 1,000 → $0.40 for 1,000" in text
    text = words(both, "--price", "mini=1.5,1.5")
    assert "At these prices 0 of 2 routes would change x: still mini" in text
    assert "$0.20 for 1,000 → $0.30 for 1,000" in text


def test_an_outage_at_other_prices(both: Path) -> None:
    """Both options together walk the chains that the prices recommend."""
    found = answer(both, "--price", "mini=3,3", "--down", "anthropic")
    assert [effect["moved"] for effect in found["prices"]] == [True, True]
    (outage,) = found["outages"]
    assert {route["takes_over"] for route in outage["routes"]} == {"mini"}


def test_a_lock(tmp_path: Path) -> None:
    """A lock is walked by the figures that it was approved on."""
    lock = lock_of(evidence(ALONE), tmp_path / "proofmap.lock")
    text = words(lock, "--down", "openai", status=1)
    assert "→ x: mini → haiku (approved), passes 100 % (+1.7 points), $0.40 for 1,000 (+$0.20, 2×)" in text
    assert "✗ y: nothing is left of mini (then base)" in text
    assert answer(lock, status=1)["source"] == "lock"


def test_a_lock_holds_no_tokens(tmp_path: Path) -> None:
    """A price on a lock is refused with the reason and the run to look for."""
    done = proofmap("whatif", lock_of(evidence(BOTH), tmp_path / "proofmap.lock"), "--price", "mini=1,2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "which holds neither tokens nor the runtimes" in done.stderr
    assert "It was approved on: run r." in done.stderr


def test_no_route(tmp_path: Path) -> None:
    """An empty lock has nothing to lose."""
    write_lock(tmp_path / "proofmap.lock", Lock())
    assert words(tmp_path / "proofmap.lock").endswith("0 routes there is no route to walk")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--down", "openay"], "No route has a provider or a runtime 'openay'. Did you mean 'openai'?"),
        (["--price", "mini=1"], "'mini=1' is not RUNTIME=IN,OUT[,CACHED]"),
        (["--price", "maxi=1,2"], "no runtime 'maxi'"),
    ],
)
def test_bad_options(both: Path, options: list[str], message: str) -> None:
    """Each bad option is one clear message and exit status 2."""
    done = proofmap("whatif", both, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())


def test_narrow_pages_and_plain_characters(alone: Path) -> None:
    """The page fits into few columns, and into ASCII."""
    done = proofmap("whatif", alone, COLUMNS="30", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 30
    assert "-> x: mini -> haiku" in done.stdout
