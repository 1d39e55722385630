"""An ordinary ``pytest``: it never spends money, prints nothing and imports nothing heavy."""

from __future__ import annotations

import sys

import pytest
from small_project import THREE_CASES, SmallProject

HEAVY = ("diskcache", "frontmatter", "jinja2", "litellm", "pydantic", "tabulate", "tomllib", "tomli", "yaml")

REPORT_IMPORTS = """
import sys

def pytest_unconfigure():
    with open("modules.txt", "w") as file:
        file.write("\\n".join(sorted(sys.modules)))
"""


@pytest.fixture
def marked(project: SmallProject) -> SmallProject:
    """A project with marked tests, one plain test, and a configuration that cannot be read."""
    project.configure("this is no TOML")
    project.write("test_triage.py", THREE_CASES + "\ndef test_plain():\n    pass\n")
    return project


def test_marked_tests_are_skipped(marked: SmallProject) -> None:
    """Marked tests are skipped with the reason, once a case and not once a runtime; others run."""
    result = marked.run("-rs", proofmap=False)
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(["SKIPPED [[]3[]] *: needs --proofmap"])
    assert result.ret == pytest.ExitCode.OK


def test_the_configuration_is_not_read(marked: SmallProject) -> None:
    """A broken configuration does not disturb an ordinary run, and stops one with ``--proofmap``."""
    assert marked.run(proofmap=False).ret == pytest.ExitCode.OK
    assert marked.run().ret == pytest.ExitCode.USAGE_ERROR


def test_marks_are_not_checked(marked: SmallProject) -> None:
    """A bad mark is found by the run that uses it."""
    marked.write("test_triage.py", THREE_CASES.replace(".qualify", ".qualify(chalengers=['x'])"))
    marked.run(proofmap=False).assert_outcomes(skipped=3)


def test_nothing_is_printed_or_written(marked: SmallProject) -> None:
    """Nothing in the output or the folder tells that the plugin is there."""
    marked.write("test_triage.py", "def test_plain():\n    pass\n")
    result = marked.run(proofmap=False)
    result.stdout.no_fnmatch_line("*roofmap*passed*")
    assert not [
        line for line in result.outlines if "roofmap" in line and not line.startswith(("rootdir", "plugins"))
    ]
    assert not (marked.folder / ".proofmap").exists()


def test_unmarked_tests_are_left_alone_with_the_option(project: SmallProject) -> None:
    """A run with ``--proofmap`` in which nothing is marked adds nothing and writes nothing."""
    project.write("test_plain.py", "def test_plain():\n    pass\n")
    result = project.run()
    result.assert_outcomes(passed=1)
    assert not [
        line for line in result.outlines if "roofmap" in line and not line.startswith(("rootdir", "plugins"))
    ]
    assert not project.artifact.exists()


def test_the_fixtures_skip_in_unmarked_tests(marked: SmallProject) -> None:
    """A test that uses the fixtures without a mark is skipped with the same reason."""
    marked.write("test_triage.py", "def test_one(runtime):\n    1 / 0\n\ndef test_two(runtimes):\n    1 / 0\n")
    result = marked.run("-rs", proofmap=False)
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*needs --proofmap"])


def test_a_folder_of_the_same_name_is_no_mark(marked: SmallProject) -> None:
    """Tests in a folder or module called ``qualify`` are not taken for marked ones."""
    marked.write("qualify/test_other.py", "def test_other():\n    pass\n")
    marked.run("qualify", proofmap=False).assert_outcomes(passed=1)


def test_other_skips_keep_their_reason(marked: SmallProject) -> None:
    """A marked test that the project skips itself is skipped all the same."""
    marked.write(
        "test_triage.py",
        "import pytest\n\n@pytest.mark.skip(reason='mine')\n@pytest.mark.qualify\n"
        "def test_one(runtime):\n    pass\n",
    )
    marked.run("-rs", proofmap=False).assert_outcomes(skipped=1)


def test_the_mark_is_registered(marked: SmallProject) -> None:
    """``--strict-markers`` knows the mark, and ``--markers`` explains it."""
    assert marked.run("--strict-markers", proofmap=False).ret == pytest.ExitCode.OK
    result = marked.run("--markers", proofmap=False)
    result.stdout.fnmatch_lines(["@pytest.mark.qualify(baseline, challengers, [*], objective, slice_by, samples*"])


def test_the_fixtures_are_documented(marked: SmallProject) -> None:
    """``--fixtures`` names both fixtures and what they need."""
    result = marked.run("--fixtures", proofmap=False)
    result.stdout.fnmatch_lines(["runtime -- *", "*needs --proofmap*", "runtimes -- *"])


def test_only_pytest_and_the_standard_library_are_imported(marked: SmallProject) -> None:
    """Loading the plugin imports nothing that a bare pytest does not import, but for its own few modules."""
    marked.write("conftest.py", REPORT_IMPORTS)
    marked.run_apart(proofmap=False).assert_outcomes(passed=1, skipped=3)
    loaded = set((marked.folder / "modules.txt").read_text().split())
    marked.plugins = []
    marked.run_apart("-k", "plain", proofmap=False)
    bare = set((marked.folder / "modules.txt").read_text().split())
    added = {name for name in loaded - bare if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in added if not name.startswith(("pytest_proofmap", "test_triage"))} == set()
    assert {name for name in added if name.startswith("pytest_proofmap")} == {
        "pytest_proofmap",
        "pytest_proofmap._version",
        "pytest_proofmap.plugin.fixtures",
        "pytest_proofmap.hookspecs",
        "pytest_proofmap.plugin.options",
        "pytest_proofmap.plugin",
    }
    assert not loaded & set(HEAVY)


def test_switched_off_the_plugin_is_not_there(marked: SmallProject) -> None:
    """With ``-p no:proofmap`` there is no option, no fixture and no mark."""
    marked.plugins = ["no:proofmap"]
    assert marked.run().ret == pytest.ExitCode.USAGE_ERROR
    result = marked.run(proofmap=False)
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines(["*fixture 'runtime' not found*"])


def test_a_conftest_can_work_without_the_plugin(marked: SmallProject) -> None:
    """A hook marked as optional does not disturb a run in which the plugin is switched off."""
    marked.plugins = ["no:proofmap"]
    marked.write(
        "conftest.py",
        "import pytest\n\n@pytest.hookimpl(optionalhook=True)\n"
        "def pytest_proofmap_runtimes(config):\n    return {}\n",
    )
    marked.run("-k", "plain", proofmap=False).assert_outcomes(passed=1, deselected=3)
