"""``proofmap decide``: decisions recomputed from a stored artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import proofmap, store
from stored_evidence import decided, undecided

from pytest_proofmap.cli import main
from pytest_proofmap.evidence.artifact import read_evidence

AGREE = {"t.py::test_x": {"base": "P" * 40, "mini": "P" * 40, "haiku": "P" * 39 + "F"}}


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """An artifact with the first version's fields only, and without any decision."""
    return store(undecided(AGREE), tmp_path / "evidence.json")


def decision_of(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """Return what ``decide --json`` printed."""
    done = proofmap("decide", *arguments, "--json")
    assert (done.returncode, done.stderr) == (status, "")
    decision: dict[str, Any] = json.loads(done.stdout)
    return decision


def call(arguments: list[str]) -> int:
    """Run a command in this process and return its exit status."""
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    return int(exited.value.code or 0)


def statuses(decision: dict[str, Any]) -> dict[str, str]:
    """Return the verdict of each challenger on the only objective."""
    (objective,) = decision["objectives"]
    return {verdict["runtime"]: verdict["status"] for verdict in objective["verdicts"]}


def test_an_undecided_artifact_is_decided(evidence: Path) -> None:
    """Empty cells and verdicts are filled in from the samples and the bars."""
    decision = decision_of(evidence)
    assert statuses(decision) == {"mini": "qualified", "haiku": "insufficient"}
    assert decision["objectives"][0]["recommendations"][0]["chain"] == ["mini", "base"]
    assert [cell["runtime"] for cell in decision["criteria"][0]["cells"]] == ["base", "mini", "haiku"]


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        (["--margin", "0.05"], "margin", {"mini": "insufficient", "haiku": "insufficient"}),
        (["--margin", "0.2"], "margin", {"mini": "qualified", "haiku": "qualified"}),
        (["--margin", "none"], "all_pass", {"mini": "qualified", "haiku": "not_qualified"}),
        (["--min-pass-rate", "0.8"], "both", {"mini": "qualified", "haiku": "insufficient"}),
        (
            ["--margin", "none", "--min-pass-rate", "0.8"],
            "min_pass_rate",
            {"mini": "qualified", "haiku": "qualified"},
        ),
        (
            ["--margin", "none", "--max-failure-rate", "0.05"],
            "all_pass",
            {"mini": "insufficient", "haiku": "not_qualified"},
        ),
        (["--confidence", "0"], "margin", {"mini": "qualified", "haiku": "qualified"}),
        (["--confidence", "0.99"], "margin", {"mini": "insufficient", "haiku": "insufficient"}),
    ],
)
def test_bars(evidence: Path, options: list[str], kind: str, expected: dict[str, str]) -> None:
    """Bars change by the rule of the mark, and the verdicts follow."""
    decision = decision_of(evidence, *options)
    assert decision["criteria"][0]["bar"]["kind"] == kind
    assert statuses(decision) == expected


def test_a_runtime_that_is_left_out_still_counts(tmp_path: Path) -> None:
    """Leaving a challenger out never helps the others through the correction."""
    path = store(
        undecided({"t.py::test_x": {"base": "P" * 30, "mini": "P" * 30, "haiku": "F" * 30}}), tmp_path / "e"
    )
    alone = store(undecided({"t.py::test_x": {"base": "P" * 30, "mini": "P" * 30}}), tmp_path / "a")
    assert statuses(decision_of(alone))["mini"] == "qualified"
    left = decision_of(path, "--without", "haiku")
    assert statuses(left) == statuses(decision_of(path)) | {"haiku": "insufficient"}
    assert statuses(left)["mini"] == "insufficient"
    assert (left["run"]["complete"], left["run"]["incomplete_reasons"]) == (False, ["--without left out haiku"])
    assert left["totals"]["calls"] == 60
    assert "haiku" not in proofmap("decide", path, "--without", "haiku").stdout.replace("left out haiku", "")


def test_prices_are_applied_to_the_tokens(evidence: Path) -> None:
    """A price changes the cost of calls, ratios and totals, and who is cheapest."""
    dear = decision_of(evidence, "--price", "mini=100,300", "--margin", "0.2")
    (recommendation,) = dear["objectives"][0]["recommendations"]
    assert recommendation["chain"][0] == "haiku"
    cells = {cell["runtime"]: cell["cost_usd"] for cell in dear["criteria"][0]["cells"]}
    assert cells["mini"] == pytest.approx(40 * (100 * 100 + 100 * 300) / 1e6)
    assert dear["totals"]["list_usd"] == pytest.approx(sum(cells.values()))


def test_cached_input_has_a_price_of_its_own(tmp_path: Path) -> None:
    """The third price is that of input tokens from the provider's prompt cache."""
    data = json.loads(undecided(AGREE).model_dump_json(by_alias=True))
    for sample in data["samples"]:
        sample["calls"][0]["cached_input_tokens"] = 50
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps(data))
    decision = decision_of(path, "--price", "mini=10,10,1")
    cost = next(cell["cost_usd"] for cell in decision["criteria"][0]["cells"] if cell["runtime"] == "mini")
    assert cost == pytest.approx(40 * (50 * 10 + 50 * 1 + 100 * 10) / 1e6)


def test_optimize_for_latency(evidence: Path) -> None:
    """Without any latency nothing is faster, so the baseline stays."""
    decision = decision_of(evidence, "--optimize", "latency")
    assert decision["objectives"][0]["recommendations"][0]["chain"][0] == "base"


def test_one_objective(tmp_path: Path) -> None:
    """Only the named objectives are decided on, with their calls."""
    both = {"t.py::test_x": {"base": "P" * 40, "mini": "P" * 40}, "t.py::test_y": {"base": "P", "mini": "F"}}
    decision = decision_of(store(undecided(both), tmp_path / "e"), "--objective", "x")
    assert [objective["name"] for objective in decision["objectives"]] == ["x"]
    assert [criterion["id"] for criterion in decision["criteria"]] == ["t.py::test_x"]
    assert decision["totals"]["calls"] == 80


def test_the_output_is_an_artifact(evidence: Path, tmp_path: Path) -> None:
    """What is written can be read, reported and decided on again; the input stays as it was."""
    before = evidence.read_bytes()
    out = tmp_path / "deep" / "out.json"
    done = proofmap("decide", evidence, "--margin", "0.2", "-o", out)
    assert done.returncode == 0
    assert f"proofmap report --text {out}" in done.stdout
    written = read_evidence(out)
    assert written.criteria[0].bar.margin == 0.2
    source, bar, cases = written.criteria[0].fingerprint.split("/")
    assert (source, cases) == ("source:1", "cases:3")
    assert bar != "bar:2"
    assert written.samples == read_evidence(evidence).samples
    assert evidence.read_bytes() == before
    assert decision_of(out)["objectives"] == decision_of(evidence, "--margin", "0.2")["objectives"]


def test_strict_demands_that_all_qualify(evidence: Path) -> None:
    """With --strict a challenger that is not qualified is a finding, but not one that is left out."""
    done = proofmap("decide", evidence, "--strict")
    assert done.returncode == 1
    assert "--strict: haiku is insufficient on x" in " ".join(done.stdout.split())
    assert proofmap("decide", evidence, "--strict", "--margin", "0.2").returncode == 0
    assert proofmap("decide", evidence, "--strict", "--without", "haiku", "--margin", "0.2").returncode == 0


def test_incomplete_evidence_fails_only_when_strict(tmp_path: Path) -> None:
    """Incomplete evidence is said, and is a finding for --strict."""
    run = {"complete": False, "incomplete_reasons": ["the run was interrupted"]}
    path = store(undecided(AGREE, run=run), tmp_path / "e")
    assert proofmap("decide", path, "--margin", "0.2").returncode == 0
    done = proofmap("decide", path, "--margin", "0.2", "--strict")
    assert done.returncode == 1
    assert "--strict: the evidence is incomplete: the run was interrupted" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "options", [["--margin", "none"], ["--margin", "none", "--min-pass-rate", "0.9"]], ids=["all-pass", "rate"]
)
def test_a_baseline_below_its_own_bar_is_a_finding(tmp_path: Path, options: list[str]) -> None:
    """The baseline's own bar is the first that has to hold."""
    path = store(undecided({"t.py::test_x": {"base": "P" * 30 + "F" * 20, "mini": "P" * 50}}), tmp_path / "e")
    assert proofmap("decide", path).returncode == 0
    decision = decision_of(path, *options, status=1)
    assert decision["findings"][0]["text"].startswith("the baseline base does not")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--price", "mimi=1,2"], "no runtime 'mimi'. Did you mean 'mini'?"),
        (["--price", "mini=1"], "'mini=1' is not RUNTIME=IN,OUT[,CACHED]"),
        (["--price", "mini"], "'mini' is not RUNTIME=IN,OUT[,CACHED]"),
        (["--price", "mini=a,b"], "'mini=a,b' is not RUNTIME=IN,OUT[,CACHED]"),
        (["--price", "mini=-1,2"], "a price is a number of USD of at least 0"),
        (["--price", "mini=nan,2"], "a price is a number of USD of at least 0"),
        (["--without", "haikuu"], "no runtime 'haikuu'. Did you mean 'haiku'?"),
        (["--without", "base"], "'base' is the baseline of the objective 'x'"),
        (["--objective", "y"], "no objective 'y'. It has: x."),
        (["--margin", "0"], "'0' is not a number above 0 and below 1 (0.05 is 5 points), or none"),
        (["--margin", "1"], "'1' is not a number above 0 and below 1 (0.05 is 5 points), or none"),
        (["--margin", "10%"], "'10%' is not a number above 0 and below 1 (0.05 is 5 points), or none"),
        (["--min-pass-rate", "none"], "'none' is not a number above 0 and up to 1."),
        (["--max-failure-rate", "nan"], "'nan' is not a number above 0 and up to 1, or none"),
        (["--confidence", "0.3"], "'0.3' is not 0 (decide on the observed rate) or a number of at least 0.5"),
        (["--optimize", "speed"], "'speed' is not one of"),
        (["--marjin", "0.1"], "No such option"),
    ],
)
def test_bad_options(evidence: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each bad option is one clear message on standard error and exit status 2."""
    assert call(["decide", str(evidence), *options]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert message in " ".join(error.split())


def test_bad_input_has_no_traceback(evidence: Path, tmp_path: Path) -> None:
    """The script says what is wrong and nothing else."""
    done = proofmap("decide", evidence, "--without", "haikuu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: The evidence has no runtime 'haikuu'. Did you mean 'haiku'? It has: base, haiku, mini.\n"
    )
    done = proofmap("report", "--text", tmp_path / "none.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: cannot read the evidence ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the evidence"),
        ("", "is not an artifact of the schema 'proofmap.evidence/1'"),
        ('{"schema": "proofmap.evidence/1", "run"', "Invalid JSON"),
        ('{"schema": "proofmap.evidence/9"}', "schema: Input should be 'proofmap.evidence/1'"),
        ("[]", "is not an artifact of the schema"),
        ("\udcff\udcfe", "is not an artifact of the schema"),
    ],
)
@pytest.mark.parametrize("command", [["decide"], ["report", "--text"]])
def test_bad_files(
    tmp_path: Path, content: str | None, message: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is not an artifact is refused, with what to do."""
    path = tmp_path / "evidence.json"
    if content is not None:
        path.write_text(content, encoding="utf-8", errors="surrogateescape")
    assert call([*command, str(path)]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert message in error
    assert "pytest --proofmap" in error


def test_an_output_that_cannot_be_written(evidence: Path, tmp_path: Path) -> None:
    """A place that cannot be written is bad input."""
    (tmp_path / "file").write_text("")
    done = proofmap("decide", evidence, "-o", tmp_path / "file" / "out.json")
    assert done.returncode == 2
    assert "cannot write the evidence" in done.stderr


def test_the_summary_is_that_of_the_report(tmp_path: Path) -> None:
    """Deciding by the bars that an artifact holds shows what its report shows."""
    path = store(decided(AGREE), tmp_path / "evidence.json")
    lines = proofmap("decide", path).stdout.splitlines()
    assert proofmap("report", path, "--text").stdout.splitlines()[: len(lines)] == lines
