"""What the HTML report holds, and what it leaves out for want of room."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from embedded_data import embedded, unpacked
from hypothesis import given
from hypothesis import strategies as st
from stored_evidence import decided

from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.report.html import cases as cases_module
from pytest_proofmap.report.html import document
from pytest_proofmap.report.html.cases import TEXT_CHARACTERS, embed_cases, pack, shortened
from pytest_proofmap.report.html.document import cell_link
from pytest_proofmap.report.view import view_of_evidence

PLENTY = 10_000_000


def page_of(evidence: Evidence) -> str:
    """Return the page of an artifact."""
    return "".join(document.html_report(evidence, view_of_evidence(evidence)))


class Scripts(HTMLParser):
    """The scripts, styles and policy of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.contents: dict[str, list[str]] = {"script": [], "style": []}
        self.policy = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        named = dict(attrs)
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"] or ""
        if tag == "style" or (tag == "script" and "type" not in named):
            self._inside = tag
            self.contents[tag].append("")

    def handle_data(self, data: str) -> None:
        """Take its content."""
        if self._inside:
            self.contents[self._inside][-1] += data

    def handle_endtag(self, tag: str) -> None:
        """Take its end."""
        self._inside = ""


def test_the_policy_names_exactly_what_the_page_brings() -> None:
    """Each script and the style are allowed by their hash, and nothing else is."""
    found = Scripts(page_of(decided({"t.py::test_a": {"base": "PP", "mini": "PF"}})))
    for kind, contents in found.contents.items():
        hashes = {
            f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in contents
        }
        (rule,) = re.findall(rf"{kind}-src ([^;]*)", found.policy)
        assert set(rule.split()) == hashes
    assert "default-src 'none'" in found.policy
    assert "unsafe" not in found.policy


def test_the_libraries_are_what_their_licences_say() -> None:
    """Every vendored file is named, with its hash, beside the licences; none is there that is not named."""
    folder = files(document.__package__).joinpath("vendor")
    named = dict(
        re.findall(r"^(\S+\.js): .*\n  sha256 ([0-9a-f]{64})$", folder.joinpath("LICENSES.txt").read_text(), re.M)
    )
    there = {each.name: each for each in folder.iterdir() if each.name.endswith(".js")}
    assert named.keys() == there.keys()
    for name, file in there.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == named[name]


def test_nothing_embedded_can_end_its_element() -> None:
    """Licences, libraries and scripts hold no closing tag of the element that they are in."""
    page = page_of(decided({"t.py::test_a": {"base": "PP", "mini": "PF"}}))
    assert page.count("<script") == page.count("</script>")
    assert page.endswith("</body>\n</html>\n")


def test_an_index_tells_every_case() -> None:
    """Outcomes, messages, slices and the cells' reasons are there for each case and runtime."""
    evidence = decided({"t.py::test_a": {"base": "PPPP", "mini": "PFES"}}, slices=("x=1", "x=2"))
    (index,) = map(unpacked, embed_cases(evidence, {}, None, PLENTY).indexes)
    assert index["cases"] == ["c0", "c1", "c2", "c3"]
    assert index["slices"] == ["x=1", "x=2", "x=1", "x=2"]
    assert index["outcomes"] == [["p", "p", "p", "p"], ["p", "f", "e", "s"]]
    assert index["messages"] == [{}, {"1": "assert 'no' == 'yes' in c1", "2": "APIConnectionError: refused"}]
    assert [column["reference"] for column in index["columns"]] == [None, 0]
    assert {(cell["runtime"], cell["slice"]) for cell in index["cells"]} == {
        (name, part) for name in ("base", "mini") for part in (None, "x=1", "x=2")
    }


def test_what_failed_is_embedded_before_what_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With little room the flipped cases are there and the passing ones are left out, and counted."""
    monkeypatch.setattr(cases_module, "BLOCK_CHARACTERS", 1)
    outcomes = {"base": "P" * 20, "mini": "P" * 17 + "FFF"}
    evidence = decided({"t.py::test_a": outcomes, "t.py::test_b": outcomes})
    whole = embed_cases(evidence, {}, None, PLENTY)
    assert len(whole.blocks) == 40
    assert (whole.truncated, whole.passing_truncated) == (0, 0)
    room = sum(map(len, whole.indexes)) * 11 // 10 + 400 + sum(map(len, whole.blocks[:8])) + 50
    some = embed_cases(evidence, {}, None, room)
    assert 6 <= len(some.blocks) < 40
    for index in map(unpacked, some.indexes):
        assert all(block >= 0 for block in index["blocks"][17:])
    assert some.truncated == some.passing_truncated == 40 - len(some.blocks)
    none = embed_cases(evidence, {}, None, 0)
    assert (none.truncated, none.passing_truncated, none.blocks) == (40, 34, [])


def test_a_page_stays_below_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever there is to hold, the page keeps its limit and says what it left out."""
    evidence = decided({"t.py::test_a": {"base": "P" * 400, "mini": "P" * 399 + "F"}})
    least = len(page_of(evidence)) - 2_000
    monkeypatch.setattr(document, "LIMIT_BYTES", least + 20_000)
    monkeypatch.setattr(cases_module, "BLOCK_CHARACTERS", 2_000)
    page = page_of(evidence)
    assert len(page.encode()) < least + 20_000
    assert re.search(r"Prompts and answers of \d+ cases, which every runtime passes, are left out", page)
    assert embedded(page)["block"]


def test_every_block_is_where_the_index_says() -> None:
    """The texts of each case are found through its index, with one list of samples a runtime."""
    outcomes = {"base": "PPPF", "mini": "PFPF"}
    found = embedded(page_of(decided({"t.py::test_a": outcomes, "t.py::test_b": outcomes})))
    assert [len(index["blocks"]) for index in found["index"]] == [4, 4]
    for index in found["index"]:
        for at, block in enumerate(index["blocks"]):
            samples = found["block"][block]["cases"][str(at)]
            assert [len(each) for each in samples] == [1, 1]
            expected = ["yes" if letters[at] == "p" else "no" for letters in index["outcomes"]]
            assert [each[0]["calls"][0]["text"] for each in samples] == expected


def test_long_texts_are_cut_wherever_they_stand() -> None:
    """A text within lists and objects is cut, with how much is missing."""
    long = "x" * (TEXT_CHARACTERS + 5)
    assert shortened([{"content": long}, 3, None]) == [
        {"content": {"text": "x" * TEXT_CHARACTERS, "more": 5}},
        3,
        None,
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_data_comes_back(data: object) -> None:
    """What is packed is unpacked the same, halves of surrogate pairs included, and is plain base64."""
    element = pack(data)
    assert unpacked(element) == data
    assert re.fullmatch(r"[A-Za-z0-9+/=]*", element)


def test_a_page_of_nothing_says_so() -> None:
    """An artifact without criteria gives a page that says that nothing is decided."""
    page = page_of(decided({}))
    assert "Nothing is decided" in page
    assert "No criterion has a verdict" in page


def test_the_same_evidence_gives_the_same_page() -> None:
    """A page holds no time of its own making, so that it can be compared and cached."""
    evidence = decided({"t.py::test_a": {"base": "PP", "mini": "PF"}})
    assert page_of(evidence) == page_of(evidence)


def test_the_matrix_has_a_row_for_each_slice() -> None:
    """The whole comes first, its slices in order, each with what was seen."""
    evidence = decided(
        {"t.py::test_a": {"base": "PPPP", "mini": "PPPF"}},
        slices=("x=2", "x=1"),
    )
    (criterion,) = view_of_evidence(evidence).criteria
    assert criterion.label == "test_a"
    assert [row.slice for row in criterion.rows] == [None, "x=1", "x=2"]
    cell = criterion.whole.cells["mini"]
    assert cell.rate is not None
    assert (cell.counts, cell.rate.text, cell.flips) == ("3/4", "75 %", "−1")


def saving(evidence: Evidence) -> str | None:
    """Return what following the recommendations would save."""
    return view_of_evidence(evidence).saving()


def test_what_the_recommended_primaries_would_cost() -> None:
    """The sum counts each objective at its recommended primary, and is not given where a price is unknown."""
    outcomes = {"base": "P" * 60, "mini": "P" * 60}
    assert saving(decided({"t.py::test_a": outcomes})) == "$0.12 → $0.012 for these cases (−90%)"
    assert saving(decided({"t.py::test_a": outcomes}, unpriced=["mini"])) is None
    assert saving(decided({"t.py::test_a": {"base": "PP", "mini": "PF"}})) is None


def test_samples_that_were_spared_save_nothing() -> None:
    """A primary that adaptive sampling asked half of the cases is compared with the baseline on that half."""
    evidence = decided({"t.py::test_a": {"base": "P" * 60, "mini": "P" * 60}})
    samples = [
        each.model_copy(update={"outcome": "skipped", "spared": True, "calls": []})
        if each.runtime == "mini" and number % 2
        else each
        for number, each in enumerate(evidence.samples)
    ]
    assert saving(evidence) == "$0.12 → $0.012 for these cases (−90%)"
    spared = evidence.model_copy(update={"samples": samples})
    assert saving(spared) == "$0.060 → $0.0060 for these cases (−90%)"


def test_promotions_come_first_and_missing_evidence_nearest_first() -> None:
    """Routes that move are above those that stay; what needs fewest cases is above what needs more."""
    evidence = decided(
        {
            "t.py::test_far": {"base": "P" * 10, "mini": "P" * 10},
            "t.py::test_near": {"base": "P" * 25, "mini": "P" * 25},
            "t.py::test_moves": {"base": "P" * 60, "mini": "P" * 60},
        }
    )
    assert [route.objective for route in view_of_evidence(evidence).routes] == ["moves", "far", "near"]
    assert [each.label for each in view_of_evidence(evidence).missing] == ["test_near", "test_far"]


def test_an_address_holds_any_name() -> None:
    """Names with signs that mean something in an address are written out."""
    assert (
        cell_link("t.py::test_a&b", "gpt#4", "x=é")
        == "#criterion=t.py%3A%3Atest_a%26b&runtime=gpt%234&slice=x%3D%C3%A9"
    )
    assert cell_link("\ud800", "m", None) == "#criterion=%3F&runtime=m"
