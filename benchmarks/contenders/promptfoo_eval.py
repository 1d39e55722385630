"""promptfoo: two providers and a test per case; the argument is the program."""

import json
import os
import subprocess
import sys
from pathlib import Path

CONFIG, RESULTS = Path("promptfooconfig.json"), Path("results.json")


def provider(model: str) -> dict[str, object]:
    """Return a provider's configuration."""
    return {"id": f"openai:chat:{model}", "config": {"apiBaseUrl": os.environ["WIRE_URL"], "apiKey": "none"}}


configuration = {
    "prompts": ["case {{case}}"],
    "providers": [provider("gpt-4o"), provider("gpt-4o-mini")],
    "tests": [
        {"vars": {"case": case}, "assert": [{"type": "equals", "value": f"the answer is {case}"}]}
        for case in range(int(os.environ["WIRE_CASES"]))
    ],
}
CONFIG.write_text(json.dumps(configuration), encoding="utf-8")
options = ["--no-write", "--no-table", "--no-progress-bar", "--output", str(RESULTS)]
if not os.environ["WIRE_CACHE"]:
    options.append("--no-cache")
concurrency = ["--max-concurrency", os.environ["WIRE_CONCURRENCY"]]
outcome = subprocess.run(
    [sys.argv[1], "eval", "--config", str(CONFIG), *options, *concurrency], stdin=subprocess.DEVNULL, check=False
)
if outcome.returncode == 0:
    print(json.loads(RESULTS.read_text(encoding="utf-8"))["results"]["stats"]["successes"], "as expected")
sys.exit(outcome.returncode)
