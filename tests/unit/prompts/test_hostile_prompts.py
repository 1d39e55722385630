"""Prompts from somebody else: what they can reach, and how large they can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_proofmap.errors import PromptError
from pytest_proofmap.prompts.file import LARGEST_BYTES, read_prompt_file
from pytest_proofmap.prompts.library import PromptLibrary
from pytest_proofmap.prompts.template import LARGEST_SOURCE, MessageTemplate

ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ (''|attr('format')).__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__.os }}",
    "{{ dict.__subclasses__() }}",
    "{{ self._TemplateReference__context }}",
    "{{ items.append(1) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
]

TOO_MUCH = [
    "{% for i in range(99999) %}{{ text }}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}some text {% endfor %}{% endfor %}",
    "{{ text * 501 }}",
    "x" * (LARGEST_SOURCE + 1),
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    f"{{{{ {'(' * 5000}1{')' * 5000} }}}}",
    f"{{{{ {'[' * 3000}{']' * 3000} }}}}",
    "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "{% for i in [1] %}" * 30 + "{% endfor %}" * 30,
    f"{{{{ {'9' * 5000} }}}}",
    "{{ 1 " + "+ 1" * 20000 + " }}",
]


@pytest.mark.parametrize("body", ESCAPES)
def test_no_way_out_of_the_sandbox(body: str) -> None:
    """A prompt reaches neither Python nor other files, and changes nothing that it was given."""
    items = [1, 2]
    with pytest.raises(PromptError):
        MessageTemplate(body, "h.prompt").render({"items": items})
    assert items == [1, 2]


@pytest.mark.parametrize("body", TOO_MUCH, ids=lambda body: body[:40])
def test_what_is_too_large(body: str) -> None:
    """A source, a depth or a result beyond the limits is an error of the prompt, in our words."""
    with pytest.raises(PromptError) as caught:
        MessageTemplate(body, "h.prompt").render({"text": "y" * 10_000})
    assert str(caught.value).startswith("h.prompt:")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{{ text }}" * 3, "y" * 3_000_000),
        ("{% for i in items %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/2 2/2"),
        ("{% for i in items if i > 1 %}{{ i }}{% else %}none{% endfor %}", "2"),
        ("{% for i in range(1000) %}{{ i % 2 }}{% endfor %}", "01" * 500),
        ("{{ '{:,} {:>8.2f}'.format(1234567, 1.5) }} {{ '%05d' % 42 }}", "1,234,567     1.50 00042"),
        ("{{ items|map('string')|join(', ') }} {{ [items[0], 'x'] }}", "1, 2 [1, 'x']"),
        ("{{ 'a' ~ items[1] ~ text[:2] }} {{ 2 ** 10 * 3 }}", "a2yy 3072"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') }}{{ m(items|length) }}", "<a><2>"),
        ("{% set all = items + [3] %}{{ all|tojson(indent=1)|replace('\n', '') }}", "[ 1, 2, 3]"),
        ("{{ missing is defined }} {{ missing|default('none') }} {{ items is iterable }}", "False none True"),
    ],
)
def test_what_prompts_really_do(body: str, said: str) -> None:
    """What somebody would write is far from the limits."""
    [message] = MessageTemplate(body, "h.prompt").render({"items": [1, 2], "text": "y" * 1_000_000})
    assert message["content"] == said


def front_matter(yaml: str) -> str:
    """Return a prompt with a front matter."""
    return f"---\n{yaml}\n---\nUser: hi"


BOMB = "a: &a [x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        front_matter("input: !!python/object/apply:os.system ['true']"),
        front_matter("input: !!python/name:os.system"),
        front_matter("a: 2001-99-99"),
        front_matter(f"a: {'9' * 5000}"),
        front_matter(f"a: {'[' * 3000}{']' * 3000}"),
        front_matter(BOMB + "\ninput:\n  schema:\n    x: *i"),
        front_matter(BOMB + "\ninput: *i"),
        front_matter(BOMB + "\ninput:\n  schema:\n    x(enum): *h\n    y: *i"),
        front_matter("input:\n  schema:\n    type: object\n    properties: {a: {type: string}}\n    required: 5"),
        "x" * (LARGEST_BYTES + 1),
    ],
    ids=lambda text: text[4:44],
)
def test_hostile_front_matter(tmp_path: Path, text: str) -> None:
    """Tags, bombs, impossible values and enormous files are errors of the file, told in a few words."""
    path = tmp_path / "h.prompt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PromptError) as caught:
        read_prompt_file(path, "h.prompt")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b", "a\x00b", "", "%2e%2e"])
@pytest.mark.parametrize("variant", [None, "../secret", "/etc/passwd", "\x00"])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str, variant: str | None) -> None:
    """A package and its variants are found by the names of the folder's files: no name is ever a path."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ok.prompt").write_text("hi", encoding="utf-8")
    (tmp_path / "secret.prompt").write_text("secret", encoding="utf-8")
    library = PromptLibrary(tmp_path / "prompts", tmp_path)
    for package, chosen in ((name, variant), ("../secret", None), *([("ok", variant)] if variant else [])):
        with pytest.raises(PromptError):
            library.get(package, chosen)


@pytest.mark.skipif(os.name != "posix", reason="links and pipes need POSIX here")
def test_links_and_pipes_in_the_folder(tmp_path: Path) -> None:
    """A link out of the project is refused, one within it is followed, and a pipe is not waited for."""
    outside = tmp_path / "outside.txt"
    outside.write_text("secret", encoding="utf-8")
    folder = tmp_path / "project" / "prompts"
    folder.mkdir(parents=True)
    (folder.parent / "shared.txt").write_text("shared", encoding="utf-8")
    (folder / "a.prompt").symlink_to(folder.parent / "shared.txt")
    assert PromptLibrary(folder, folder.parent).get("a").render({})[0]["content"] == "shared"
    os.mkfifo(folder / "b.prompt")
    with pytest.raises(PromptError, match="no ordinary file"):
        PromptLibrary(folder, folder.parent).get("b")
    (folder / "c.prompt").symlink_to(outside)
    with pytest.raises(PromptError, match=r"c\.prompt: a link to a file outside of the project"):
        PromptLibrary(folder, folder.parent).packages()
