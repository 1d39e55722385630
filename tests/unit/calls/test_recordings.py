"""Committed recordings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_answers import answer_of, request_of

from pytest_proofmap.calls.answer import Answer, Refusal
from pytest_proofmap.calls.recordings import Recordings, find_recordings, read_recordings, write_recordings
from pytest_proofmap.errors import RecordingsError

Requests = [request_of(str(number)) for number in range(20)]
Answers = [answer_of(request, f"answer {number}") for number, request in enumerate(Requests)]


def write_lines(path: Path, *lines: str) -> Path:
    """Write a recordings file line by line."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with twenty recorded answers."""
    path = tmp_path / "recordings" / "all.jsonl"
    write_recordings(path, Answers)
    return path


def test_every_answer_is_found(file: Path, tmp_path: Path) -> None:
    """Each recorded answer is found by its request's key, others are not there."""
    recordings = Recordings(["recordings/*.jsonl"], tmp_path)
    assert len(recordings) == 20
    for request, answer in zip(Requests, Answers, strict=True):
        assert request.key() in recordings
        assert recordings.get(request.key()) == answer
    assert recordings.get(request_of("other").key()) is None
    assert [each.answer for each in recordings.entries()] == [*read_answers(file)]
    recordings.close()
    recordings.close()


def read_answers(file: Path) -> list[Answer]:
    """Return the answers of a file in order."""
    return [each.answer for each in read_recordings(file)]


def test_a_recording_knows_its_line(file: Path, tmp_path: Path) -> None:
    """A recording tells its file and line, for messages."""
    recordings = Recordings(["recordings/all.jsonl"], tmp_path)
    lines = file.read_text(encoding="utf-8").splitlines()
    for request in Requests:
        found = recordings.find(request.key())
        assert found is not None
        assert found.file == file
        assert json.loads(lines[found.line - 1])["request"] == request.content()
    assert recordings.find("0" * 64) is None
    recordings.close()


def test_a_hand_written_line_may_leave_out_defaults(tmp_path: Path) -> None:
    """A line needs model, messages and the response; the key is computed from the request alone."""
    request = {"model": "m/x", "messages": [{"role": "user", "content": "hi"}]}
    response = {"choices": [{"message": {"role": "assistant", "content": "ho"}}]}
    write_lines(tmp_path / "r.jsonl", json.dumps({"response": response, "request": request}))
    recordings = Recordings(["r.jsonl"], tmp_path)
    answer = recordings.get(request_of("hi", model="m/x", params={}).key())
    assert answer is not None
    assert answer.text == "ho"
    recordings.close()


def test_blank_lines_crlf_and_a_byte_order_mark(tmp_path: Path) -> None:
    """What editors and git do to line ends harms nothing."""
    lines = [answer.to_json().encode() for answer in Answers[:3]]
    (tmp_path / "r.jsonl").write_bytes(b"\xef\xbb\xbf" + lines[0] + b"\r\n\r\n \n" + lines[1] + b"\n" + lines[2])
    recordings = Recordings(["r.jsonl"], tmp_path)
    assert [recordings.get(request.key()) for request in Requests[:3]] == Answers[:3]
    recordings.close()


def cut(line: str) -> str:
    """Return half a line."""
    return line[: len(line) // 2]


def without(*path: str) -> Callable[[str], str]:
    """Return what takes a field out of a line."""

    def change(line: str) -> str:
        data = json.loads(line)
        inner = data
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]
        return json.dumps(data)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(cut, "not a recorded answer", id="cut in half"),
        pytest.param(lambda line: line + line, "Extra data", id="two in one line"),
        pytest.param(lambda line: "hello", "Expecting value", id="no JSON"),
        pytest.param(lambda line: "[]", "needs an object 'request'", id="no object"),
        pytest.param(without("request"), "needs an object 'request'", id="no request"),
        pytest.param(without("response"), "'response' with 'choices'", id="no response"),
        pytest.param(without("response", "choices"), "'response' with 'choices'", id="no choices"),
        pytest.param(without("request", "model"), "has no 'model'", id="no model"),
        pytest.param(without("request", "messages"), "has no 'messages'", id="no messages"),
        pytest.param(
            lambda line: line.replace('"params": {', '"params": {"a": NaN, '), "not a recorded answer", id="NaN"
        ),
        pytest.param(lambda line: "[" * 100_000, "not a recorded answer", id="nested"),
        pytest.param(lambda line: "<<<<<<< HEAD", "git merge conflict", id="conflict start"),
        pytest.param(lambda line: "=======", "git merge conflict", id="conflict middle"),
        pytest.param(lambda line: ">>>>>>> branch", "git merge conflict", id="conflict end"),
    ],
)
def test_a_broken_line_names_itself(tmp_path: Path, change: Callable[[str], str], reason: str) -> None:
    """A line that cannot be read is an error with file, line, reason and what to do."""
    lines = [answer.to_json() for answer in Answers[:3]]
    write_lines(tmp_path / "r.jsonl", lines[0], change(lines[1]), lines[2])
    with pytest.raises(RecordingsError) as caught:
        Recordings(["r.jsonl"], tmp_path)
    message = str(caught.value)
    assert f"{tmp_path / 'r.jsonl'}, line 2: " in message
    assert reason in message
    assert "delete the" in message


def test_a_last_line_cut_by_a_stopped_write_is_an_error(file: Path, tmp_path: Path) -> None:
    """Half a line at the end of the file is not ignored."""
    os.truncate(file, file.stat().st_size - 10)
    with pytest.raises(RecordingsError, match="line 20: not a recorded answer"):
        Recordings(["recordings/*.jsonl"], tmp_path)


def test_the_same_answer_twice_is_fine(file: Path, tmp_path: Path) -> None:
    """A request may be recorded in two places with one answer, whenever it was made."""
    again = answer_of(Requests[3], "answer 3", latency_s=9.0, made_at=None)
    write_lines(tmp_path / "recordings" / "more.jsonl", again.to_json(), again.to_json())
    recordings = Recordings(["recordings/*.jsonl"], tmp_path)
    assert recordings.get(Requests[3].key()) == Answers[3]
    recordings.close()


@pytest.mark.parametrize("other", ["recordings/more.jsonl", "recordings/all.jsonl"])
def test_two_answers_to_one_request_are_an_error(file: Path, tmp_path: Path, other: str) -> None:
    """Different answers to one request name both of their lines, in one file or in two."""
    with open(tmp_path / other, "a", encoding="utf-8") as lines:
        lines.write(answer_of(Requests[3], "something else").to_json() + "\n")
    with pytest.raises(RecordingsError) as caught:
        Recordings(["recordings/*.jsonl"], tmp_path)
    number = next(each.line for each in read_recordings(file) if each.key == Requests[3].key())
    assert f"{file}, line {number}, records another answer" in str(caught.value)
    assert f"{tmp_path / other}, line " in str(caught.value)
    assert "delete one of the two lines" in str(caught.value)


def test_patterns_and_names(file: Path, tmp_path: Path) -> None:
    """A pattern may match nothing; a name must exist; each file comes once."""
    assert find_recordings(["none/*.jsonl", "recordings/**/*.jsonl", "recordings/all.jsonl"], tmp_path) == [file]
    assert find_recordings([str(file)], Path("/")) == [file]
    with pytest.raises(RecordingsError, match=r"none\.jsonl: this recordings file does not exist.*cache export"):
        find_recordings(["none.jsonl"], tmp_path)
    with pytest.raises(RecordingsError, match=r"names a folder.*recordings/\*\.jsonl"):
        find_recordings(["recordings/"], tmp_path)


def test_a_file_that_changes_while_in_use_is_an_error(file: Path, tmp_path: Path) -> None:
    """What was loaded no longer holds when somebody shortens the file."""
    recordings = Recordings(["recordings/*.jsonl"], tmp_path)
    file.write_text("")
    with pytest.raises(RecordingsError, match="changed after it was loaded"):
        recordings.get(Requests[0].key())
    recordings.close()


def test_writing_is_stable(tmp_path: Path) -> None:
    """The order of the answers given decides nothing, and one more answer is one more line."""
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    write_recordings(one, Answers)
    write_recordings(other, reversed(Answers))
    assert one.read_bytes() == other.read_bytes()
    more = answer_of(request_of("10 and a half"))
    write_recordings(other, [more, *Answers])
    lines, more_lines = one.read_text().splitlines(), other.read_text().splitlines()
    more_lines.remove(more.to_json())
    assert more_lines == lines


def test_samples_lie_beside_each_other(tmp_path: Path) -> None:
    """Lines are in the order of model, user message and sample."""
    requests = [
        request_of(text, sample=sample, model=model) for sample in range(11) for text in "ba" for model in "yx"
    ]
    write_recordings(tmp_path / "r.jsonl", [answer_of(request) for request in requests])
    found = [answer.request for answer in read_answers(tmp_path / "r.jsonl")]
    order = [(each["model"], each["messages"][0]["content"], each["sample"]) for each in found]
    assert order == sorted(order)


def test_a_failed_write_leaves_the_old_file(file: Path, tmp_path: Path) -> None:
    """A file is replaced whole or not at all."""
    before = file.read_bytes()

    def broken() -> list[Answer]:
        return [*Answers, Answer(Requests[0].content(), None, Refusal("X", object()))]  # type: ignore[arg-type]  # not JSON on purpose

    with pytest.raises(TypeError):
        write_recordings(file, broken())
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(RecordingsError, match="cannot be written"):
        write_recordings(file / "below", Answers)


@given(st.text(st.characters(), max_size=30), st.text(st.characters(), max_size=30))
def test_any_text_makes_one_line(tmp_path_factory: pytest.TempPathFactory, question: str, reply: str) -> None:
    """Line separators, half surrogate pairs and control characters stay inside of their line."""
    path = tmp_path_factory.mktemp("r") / "r.jsonl"
    requests = [request_of(question), request_of(question, sample=1)]
    write_recordings(path, [answer_of(request, reply) for request in requests])
    assert [each.key for each in read_recordings(path)] == [request.key() for request in requests]
    assert [each.answer.text for each in read_recordings(path)] == [reply, reply]


def settle(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file look as if it had not changed for long."""
    from pytest_proofmap.calls import recordings as recordings_index

    monkeypatch.setattr(recordings_index, "_SETTLED_NS", -(10**12))


def test_an_index_spares_reading_the_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a kept index an unchanged file is not read through again, and gives the same answers."""
    settle(file, monkeypatch)
    Recordings(["recordings/*.jsonl"], tmp_path, tmp_path / "index").close()
    monkeypatch.setattr("pytest_proofmap.calls.recordings.read_recordings", None)
    recordings = Recordings(["recordings/*.jsonl"], tmp_path, tmp_path / "index")
    assert [recordings.get(request.key()) for request in Requests] == Answers
    recordings.close()


def test_an_index_never_outlives_its_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file is read again, even at the same size and time of modification."""
    settle(file, monkeypatch)
    Recordings(["recordings/*.jsonl"], tmp_path, tmp_path / "index").close()
    before = file.stat()
    changed = file.read_text().replace('"answer 3"', '"ANSWER 3"').replace('"content": "5"', '"content": "X"')
    file.write_text(changed)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    recordings = Recordings(["recordings/*.jsonl"], tmp_path, tmp_path / "index")
    found = recordings.get(Requests[3].key())
    assert found is not None
    assert found.text == "ANSWER 3"
    assert recordings.get(Requests[5].key()) is None
    assert recordings.get(request_of("X").key()) is not None
    recordings.close()


def test_a_fresh_file_is_not_indexed(file: Path, tmp_path: Path) -> None:
    """A file that may still change within the clock's tick gets no index."""
    Recordings(["recordings/*.jsonl"], tmp_path, tmp_path / "index").close()
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[1, 2]", b"\xff", b'[[1, 1, "x", []], [1]]'])
def test_a_broken_index_is_made_anew(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """An index that cannot be read is no reason to stop."""
    settle(file, monkeypatch)
    Recordings(["recordings/*.jsonl"], tmp_path, tmp_path / "index").close()
    (kept,) = (tmp_path / "index").rglob("*.json")
    good = kept.read_bytes()
    kept.write_bytes(content)
    recordings = Recordings(["recordings/*.jsonl"], tmp_path, tmp_path / "index")
    assert len(recordings) == 20
    recordings.close()
    assert kept.read_bytes() == good


def test_an_index_folder_that_cannot_be_made_is_fine(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for the index everything still works."""
    settle(file, monkeypatch)
    recordings = Recordings(["recordings/*.jsonl"], tmp_path, file / "index")
    assert len(recordings) == 20
    recordings.close()
