"""The example ``example_project/instructions``: its criteria agree with IFEval, its run is as described."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

EXAMPLE = Path(__file__).parents[2] / "example_project" / "instructions"
MODULES = ("test_formats", "test_layout", "test_wording")
RUNTIMES = ("gpt-4o", "gpt-4o-mini", "claude-3-haiku", "qwen2.5-7b")

A_LETTER = "IFEval puts a random letter in the place of a character that is not a letter, here # or !"
A_NAME = (
    "a name or a single word: no language can be told, and IFEval's detector guesses another than English"
)
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
    different = {
        (found.kind, found.key, found.runtime) for found in comparisons if found.ours != found.theirs
    }
    assert different == set(DISAGREEMENTS)


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
            checkout
            / "evaluations"
            / f"en_input_response_data_{source.folder}"
            / "eval_results_strict.jsonl",
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
