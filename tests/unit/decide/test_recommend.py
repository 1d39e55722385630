"""Chains: who is recommended, who backs up, and why."""

from __future__ import annotations

from typing import Any

import pytest
from stored_evidence import Decided, Scene, bar

MARGIN = bar(margin=0.1)


def chain_of(scene: Scene, slice_name: str | None = None) -> list[str]:
    """Return the recommended chain."""
    return scene.decide().recommendation(slice_name).chain


def agreeing(names: list[str], cases: int = 80, **settings: Any) -> Scene:
    """Return a scene where all challengers agree with the baseline."""
    scene = Scene(MARGIN, names, **settings)
    for name in ("base", *names):
        scene.saw(name, "P" * cases)
    return scene


def test_cheapest_qualified_leads() -> None:
    """The cheapest qualified runtime leads, the others follow by cost, the baseline ends the chain."""
    costs = {"base": 1.0, "dear": 0.5, "cheap": 0.05, "middle": 0.1}
    decided = agreeing(["dear", "cheap", "middle"], costs=costs).decide()
    found = decided.recommendation()
    assert found.chain == ["cheap", "middle", "dear", "base"]
    assert found.reason == "20× cheaper, 0 regressions in 80"
    assert found.cost_ratio == pytest.approx(20)
    assert found.cost_interval == pytest.approx((20, 20))
    assert found.latency_ratio is None


def test_unqualified_never_in_the_chain() -> None:
    """Runtimes that failed or lack evidence are not backups either."""
    costs: dict[str, float | None] = {"base": 1.0, "bad": 0.01, "mini": 0.1}
    scene = Scene(MARGIN, ["bad", "mini"], costs=costs)
    scene.saw("base", "P" * 80).saw("mini", "P" * 80).saw("bad", "F" * 80)
    assert chain_of(scene) == ["mini", "base"]


def test_nobody_qualifies() -> None:
    """The baseline stays alone, with the reason."""
    scene = Scene(MARGIN, ["bad", "thin"]).saw("base", "P" * 80).saw("bad", "F" * 80).saw("thin", "P" * 10)
    found = scene.decide().recommendation()
    assert found.chain == ["base"]
    assert found.reason == "baseline kept: bad not qualified; not enough evidence for thin"
    assert found.cost_ratio is None


def test_dearer_challenger_backs_up() -> None:
    """A qualified runtime that is not cheaper follows the baseline."""
    found = agreeing(["mini"], costs={"base": 1.0, "mini": 2.0}).decide().recommendation()
    assert found.chain == ["base", "mini"]
    assert found.reason == "baseline kept: mini qualifies, but is not cheaper"


@pytest.mark.parametrize("costs", [{"base": 1.0, "mini": None}, {"base": None, "mini": 1.0}])
def test_unknown_price_is_never_cheaper(costs: dict[str, float | None]) -> None:
    """Where a price is unknown nobody is chosen for cost."""
    found = agreeing(["mini"], costs=costs).decide().recommendation()
    assert found.chain == ["base", "mini"]
    assert "unknown" in found.reason


def test_unknown_price_comes_last_among_backups() -> None:
    """Backups of unknown price follow those of known price."""
    costs = {"base": 1.0, "free": None, "dear": 3.0}
    assert chain_of(agreeing(["free", "dear"], costs=costs)) == ["base", "dear", "free"]


def test_fastest() -> None:
    """When latency is what counts the fastest one that beats the baseline leads."""
    latencies: dict[str, float | None] = {"base": 1.0, "quick": 0.5, "slow": 1.5}
    scene = agreeing(
        ["slow", "quick"],
        objective={"optimize": "latency"},
        latencies=latencies,
        costs={"base": 1.0, "quick": 2.0, "slow": 0.1},
    )
    found = scene.decide().recommendation()
    assert found.chain == ["quick", "slow", "base"]
    assert found.latency_ratio == 2
    assert found.reason.startswith("2.0× faster, 2.0× the cost")


def test_latency_measured_under_other_conditions_is_withheld() -> None:
    """A speed-up between different concurrencies is no speed-up."""
    settings: dict[str, Any] = {
        "objective": {"optimize": "latency"},
        "latencies": {"base": 1.0, "mini": 0.5},
    }
    scene = agreeing(["mini"], concurrency={"base": 32, "mini": 1}, **settings)
    found = scene.decide().recommendation()
    assert found.chain == ["base", "mini"]
    assert "different concurrency (32 and 1)" in found.reason
    assert (
        agreeing(["mini"], concurrency={"base": 8, "mini": 9}, **settings).decide().recommendation().latency_ratio
        == 2
    )
    one_sided = agreeing(["mini"], concurrency={"base": 8}, **settings).decide().recommendation()
    assert one_sided.chain == ["base", "mini"]


@pytest.mark.parametrize(
    ("objective", "latency", "words"),
    [
        ({"p95_latency_s": 0.4}, 0.5, "p95: 0.50 s"),
        ({"p95_latency_s": 0.4}, None, "unverified"),
        ({"max_cost_per_1k_usd": 99.0}, 0.5, "above the ceiling of $99"),
    ],
)
def test_ceilings(objective: dict[str, Any], latency: float | None, words: str) -> None:
    """A runtime above a service ceiling, or never shown to keep it, is not recommended, not even as backup."""
    scene = agreeing(["mini"], objective=objective, latencies={"base": 0.1, "mini": latency})
    found = scene.decide().recommendation()
    assert found.chain == ["base"]
    assert words in found.reason


def test_ceilings_kept() -> None:
    """Below its ceilings a runtime is recommended; with few cases the maximum stands for the 95th percentile."""
    ceilings = {"p95_latency_s": 0.5, "max_cost_per_1k_usd": 100.0}
    scene = agreeing(["mini"], 40, objective=ceilings, latencies={"base": 0.1, "mini": 0.5})
    assert chain_of(scene) == ["mini", "base"]
    slow = agreeing(["mini"], 40, objective={"p95_latency_s": 0.3}, latencies={"base": 0.1, "mini": 0.5})
    assert "maximum of 40" in slow.decide().recommendation().reason


def test_baseline_above_a_ceiling_is_warned_about() -> None:
    """When the baseline stays although it breaks a ceiling the recommendation says so."""
    scene = agreeing(["mini"], objective={"max_cost_per_1k_usd": 1.0})
    assert any("the baseline base itself" in warning for warning in scene.decide().recommendation().warnings)


def test_errors_make_no_runtime_cheaper() -> None:
    """A call without an answer is free, but a ceiling holds for the cases that are answered."""
    costs: dict[str, float | None] = {"base": 1.0, "mini": 0.9}
    scene = Scene(MARGIN, ["mini"], costs=costs, objective={"max_cost_per_1k_usd": 700.0})
    scene.saw("base", "P" * 40 + "E" * 40).saw("mini", "P" * 80)
    scene.rows = [row._replace(cost_usd=0.0) if row.outcome == "error" else row for row in scene.rows]
    assert any("the baseline base itself" in warning for warning in scene.decide().recommendation().warnings)


def test_sensitive_keeps_the_baseline_alone() -> None:
    """Sensitive work is not routed elsewhere, but what would be possible is said."""
    found = agreeing(["mini"], objective={"sensitive": True}).decide().recommendation()
    assert found.chain == ["base"]
    assert found.reason.startswith("sensitive: the baseline stays alone")
    assert "mini qualifies: 10× cheaper" in found.reason


def test_outage() -> None:
    """A chain on one provider alone is named, two providers are enough."""
    alike = agreeing(["mini"], providers={"base": "openai", "mini": "openai"}).decide().recommendation()
    assert alike.outage_proof is False
    assert alike.warnings == ["not outage-proof: openai serves every rung"]
    mixed = agreeing(["mini"], providers={"base": "openai", "mini": "anthropic"}).decide().recommendation()
    assert mixed.outage_proof is True
    assert mixed.warnings == []


def test_fallbacks_are_measured_where_the_primary_fails() -> None:
    """Each fallback is counted on the primary's failures, and the chain on all cases."""
    scene = Scene(bar(margin=0.2))
    scene.saw("base", "PPF" + "P" * 77).saw("mini", "FFF" + "P" * 77)
    found = scene.decide().recommendation()
    assert found.chain == ["mini", "base"]
    (fallback,) = found.fallbacks
    assert (fallback.runtime, fallback.primary_failures, fallback.rescued) == ("base", 3, 2)
    assert found.joint_pass_rate == pytest.approx(79 / 80)


def test_one_case_that_dominates_the_cost_is_warned_about() -> None:
    """A cost ratio that hangs on one case says so."""
    scene = agreeing(["mini"])
    scene.rows[0] = scene.rows[0]._replace(cost_usd=30.0)
    assert any("one case makes up 28%" in warning for warning in scene.decide().recommendation().warnings)


def sliced(fr: str, en: str) -> Decided:
    """Decide on a challenger with different outcomes in two languages."""
    scene = Scene(MARGIN)
    for language, outcomes in (("language=fr", fr), ("language=en", en)):
        scene.saw("base", "P" * len(outcomes), slice_name=language)
        scene.saw("mini", outcomes, slice_name=language)
    return scene.decide()


def test_partial_win() -> None:
    """A challenger is promoted in the slice that it holds, and only there."""
    decided = sliced("F" * 12 + "P" * 28, "P" * 40)
    assert decided.recommendation("language=en").chain == ["mini", "base"]
    assert decided.recommendation("language=fr").chain == ["base"]


@pytest.mark.parametrize(
    ("fr", "why"),
    [
        ("F" * 8 + "P" * 12, "it is not qualified on language=fr: worse than base"),
        ("F" * 3 + "P" * 17, "it loses 15.0 points, more than the margin of 10.0 (3 regressions, 0 improvements"),
        ("-" * 20, "there is no verdict on language=fr: it was not run"),
    ],
)
def test_one_runtime_for_everything_may_harm_no_slice(fr: str, why: str) -> None:
    """What is acceptable on average is not recommended for everything when a slice lost more than the margin."""
    decided = sliced(fr, "P" * 400)
    assert decided.verdict().status == "qualified"
    found = decided.recommendation()
    assert (found.chain, found.reason_code) == (["base"], "slice_objection")
    assert why in found.reason
    assert decided.recommendation("language=en").chain == ["mini", "base"]


@pytest.mark.parametrize("slices", [2, 12, 40])
def test_the_veto_does_not_tire_of_slices(slices: int) -> None:
    """However many slices there are, one that lost more than the margin keeps the whole route at the baseline."""
    scene = Scene(MARGIN)
    for number in range(slices):
        name = f"topic={number}"
        scene.saw("base", "P" * 50, slice_name=name)
        scene.saw("mini", "P" * (44 if number == 0 else 50) + "F" * (6 if number == 0 else 0), slice_name=name)
    assert scene.decide().recommendation().chain == ["base"]


def test_unproven_slices_are_counted() -> None:
    """One runtime for everything says on how many slices it is not proven by itself."""
    decided = sliced("F" + "P" * 19, "P" * 400)
    found = decided.recommendation()
    assert found.chain == ["mini", "base"]
    assert found.reason == "10× cheaper, 1 regression in 420, unproven on 1 of 2 slices"


def test_the_veto_of_a_rate() -> None:
    """Under a pass rate the whole route stays when a slice's observed rate is below it."""
    scene = Scene(bar("min_pass_rate", min_pass_rate=0.8, margin=None))
    for language, outcomes in (("language=fr", "F" * 3 + "P" * 7), ("language=en", "P" * 200)):
        scene.saw("base", "P" * len(outcomes), slice_name=language).saw("mini", outcomes, slice_name=language)
    found = scene.decide().recommendation()
    assert (found.chain, found.reason_code) == (["base"], "slice_objection")
    assert "it passes 7/10, below 80 %, on language=fr" in found.reason


def noisy_costs(scene: Scene, ratio: float) -> Scene:
    """Let the challenger's costs vary from case to case around a share of the baseline's."""
    for index, row in enumerate(scene.rows):
        if row.runtime == "mini":
            swing = (0.3, 1.7, 0.6, 1.4)[index % 4]
            scene.rows[index] = row._replace(cost_usd=swing / ratio)
    return scene


def test_a_gain_must_be_proven() -> None:
    """A ratio whose interval reaches 1 moves nobody, one beyond it does; the reason gives the interval."""
    found = noisy_costs(agreeing(["mini"]), 1.05).decide().recommendation()
    assert (found.chain, found.reason_code) == (["base", "mini"], "gain_unproven")
    assert found.reason == (
        "baseline kept: mini qualifies, but 1.1× cheaper (0.92–1.2×) is not proven to be cheaper at all"
    )
    found = noisy_costs(agreeing(["mini"]), 1.3).decide().recommendation()
    assert (found.chain, found.reason_code) == (["mini", "base"], "promoted")
    assert found.cost_interval is not None
    assert found.cost_interval[0] > 1


def test_a_gain_in_speed_must_be_proven() -> None:
    """Below six cases there is no interval of the speed-up, and a half that is slower proves nothing."""
    scene = Scene(bar("all_pass", max_failure_rate=None), objective={"optimize": "latency"})
    scene.latencies = {"base": 2.0, "mini": 1.0}
    few = scene.saw("base", "PPPPP").saw("mini", "PPPPP").decide().recommendation()
    assert (few.chain, few.reason_code) == (["base", "mini"], "gain_unproven")
    assert "there are too few cases" in few.reason
    more = scene.saw("base", "PPPPP", criterion="u").saw("mini", "PPPPP", criterion="u").decide().recommendation()
    assert more.chain == ["mini", "base"]


@pytest.mark.parametrize("names", [["careful", "hasty"], ["hasty", "careful"]])
def test_ties_go_to_fewer_regressions(names: list[str]) -> None:
    """Of two that cost the same the one with fewer regressions leads, whatever their order."""
    scene = Scene(MARGIN, names, costs={"base": 1.0, "careful": 0.1, "hasty": 0.1})
    scene.saw("base", "P" * 80).saw("careful", "P" * 79 + "F").saw("hasty", "P" * 77 + "FFF")
    assert chain_of(scene) == ["careful", "hasty", "base"]


def test_free_is_a_price() -> None:
    """Whoever costs nothing leads, without a ratio; a baseline that costs nothing is beaten by nobody."""
    costs: dict[str, float | None] = {"base": 1.0, "mini": 0.0, "other": 0.01, "unknown": None}
    found = agreeing(["other", "mini", "unknown"], costs=costs).decide().recommendation()
    assert found.chain == ["mini", "other", "unknown", "base"]
    assert (found.cost_ratio, found.cost_interval) == (None, None)
    assert found.reason == "free of charge, which the baseline is not, 0 regressions in 80"
    kept = agreeing(["mini"], costs={"base": 0.0, "mini": 0.1}).decide().recommendation()
    assert (kept.chain, kept.reason_code) == (["base", "mini"], "no_gain")
    both = agreeing(["mini"], costs={"base": 0.0, "mini": 0.0}).decide().recommendation()
    assert both.chain == ["base", "mini"]
    unknown = agreeing(["mini"], costs={"base": 1.0, "mini": None}).decide().recommendation()
    assert unknown.reason_code == "gain_unknown"


def test_error_is_not_cheap() -> None:
    """Cases that a side never answered are left out of both totals."""
    scene = Scene(bar(margin=0.3)).saw("base", "P" * 80).saw("mini", "P" * 70 + "E" * 10)
    scene.rows = [row._replace(cost_usd=0.0) if row.outcome == "error" else row for row in scene.rows]
    assert scene.decide().recommendation().cost_ratio == pytest.approx(10)
