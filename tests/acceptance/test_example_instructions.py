"""The example ``example_project/instructions``: its criteria agree with IFEval, its run is as described."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

EXAMPLE = Path(__file__).parents[2] / "example_project" / "instructions"
MODULES = ("test_formats", "test_layout", "test_wording")
RUNTIMES = ("gpt-4o", "gpt-4o-mini", "claude-3-haiku", "qwen2.5-7b")

A_LETTER = "IFEval puts a random letter in the place of a character that is not a letter, here # or !"
A_NAME = "a name or a single word: no language can be told, and IFEval's detector guesses another than English"
MISTAKEN = "plain English in capital letters, which IFEval's detector takes for another language"
A_RUN = "an English sentence, then one letter hundreds of times, which IFEval's detector takes for no English"
A_GENITIVE = "IFEval's tokenizer cuts LIFE'S in two words"
A_LIST = "IFEval's splitter counts the numbers of a list as sentences before a capital letter only"

# (kind, key, runtime): why the criterion says another thing than IFEval's strict verdict.
DISAGREEMENTS = {
    ("letter_frequency", 1122, "gpt-4o"): A_LETTER,
    ("letter_frequency", 1122, "qwen2.5-7b"): A_LETTER,
    ("letter_frequency", 1129, "qwen2.5-7b"): A_LETTER,
    ("english_lowercase", 202, "gpt-4o"): A_NAME,
    ("english_lowercase", 202, "gpt-4o-mini"): A_NAME,
    ("english_lowercase", 202, "claude-3-haiku"): A_NAME,
    ("english_lowercase", 202, "qwen2.5-7b"): A_NAME,
    ("english_lowercase", 1843, "claude-3-haiku"): A_NAME,
    ("english_lowercase", 1843, "qwen2.5-7b"): A_NAME,
    ("english_lowercase", 3608, "claude-3-haiku"): A_RUN,
    ("english_capital", 1813, "gpt-4o"): MISTAKEN,
    ("english_capital", 3456, "gpt-4o"): A_NAME,
    ("english_capital", 3456, "claude-3-haiku"): A_NAME,
    ("english_capital", 3456, "qwen2.5-7b"): A_NAME,
    ("english_capital", 3572, "qwen2.5-7b"): A_NAME,
    ("english_capital", 3617, "qwen2.5-7b"): A_NAME,
    ("capital_word_frequency", 1653, "gpt-4o-mini"): A_GENITIVE,
    ("number_sentences", 1967, "claude-3-haiku"): A_LIST,
}


# Objective by objective, the challengers that qualify; the others are kept off it or lack evidence.
QUALIFIED = {
    "title": {"gpt-4o-mini", "claude-3-haiku"},
    "postscript": {"gpt-4o-mini"},
    "quotation": {"gpt-4o-mini"},
    "response-language": {"gpt-4o-mini"},
    "bullet-lists": {"claude-3-haiku", "qwen2.5-7b"},
    "no-comma": {"gpt-4o-mini", "qwen2.5-7b"},
    "number-sentences": {"gpt-4o-mini", "qwen2.5-7b"},
}


class Run(NamedTuple):
    """A run of the example."""

    returncode: int
    stdout: str
    stderr: str
    evidence: dict[str, Any]


class Comparison(NamedTuple):
    """A case on a runtime, as the criterion and as IFEval judge it."""

    kind: str
    key: int
    runtime: str
    ours: bool
    theirs: bool


class Recorded:
    """A runtime that answers from a file of recordings and knows nothing of the plugin."""

    def __init__(self, path: Path) -> None:
        self.answers = {
            row["request"]["messages"][0]["content"]: row["response"]["choices"][0]["message"]["content"]
            for row in read_lines(path)
        }

    def complete(self, prompt: str) -> Any:
        """Return the recorded answer."""
        return type("Reply", (), {"text": self.answers[prompt]})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def example() -> Iterator[dict[str, Any]]:
    """The example's modules by name, imported as pytest would and forgotten afterwards."""
    names = (*MODULES, "cases", "checks", "language", "convert")
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def comparisons(example: dict[str, Any]) -> list[Comparison]:
    """Every case of every kind on every runtime."""
    verdicts = read_lines(EXAMPLE / "verdicts.jsonl")
    kinds = sorted({kind for row in verdicts for kind in row["gpt-4o"]})
    strict = {(row["key"], name): row[name] for row in verdicts for name in RUNTIMES}
    found = []
    for name in RUNTIMES:
        runtime = Recorded(EXAMPLE / "recordings" / f"{name}.jsonl")
        for kind in kinds:
            criterion = next(
                getattr(example[module], f"test_{kind}")
                for module in MODULES
                if hasattr(example[module], f"test_{kind}")
            )
            for case in example["cases"].cases(kind):
                key = int(case.id)
                ours = holds(criterion, runtime, case.values)
                found.append(Comparison(kind, key, name, ours, strict[key, name][kind]))
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The example as its README says to run it, in a copy and without the variable that names Qwen's server."""
    folder = tmp_path_factory.mktemp("run") / "instructions"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".proofmap"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "QWEN"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--proofmap", "--proofmap-cache=replay"],
        cwd=folder,
        env={**environment, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    artifact = folder / ".proofmap" / "evidence.json"
    evidence = json.loads(artifact.read_text(encoding="utf-8")) if artifact.exists() else {}
    return Run(done.returncode, done.stdout, done.stderr, evidence)


def holds(criterion: Any, runtime: Recorded, values: tuple[Any, ...]) -> bool:
    """Tell whether a criterion passes on one case."""
    try:
        criterion(runtime, *values)
    except (AssertionError, pytest.fail.Exception):
        return False
    return True


def test_all_prompts_of_all_kinds_are_cases(comparisons: list[Comparison]) -> None:
    """Each of the 25 kinds of instruction is a criterion and has all of its prompts on all runtimes."""
    verdicts = read_lines(EXAMPLE / "verdicts.jsonl")
    expected = {(kind, row["key"], name) for row in verdicts for name in RUNTIMES for kind in row[name]}
    assert len(verdicts) == 541
    assert len({found.kind for found in comparisons}) == 25
    assert {(found.kind, found.key, found.runtime) for found in comparisons} == expected
    assert len(comparisons) == len(expected) == 3268


def test_criteria_agree_with_ifeval(comparisons: list[Comparison]) -> None:
    """The criteria say what IFEval's strict verdicts say, but for the 18 of 3,268 that the table explains."""
    different = {(found.kind, found.key, found.runtime) for found in comparisons if found.ours != found.theirs}
    assert different == set(DISAGREEMENTS)


def test_run_is_green_offline_and_free(run: Run) -> None:
    """Every answer comes from the recordings, each counted once, and challengers' misses fail nothing."""
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.evidence["run"]["complete"]
    totals = run.evidence["totals"]
    assert (totals["calls"], totals["recorded"], totals["live"], totals["cached"]) == (2164, 2164, 0, 0)
    assert totals["spent_usd"] == 0
    assert totals["list_usd"] == pytest.approx(2.0243, abs=0.0001)


def test_run_reports_what_ifeval_says(run: Run) -> None:
    """The outcomes in the evidence are IFEval's verdicts, but for the same table, and each miss has its reason."""
    strict = {row["key"]: row for row in read_lines(EXAMPLE / "verdicts.jsonl")}
    samples = run.evidence["samples"]
    different = set()
    for sample in samples:
        kind = sample["criterion"].partition("::test_")[2]
        key, name = int(sample["case"]), sample["runtime"]
        assert sample["outcome"] in ("passed", "failed")
        assert sample["outcome"] == "passed" or sample["message"]
        if (sample["outcome"] == "passed") != strict[key][name][kind]:
            different.add((kind, key, name))
    assert len(samples) == 3268
    assert different == set(DISAGREEMENTS)


def test_run_promotes_partial_wins(run: Run) -> None:
    """Some objectives get a cheaper runtime, the rest stay with the baseline; all three verdicts occur."""
    objectives = {objective["name"]: objective for objective in run.evidence["objectives"]}
    verdicts = {
        (name, verdict["runtime"]): verdict["status"]
        for name, objective in objectives.items()
        for verdict in objective["verdicts"]
    }
    assert len(objectives) == 25
    assert set(verdicts.values()) == {"qualified", "not_qualified", "insufficient"}
    for name, objective in objectives.items():
        qualified = {runtime for runtime in RUNTIMES if verdicts.get((name, runtime)) == "qualified"}
        [recommendation] = objective["recommendations"]
        assert qualified == QUALIFIED.get(name, set())
        assert set(recommendation["chain"]) == {*qualified, "gpt-4o"}
        assert (recommendation["chain"][0] != "gpt-4o") == bool(qualified)
    assert verdicts["constrained-response", "gpt-4o-mini"] == "insufficient"


def test_run_prints_what_the_readme_shows(run: Run) -> None:
    """The summary has the README's lines, a sign for each verdict, and tells the baseline's own misses."""
    shown = (EXAMPLE / "README.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    printed = run.stdout.splitlines()
    assert [line for line in shown.splitlines() if line not in printed] == []
    assert all(sign in run.stdout for sign in ("✓ qualified", "✗ not qualified", "? not enough evidence"))
    assert "the baseline gpt-4o itself fails 91 of 817 cases" in run.stdout


def test_run_has_no_latency(run: Run) -> None:
    """No latency was recorded, so none is reported."""
    cells = [cell for criterion in run.evidence["criteria"] for cell in criterion["cells"]]
    assert cells
    assert all(cell["latency_s"]["p50"] is None and cell["latency_s"]["n"] == 0 for cell in cells)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_recordings_hold_each_prompt_once(runtime: str) -> None:
    """A prompt that is a case of several criteria is one request with one answer."""
    rows = read_lines(EXAMPLE / "recordings" / f"{runtime}.jsonl")
    prompts = [row["request"]["messages"][0]["content"] for row in rows]
    assert prompts == [row["prompt"] for row in read_lines(EXAMPLE / "cases.jsonl")]
    assert len(set(prompts)) == 541
    assert all(row["usage_estimated"] and row["latency_s"] is None for row in rows)


def test_language_is_told_by_script_and_small_words(example: dict[str, Any]) -> None:
    """Neighbours in one script are told apart, and what holds no known word stays open."""
    language_of = example["language"].language_of
    assert language_of("The cat is on the table and it is asleep.") == "en"
    assert language_of("Die Katze liegt auf dem Tisch und schläft, sie ist müde.") == "de"
    assert language_of("मैं घर जा रहा हूँ और वह बाज़ार में है।") == "hi"
    assert language_of("मी घरी जात आहे आणि तो बाजारात आहे.") == "mr"
    assert language_of("ನಾನು ಮನೆಗೆ ಹೋಗುತ್ತಿದ್ದೇನೆ") == "kn"
    assert language_of("ETCHINGS") is None
    assert language_of("123 !?") is None


def test_convert_makes_the_data_from_a_checkout(
    example: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversion joins a range, takes kinds by their own name and counts tokens without a network."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # the conversion sets it: restore it after the test
    prompt = "Write 600 to 700 words without commas."
    ids = [
        "en:length_constraints:number_words",
        "en:punctuation:no_comma",
        "en:length_constraints:number_words",
    ]
    asked = [{"relation": "at least", "num_words": 600}, {}, {"relation": "less than", "num_words": 701}]
    checkout, target = tmp_path / "checkout", tmp_path / "target"
    target.mkdir()
    write_line(
        checkout / "data" / "en_input_data.jsonl",
        {"key": 7, "prompt": prompt, "instruction_id_list": ids, "kwargs": asked},
    )
    for source in example["convert"].SOURCES.values():
        write_line(
            checkout / "evaluations" / f"en_input_response_data_{source.folder}" / "eval_results_strict.jsonl",
            {
                "prompt": prompt,
                "response": "Too short.",
                "instruction_id_list": ids,
                "follow_instruction_list": [False, True, True],
            },
        )

    example["convert"].convert(checkout, target)

    assert read_lines(target / "cases.jsonl") == [
        {"key": 7, "prompt": prompt, "asks": {"number_words": {"least": 600, "most": 700}, "no_comma": {}}}
    ]
    assert read_lines(target / "verdicts.jsonl")[0]["gpt-4o"] == {"number_words": False, "no_comma": True}
    [row] = read_lines(target / "recordings" / "qwen2.5-7b.jsonl")
    assert row["request"]["api_base"] == "os.environ/QWEN_API_BASE"
    assert row["response"]["choices"][0]["message"]["content"] == "Too short."
    assert row["response"]["usage"] == {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


def write_line(path: Path, row: dict[str, Any]) -> None:
    """Write a JSONL file of one line, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
