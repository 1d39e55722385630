"""``proofmap export``: the forms, what each refuses, and that no secret is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import proofmap
from stored_lock import RUNTIMES, locked, route_to

ALIKE = ["triage.default"]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock with a route whose rungs render different prompts, one whose rungs do not, one without prompts."""
    return locked(
        tmp_path / "proofmap.lock",
        {
            "triage": route_to("mini", "haiku", "base"),
            "alike": route_to("haiku", "base", prompts=ALIKE),
            "free": route_to("base", prompts=(), decision="baseline_retained"),
        },
    )


def test_json(lock: Path) -> None:
    """Each route is the list of its runtimes in order, with model, parameters and the key of its prompt."""
    done = proofmap("export", "json", "--lock", lock, "--objective", "alike", "--objective", "free")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "alike": [
            {
                "runtime": "haiku",
                "model": "openai/haiku",
                "provider": "openai",
                "params": {},
                "api_base": "os.environ/HAIKU_BASE",
                "prompts": {"triage": "triage.default@ba9876543210"},
            },
            {
                "runtime": "base",
                "model": "openai/base",
                "provider": "openai",
                "params": {"temperature": 0},
                "api_base": "os.environ/BASE_BASE",
                "prompts": {"triage": "triage.default@ba9876543210"},
            },
        ],
        "free": [
            {
                "runtime": "base",
                "model": "openai/base",
                "provider": "openai",
                "params": {"temperature": 0},
                "api_base": "os.environ/BASE_BASE",
                "prompts": {},
            }
        ],
    }


def test_json_with_prompts(lock: Path) -> None:
    """With the prompts, each rung of every route has its own."""
    done = proofmap("export", "json", "--lock", lock, "--prompts")
    assert done.returncode == 0, done.stderr
    variants = [rung["prompts"]["triage"]["variant"] for rung in json.loads(done.stdout)["triage"]]
    assert variants == ["mini", "default", "default"]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["json"], "Take --prompts"),
        (["json", "--no-prompts"], "Take --prompts"),
        (["litellm", "--no-prompts"], "Leave --no-prompts out"),
        (["litellm-proxy", "--no-prompts"], "Leave --no-prompts out"),
        (["litellm-proxy", "--no-prompts", "--model-list"], "Leave --no-prompts out"),
    ],
)
def test_different_prompts_that_cannot_be_carried(lock: Path, arguments: list[str], remedy: str) -> None:
    """A form with one prompt for all rungs is refused where these render different ones, and why is said."""
    output = lock.parent / "out"
    done = proofmap("export", *arguments, "--lock", lock, "-o", output)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "triage: its rungs render different prompts (triage: mini mini, haiku default, base default)"
        in done.stderr
    )
    assert remedy in done.stderr
    assert "alike:" not in done.stderr
    assert not output.exists()


def test_litellm(lock: Path) -> None:
    """The Router's arguments are the ones that the loader uses itself."""
    done = proofmap("export", "litellm", "--lock", lock, "--timeout", "9", "--retries", "2")
    assert done.returncode == 0, done.stderr
    arguments = json.loads(done.stdout)
    assert (arguments["timeout"], arguments["num_retries"], arguments["max_fallbacks"]) == (9, 2, 5)
    assert {"triage": ["triage#1:haiku", "triage#2:base"]} in arguments["fallbacks"]
    assert arguments["fallbacks"] == arguments["context_window_fallbacks"] == arguments["content_policy_fallbacks"]
    prompts = {each["model_name"]: each["litellm_params"].get("prompt_id") for each in arguments["model_list"]}
    assert prompts["triage"] == "triage.mini@ba9876543210"
    assert prompts["free"] is None


def test_litellm_proxy(lock: Path) -> None:
    """The configuration has the models, the fallbacks and the prompt manager."""
    output = lock.parent / "new" / "config.yaml"
    done = proofmap("export", "litellm-proxy", "--lock", lock, "-o", output)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    text = output.read_text(encoding="utf-8")
    assert text.startswith("# Made by: proofmap export litellm-proxy.")
    assert "&id" not in text
    config = yaml.safe_load(text)
    assert sorted(config) == ["litellm_settings", "model_list", "router_settings"]
    assert config["litellm_settings"]["callbacks"] == ["pytest_proofmap.approved.litellm_prompts"]
    assert {"free": []} in config["router_settings"]["fallbacks"]


def test_model_list_alone(lock: Path) -> None:
    """For ``include`` there is nothing but the models, and the settings that they need are in comments."""
    done = proofmap("export", "litellm-proxy", "--lock", lock, "--model-list")
    assert done.returncode == 0, done.stderr
    whole = yaml.safe_load(proofmap("export", "litellm-proxy", "--lock", lock).stdout)
    assert yaml.safe_load(done.stdout) == {"model_list": whole.pop("model_list")}
    comments = [line[4:] for line in done.stdout.splitlines() if line.startswith("#   ")]
    assert yaml.safe_load("\n".join(comments)) == whole


def test_without_the_prompt_manager(lock: Path) -> None:
    """Where callers send the messages, no deployment names a prompt and nothing of ProofMap is imported."""
    done = proofmap("export", "litellm-proxy", "--lock", lock, "--objective", "alike", "--no-prompts")
    assert done.returncode == 0, done.stderr
    assert "prompt" not in done.stdout
    assert "pytest_proofmap" not in done.stdout


def test_no_environment_variable_is_expanded(lock: Path) -> None:
    """What the environment holds is not written, in no form."""
    environment = {"MINI_BASE": "http://expanded", "MINI_KEY": "sk-expanded", "OPENAI_API_KEY": "sk-expanded"}
    for form in ("json", "litellm", "litellm-proxy"):
        more = [] if form == "json" else ["--api-key", "mini=os.environ/MINI_KEY"]
        done = proofmap("export", form, "--lock", lock, "--prompts", *more, **environment)
        assert done.returncode == 0, done.stderr
        assert "expanded" not in done.stdout
        assert "os.environ/MINI_BASE" in done.stdout
        assert ("os.environ/MINI_KEY" in done.stdout) == (form != "json")


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ({"params": {"aws_secret_access_key": "hidden"}}, "'aws_secret_access_key' holds a secret"),
        ({"api_base": "https://me:hidden@host/v1"}, "its api_base holds credentials"),
    ],
)
def test_a_secret_in_the_lock_is_not_passed_on(tmp_path: Path, runtime: dict[str, Any], message: str) -> None:
    """A lock that holds credentials all the same is not exported, and they are not shown."""
    runtimes = {"mini": {**RUNTIMES["mini"], **runtime}}
    lock = locked(tmp_path / "proofmap.lock", {"free": route_to("mini", prompts=())}, runtimes=runtimes)
    for form in ("json", "litellm", "litellm-proxy"):
        done = proofmap("export", form, "--lock", lock)
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr
        assert "hidden" not in done.stderr


@pytest.mark.parametrize(("params", "refused"), [({"a": {"b": "os.environ/X"}}, 1), ({"a": ["os.environ/X"]}, 2)])
def test_a_reference_that_litellm_does_not_expand(tmp_path: Path, params: dict[str, Any], refused: int) -> None:
    """An environment variable inside of a parameter is refused where LiteLLM would send its name to the model."""
    runtimes = {"mini": {**RUNTIMES["mini"], "params": params}}
    lock = locked(tmp_path / "proofmap.lock", {"free": route_to("mini", prompts=())}, runtimes=runtimes)
    done = [proofmap("export", form, "--lock", lock) for form in ("litellm", "litellm-proxy", "json")]
    assert [each.returncode for each in done] == [int(index < refused) for index in range(3)]
    assert "does not expand the environment variable inside of its parameter 'a'" in done[0].stderr


def test_the_lock_of_the_configuration(lock: Path) -> None:
    """Without --lock it is the one that the project's configuration names."""
    (lock.parent / "proofmap.toml").write_text('lock = "proofmap.lock"\n', encoding="utf-8")
    done = proofmap("export", "litellm", "--rootdir", lock.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model_list"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["yaml"], "'yaml' is not one of"),
        (["json", "--model-list"], "--model-list is for litellm-proxy, not for json"),
        (["litellm", "--model-list"], "--model-list is for litellm-proxy, not for litellm"),
        (["json", "--retries", "1"], "--retries is for litellm and litellm-proxy, not for json"),
        (["json", "--timeout", "1"], "--timeout is for litellm and litellm-proxy, not for json"),
        (["litellm", "--timeout", "0"], "0.0 is not in the range x>0"),
        (["litellm", "--timeout", "nan"], "nan is no number of seconds"),
        (["litellm-proxy", "--timeout", "inf"], "inf is no number of seconds"),
        (["litellm", "--api-key", "mini=sk-secret"], "it is not RUNTIME=os.environ/NAME"),
        (["litellm", "--api-key", "minni=os.environ/X"], "no such runtime. Did you mean 'mini'"),
        (["litellm", "--objective", "triag"], "no route for the objective 'triag'. Did you mean 'triage'"),
    ],
)
def test_bad_options(lock: Path, arguments: list[str], message: str) -> None:
    """A mistake in the command is said, with exit status 2, and no key that was typed is repeated."""
    done = proofmap("export", *arguments, "--lock", lock)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())
    assert "sk-secret" not in done.stderr


def test_a_lock_that_was_edited(lock: Path) -> None:
    """Nothing is exported from a lock that is not what was approved."""
    text = lock.read_text(encoding="utf-8")
    lock.write_text(text.replace('"temperature": 0', '"temperature": 1'), encoding="utf-8")
    done = proofmap("export", "json", "--lock", lock)
    assert (done.returncode, done.stdout) == (2, "")
    assert "its digest does not match" in done.stderr
