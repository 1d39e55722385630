"""A plugin for ``pytest --collect-only``: writes fingerprints of criteria and of the runtimes that hooks give."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_proofmap.evidence.fingerprints import configured_fingerprint
from pytest_proofmap.files import write_whole
from pytest_proofmap.plugin.session import SESSION

__all__: list[str] = []

COLLECTED = "PROOFMAP_COLLECTED"
"""The variable that names the file to write."""


# After the check before spending, which may refuse the run: nothing is written then.
@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write what was collected; nothing when collection failed somewhere."""
    run = session.config.stash.get(SESSION, None)
    if run is None or session.testsfailed:
        return
    criteria = {name: fact.criterion.fingerprint for name, fact in run.collected_facts().items()}
    runtimes = {
        name: configured_fingerprint(run.configuration.runtime(name)) for name in run.configuration.from_hooks
    }
    with write_whole(Path(os.environ[COLLECTED])) as file:
        json.dump({"criteria": criteria, "runtimes": runtimes}, file)
