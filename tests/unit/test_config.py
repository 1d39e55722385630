"""The configuration: where it is read from, what it may hold, and how a wrong value is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_proofmap.config import Configuration, find_rootdir, load, parse, parse_runtime
from pytest_proofmap.errors import ConfigurationError

EXAMPLE = """
baseline = "gpt-4o"
challengers = ["gpt-4o-mini", "haiku"]
prompts = "prompts"
recordings = ["recordings/*.jsonl"]
cache_dir = ".proofmap/cache"
lock = "proofmap.lock"
confidence = 0.95
concurrency = 32
budget_usd = 5.0

[runtimes.gpt-4o]
model = "openai/gpt-4o"

[runtimes.gpt-4o-mini]
model = "openai/gpt-4o-mini-2024-07-18"
params = { temperature = 0 }
variant = "mini"
api_base = "os.environ/LLM_BASE"
provider = "azure"
price = { input_per_mtok = 0.15, output_per_mtok = 0.60, cached_input_per_mtok = 0.075 }
timeout_s = 60

[runtimes.haiku]
model = "claude-3-haiku-20240307"

[limits.openai]
rpm = 500
tpm = 200000
concurrency = 16

[objectives.triage]
optimize = "latency"
p95_latency_s = 3.0
max_cost_per_1k_usd = 2.0
"""


def configured(folder: Path, text: str) -> Configuration:
    """Load a ``proofmap.toml``."""
    (folder / "proofmap.toml").write_text(text, encoding="utf-8")
    return load(folder)


def refusal(folder: Path, text: str) -> str:
    """Return why a ``proofmap.toml`` is refused."""
    with pytest.raises(ConfigurationError) as caught:
        configured(folder, text)
    return str(caught.value)


def test_every_documented_key(tmp_path: Path) -> None:
    """The documented example is read as it is meant."""
    configuration = configured(tmp_path, EXAMPLE)
    mini = configuration.runtime("gpt-4o-mini")
    assert (mini.model, mini.params, mini.variant) == ("openai/gpt-4o-mini-2024-07-18", {"temperature": 0}, "mini")
    assert (mini.api_base, mini.provider, mini.timeout_s) == ("os.environ/LLM_BASE", "azure", 60)
    assert mini.price is not None
    assert mini.price.cached_input_per_mtok == 0.075
    assert configuration.limits["openai"].tpm == 200000
    assert configuration.objectives["triage"].optimize == "latency"
    assert (configuration.concurrency, configuration.budget_usd) == (32, 5.0)
    assert configuration.cache_path == tmp_path / ".proofmap" / "cache"
    assert configuration.prompts_path == tmp_path / "prompts"
    assert configuration.lock_path == tmp_path / "proofmap.lock"
    assert configuration.source == "proofmap.toml"


def test_the_defaults(tmp_path: Path) -> None:
    """Without a configuration the documented defaults hold."""
    configuration = load(tmp_path)
    assert (configuration.prompts, configuration.recordings, configuration.concurrency) == ("prompts", [], 32)
    assert (configuration.baseline, configuration.challengers, configuration.budget_usd) == (None, None, None)
    assert configuration.runtimes == {}


def test_the_table_of_pyproject(tmp_path: Path) -> None:
    """``[tool.proofmap]`` holds the same keys."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.proofmap]\nbaseline = "a"\n[tool.proofmap.runtimes.a]\nmodel = "b/c"\n'
    )
    configuration = load(tmp_path)
    assert (configuration.baseline, configuration.runtime("a").model) == ("a", "b/c")
    assert configuration.source == "pyproject.toml"


def test_its_own_file_replaces_the_table(tmp_path: Path) -> None:
    """``proofmap.toml`` replaces the table, without merging."""
    (tmp_path / "pyproject.toml").write_text('[tool.proofmap]\nbaseline = "a"\nconcurrency = 3\n')
    configuration = configured(tmp_path, 'baseline = "b"\n')
    assert (configuration.baseline, configuration.concurrency) == ("b", 32)


def test_the_provider_is_the_models_prefix(tmp_path: Path) -> None:
    """Without ``provider`` it is what stands before the slash, and OpenAI where there is none."""
    configuration = configured(tmp_path, EXAMPLE)
    assert configuration.runtime("gpt-4o").provider == "openai"
    assert configuration.runtime("haiku").provider == "openai"
    assert configuration.runtime("groq/llama-3").provider == "groq"


def test_a_model_id_that_is_not_configured(tmp_path: Path) -> None:
    """A name with a slash is taken as a LiteLLM model id; any other unknown name is refused."""
    configuration = configured(tmp_path, EXAMPLE)
    assert configuration.runtime("groq/llama-3").model == "groq/llama-3"
    with pytest.raises(ConfigurationError, match=r"unknown runtime 'gpt-4o-mni'. Did you mean 'gpt-4o-mini'\?"):
        configuration.runtime("gpt-4o-mni")


def test_transport_settings_are_no_part_of_the_key(tmp_path: Path) -> None:
    """Keys and timeouts among the parameters say how to reach the model and not what it answers."""
    params = 'params = { temperature = 0, api_key = "os.environ/KEY", timeout = 3 }'
    configuration = configured(tmp_path, f'[runtimes.a]\nmodel = "b/c"\n{params}\n')
    assert configuration.runtime("a").key_params == {"temperature": 0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('basline = "a"', ["unknown key 'basline'", "Did you mean 'baseline'?"]),
        ("recordings = 'a'", ["recordings = 'a'", "list"]),
        ("concurrency = -1", ["concurrency = -1", "greater than or equal to 0"]),
        ("concurrency = 1.5", ["concurrency = 1.5", "integer"]),
        ('concurrency = "8"', ["concurrency = '8'", "integer"]),
        ("budget_usd = 0", ["budget_usd = 0", "greater than 0"]),
        ("budget_usd = inf", ["budget_usd = inf", "finite"]),
        ("confidence = 1", ["confidence = 1", "less than 1"]),
        ("confidence = 0.2", ["confidence = 0.2", "[0.5, 1)"]),
        ("min_pass_rate = 2", ["min_pass_rate = 2", "less than or equal to 1"]),
        ("samples = 0", ["samples = 0", "greater than or equal to 1"]),
        ("sensitive = 1", ["sensitive = 1", "boolean"]),
        ("baseline = 1", ["baseline = 1", "string"]),
        ("challengers = 'a'", ["challengers = 'a'", "list"]),
        ("[runtimes.a]\nmodle = 'x'", ["[runtimes.a]", "unknown key 'modle'", "Did you mean 'model'?"]),
        ("[runtimes.a]\nparams = {}", ["[runtimes.a]", "lacks the key 'model'"]),
        ("[runtimes.a]\nmodel = ''", ["[runtimes.a]", "model = ''"]),
        ("[runtimes.a]\nmodel = 3", ["[runtimes.a]", "model = 3", "string"]),
        ("[runtimes.a]\nmodel = 'x'\ntimeout_s = 0", ["[runtimes.a]", "timeout_s = 0", "greater than 0"]),
        ("[runtimes.a]\nmodel = 'x'\nname = 'b'", ["[runtimes.a]", "unknown key 'name'"]),
        ("[runtimes.a]\nmodel = 'x'\nprice = { input_per_mtok = 1 }", ["[runtimes.a.price]", "'output_per_mtok'"]),
        (
            "[runtimes.a]\nmodel = 'x'\nprice = { input_per_mtok = -1, output_per_mtok = 1 }",
            ["[runtimes.a.price]", "input_per_mtok = -1", "greater than or equal to 0"],
        ),
        ("[runtimes.a]\nmodel = 'x'\nparams = { model = 'y' }", ["[runtimes.a]", "'model' is not a parameter"]),
        ("[runtimes.a]\nmodel = 'x'\nparams = { stream = true }", ["[runtimes.a]", "'stream' is not a parameter"]),
        ("[runtimes.'a b']\nmodel = 'x'", ["the runtime name 'a b' is not allowed", "letters, digits"]),
        ("[runtimes.'a/b']\nmodel = 'x'", ["the runtime name 'a/b' is not allowed"]),
        ("[limits.openai]\nrmp = 1", ["[limits.openai]", "unknown key 'rmp'", "Did you mean 'rpm'?"]),
        ("[limits.openai]\nrpm = 0", ["[limits.openai]", "rpm = 0"]),
        ("[objectives.t]\noptimize = 'speed'", ["[objectives.t]", "optimize = 'speed'", "'cost' or 'latency'"]),
        ("[objectives.t]\np95_latency_s = -1", ["[objectives.t]", "p95_latency_s = -1"]),
        ("baseline = ", ["proofmap.toml: not valid TOML"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(tmp_path: Path, text: str, words: list[str]) -> None:
    """Each wrong key or value is named with its table, what it is and what is allowed."""
    message = refusal(tmp_path, text)
    assert "proofmap.toml" in message
    for word in words:
        assert word in message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Several wrong values are one error with a line each."""
    message = refusal(tmp_path, "concurrency = -1\nsamples = 0\n")
    assert len(message.splitlines()) == 2


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    """A file in another encoding is named."""
    (tmp_path / "proofmap.toml").write_bytes(b'baseline = "caf\xe9"\n')
    with pytest.raises(ConfigurationError, match=r"proofmap\.toml: not valid TOML"):
        load(tmp_path)


@pytest.mark.parametrize("where", ["api_key = 'Zq81-dummy-secret'", "params = { api_key = 'Zq81-dummy-secret' }"])
def test_a_written_out_secret_is_refused_and_not_repeated(tmp_path: Path, where: str) -> None:
    """A secret in the file is refused with how to write it, and the message does not hold it."""
    message = refusal(tmp_path, f"[runtimes.a]\nmodel = 'x'\n{where}\n")
    assert "Zq81-dummy-secret" not in message
    assert "os.environ/NAME" in message or "unknown key 'api_key'" in message


def test_the_nearest_folder_with_a_configuration(tmp_path: Path) -> None:
    """Commands find the project's root from a folder below it."""
    configured(tmp_path, EXAMPLE)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert find_rootdir(below) == tmp_path


def test_without_a_configuration_the_start_is_the_root(tmp_path: Path) -> None:
    """Without a configuration the folder asked about is the root."""
    assert find_rootdir(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("a b", {"model": "x"}, "the runtime name 'a b' is not allowed"),
        ("a", "x", "the runtime 'a' is 'x'"),
        ("a", {}, "lacks the key 'model'"),
        ("a", {"model": "x", "nothing": 1}, "unknown key 'nothing'"),
    ],
)
def test_a_wrong_runtime_from_code(name: str, table: Any, words: str) -> None:
    """A runtime that code declares is checked like one in the file."""
    with pytest.raises(ConfigurationError) as caught:
        parse_runtime(name, table, "the hook")
    assert words in str(caught.value)
    assert "the hook" in str(caught.value)


@pytest.mark.parametrize("where", ["proofmap.toml", "hook"])
def test_credentials_in_an_endpoint(tmp_path: Path, where: str) -> None:
    """An endpoint with a password is refused wherever a runtime is configured, and never repeated."""
    table = {"model": "openai/x", "api_base": "https://user:hunter2hunter2@host/v1"}

    def read() -> object:
        if where == "hook":
            return parse_runtime("x", table, "the hook")
        return parse({"runtimes": {"x": table}}, tmp_path, source=where, prefix="")

    with pytest.raises(ConfigurationError) as caught:
        read()
    assert "runtimes.x]: api_base holds a user, a password or a key" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 5000, f"x = {'9' * 5000}", "x = " + "{a=" * 2000, "[" + "a." * 5000 + "a]"]
)
def test_toml_without_end(tmp_path: Path, text: str) -> None:
    """Depth and digits that Python's reader does not bear are an error of the file."""
    (tmp_path / "proofmap.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError):
        load(tmp_path)


def test_values_that_look_like_keys_are_not_repeated(tmp_path: Path) -> None:
    """A key in the wrong place is not shown by the error about the place."""
    with pytest.raises(ConfigurationError) as caught:
        parse({"baseline": ["sk-hunter2hunter2"]}, tmp_path, source="proofmap.toml", prefix="")
    assert "hunter2" not in str(caught.value)
