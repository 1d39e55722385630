"""The body of a prompt: Jinja text in which ``System:``, ``User:`` and ``Assistant:`` start messages.

Only text that the prompt itself wrote can start a message. While the body is rendered, every value is kept
apart and one placeholder character stands for it; the text is then cut into messages, and only after that
the values are put in. A value therefore never becomes a role, whatever it says, and the lines inside it
stay as they are; loops and conditions may nevertheless span messages. Inside a fenced block of code a role's
name is code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.environment import Template
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pytest_proofmap.errors import PromptError

__all__ = ["LARGEST_SOURCE", "MessageTemplate"]

LARGEST_SOURCE = 2**20
"""Characters of a prompt's source."""

MOST_CHARACTERS = 5_000_000
"""Characters of a rendered prompt: more than a model reads."""

VALUE = "\ue000"
"""Stands for one value while the text is cut; a private-use character that no prompt may contain."""

ROLES = ("system", "user", "assistant")
MARKER = re.compile(r"(System|User|Assistant):")
LINE_MARKER = re.compile(r"(?:\A|\n)\s*(System|User|Assistant):")

FENCE = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})")
"""Opens a block of code, as CommonMark has it: a line of three or more, in which no backtick follows."""

HANDLEBARS = re.compile(
    r"\{\{\{|\{\{~?\s*(?:[#/>@!&^~]\s*[\w\"'-]*"
    r"|(?:role|section)\s+[\"']|(?:media|json|history)\s+\w|(?:else|history)\s*~?\}\})"
)
"""What is no Jinja but Handlebars, the language of Google's dotprompt, from which ``.prompt`` files come too."""

UNDEFINED_NAME = re.compile(r"^'(\w+)' is undefined$")


class _Edge(str):
    """The chunk that a compiled template yields before and after each value."""

    __slots__ = ()

    def __str__(self) -> str:
        # Templates yield str(chunk): keep the identity, which no value can imitate.
        return self


EDGE = _Edge()


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with what the templates of messages need.

    It keeps a prompt away from Python and from other files. Time and memory it does not bound, nor could it: a
    prompt is code of its project, as a test is. What is bounded is its source and its result.
    """

    value_edge = EDGE

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False)


ENVIRONMENT = _Environment()


class MessageTemplate:
    """A compiled prompt body.

    Args:
        body: Jinja source with role markers.
        label: The file as messages name it.
        first_line: Line of the file on which the body starts.
        fences: Whether a role's name inside a fenced block of code is code.

    Attributes:
        messages: The unrendered messages, ``[{"role", "content"}]``.
        variables: Names of the variables that the body reads.
        names: All names that the body mentions, the globals of Jinja included.

    Raises:
        PromptError: The body is not valid Jinja or uses what a prompt may not use.
    """

    def __init__(self, body: str, label: str, first_line: int = 1, *, fences: bool = True) -> None:
        self._label = label
        self._first_line = first_line
        self._fences = fences
        if len(body) > LARGEST_SOURCE:
            raise self._error(f"the prompt has {len(body):,} characters; allowed are {LARGEST_SOURCE:,}", 1)
        if VALUE in body:
            raise self._error("the character U+E000 is reserved", 1 + body.count("\n", 0, body.index(VALUE)))
        try:
            tree = ENVIRONMENT.parse(body)
            self.variables = frozenset(meta.find_undeclared_variables(tree))
            self.names = self.variables | {
                node.name for node in tree.find_all(nodes.Name) if node.name in ENVIRONMENT.globals
            }
            self._refuse(tree)
            tree.body = list(self._with_edges(tree.body))
            # Nodes that were added have none, which Jinja needs to fold constants:
            # https://github.com/pallets/jinja/blob/3.1.6/src/jinja2/nodes.py#L231
            tree.set_environment(ENVIRONMENT)
            code = ENVIRONMENT.compile(tree, name=label, filename=f"<prompt {label}>")
        except TemplateSyntaxError as error:
            if (handlebars := HANDLEBARS.search(body)) is not None:
                line = 1 + body.count("\n", 0, handlebars.start())
                raise self._error(_explain_handlebars(body[handlebars.start() :]), line) from error
            raise self._error(f"not valid Jinja: {error.message}", error.lineno) from error
        except TemplateError as error:
            raise self._error(f"not valid Jinja: {error}", 1) from error
        except (ArithmeticError, MemoryError, RecursionError, SyntaxError, ValueError) as error:
            # Blocks within blocks without end, and numbers of thousands of digits.
            raise self._error(f"not valid Jinja: {type(error).__name__}: {error}", 1) from error
        self._template = Template.from_code(ENVIRONMENT, code, ENVIRONMENT.make_globals(None))
        self.messages: list[dict[str, Any]] = split_messages(body, fences=fences)
        self._cut: tuple[str, list[tuple[str, list[str]]]] | None = None

    @classmethod
    def of_messages(cls, messages: Sequence[Mapping[str, Any]], label: str) -> MessageTemplate:
        """Compile unrendered messages again, so that they render as the body that they come from.

        Raises:
            PromptError: They are not the messages of a prompt.
        """
        body = join_messages(messages)
        # Messages that were stored while a role's name started one inside of code too stay what they were.
        return cls(body, label, fences=len(split_messages(body)) == len(messages))

    def render(self, variables: Mapping[str, object]) -> list[dict[str, Any]]:
        """Return the messages with the variables filled in.

        Raises:
            PromptError: A variable is missing, the sandbox refuses an expression, or an expression fails.
        """
        text: list[str] = []
        values: list[str] = []
        inside = False
        room = MOST_CHARACTERS
        try:
            for chunk in self._template.root_render_func(self._template.new_context(dict(variables))):
                room -= len(chunk)
                if room < 0:
                    raise self._error(f"it renders to more than {MOST_CHARACTERS:,} characters", 1)
                if chunk is EDGE:
                    inside = not inside
                elif inside:
                    values.append(chunk)
                    text.append(VALUE)
                else:
                    text.append(chunk)
        except PromptError:
            raise
        except Exception as error:
            # An expression may raise whatever the methods of the test's own objects raise.
            raise self._explain(error, variables) from error
        joined = "".join(text)
        cut = self._cut
        if cut is None or cut[0] != joined:
            # Most prompts have the same text around their values each time.
            cut = self._cut = joined, _cut(joined, self._fences)
        return _assemble(cut[1], values)

    def _error(self, problem: str, line: int) -> PromptError:
        return PromptError(f"{self._label}:{self._first_line + line - 1}: {problem.rstrip('.')}.")

    def _explain(self, error: Exception, variables: Mapping[str, object]) -> PromptError:
        """Say where in the file rendering failed and what to do about it."""
        line = 1
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == f"<prompt {self._label}>":
                line = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        if isinstance(error, SecurityError):
            return self._error(f"refused by the sandbox: {error}", line)
        if isinstance(error, UndefinedError):
            missing = UNDEFINED_NAME.match(str(error))
            if missing and missing.group(1) in self.variables:
                uses = ", ".join(sorted(self.variables))
                given = ", ".join(sorted(variables)) or "none"
                return self._error(
                    f"the variable {missing.group(1)!r} is missing; the prompt uses {uses}; given: {given}",
                    line,
                )
            return self._error(str(error), line)
        return self._error(f"cannot be rendered: {type(error).__name__}: {error}", line)

    def _refuse(self, tree: nodes.Template) -> None:
        """Refuse what would make a prompt depend on other files, on chance or on hidden text."""
        for node in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
            raise self._error(
                f"{{% {type(node).__name__.lower()} %}} is not available: a prompt file stands alone",
                node.lineno,
            )
        for node in tree.find_all(nodes.ScopedEvalContextModifier):
            raise self._error("{% autoescape %} is not available: values are sent as they are", node.lineno)
        for name in tree.find_all((nodes.Filter, nodes.Name)):
            if (isinstance(name, nodes.Filter) and name.name == "random") or (
                isinstance(name, nodes.Name) and name.name == "lipsum" and name.ctx == "load"
            ):
                raise self._error(
                    f"{name.name!r} is not available: a prompt must say the same each time it is rendered",
                    name.lineno,
                )

    def _with_edges(self, body: Sequence[nodes.Node]) -> Iterator[nodes.Node]:
        """Put an edge before and after everything in a body whose text comes from a value."""
        for node in body:
            line = node.lineno
            if isinstance(node, nodes.Output):
                children: list[nodes.Expr] = []
                for child in node.nodes:
                    if isinstance(child, nodes.TemplateData):
                        children.append(child)
                    else:
                        children += [_edge(line), child, _edge(line)]
                node.nodes = children
            elif isinstance(node, (nodes.Macro, nodes.AssignBlock)):
                self._refuse_markers(node)
            elif isinstance(node, (nodes.CallBlock, nodes.FilterBlock)) or (
                isinstance(node, nodes.For) and node.recursive
            ):
                self._refuse_markers(node)
                yield nodes.Output([_edge(line)], lineno=line)
                yield node
                yield nodes.Output([_edge(line)], lineno=line)
                continue
            else:
                for field in ("body", "else_"):
                    if isinstance(getattr(node, field, None), list):
                        setattr(node, field, list(self._with_edges(getattr(node, field))))
                if isinstance(node, nodes.If):
                    node.elif_ = [
                        branch for branch in self._with_edges(node.elif_) if isinstance(branch, nodes.If)
                    ]
            yield node

    def _refuse_markers(self, block: nodes.Node) -> None:
        """Refuse a role marker in a block whose text is a value: it would be no role."""
        for output in block.find_all(nodes.Output):
            for position, child in enumerate(output.nodes):
                if not isinstance(child, nodes.TemplateData):
                    continue
                match = LINE_MARKER.search(child.data)
                if match and (position == 0 or "\n" in match.group(0)):
                    line = child.lineno + child.data.count("\n", 0, match.start(1))
                    raise self._error(
                        f"the role marker '{match.group(1)}:' is inside a block whose text is a value "
                        "({% macro %}, {% call %}, {% filter %}, {% set %}, recursive loop), so it would "
                        "start no message; put it outside",
                        line,
                    )


def _edge(line: int) -> nodes.Expr:
    return nodes.EnvironmentAttribute("value_edge", lineno=line)


def _explain_handlebars(rest: str) -> str:
    """Return what is wrong with a body in Handlebars, and how its first construct is written here."""
    tag = rest.partition("}}")[0][:40].split("\n")[0] + "}}"
    ways = {
        "{{#each": "{% for item in items %}...{% endfor %}",
        "{{#if": "{% if name %}...{% else %}...{% endif %}",
        "{{#unless": "{% if not name %}...{% endif %}",
        "{{role": "a line that starts with System:, User: or Assistant:",
        "{{!": "{# comment #}",
        "{{{": "{{ name }}, which is never escaped",
        "{{>": "the text itself: a prompt file stands alone",
    }
    way = next((way for start, way in ways.items() if tag.replace(" ", "").startswith(start)), None)
    instead = f"; in place of it write {way}" if way else ""
    return (
        f"{tag} is Handlebars, as in the .prompt files of Google's dotprompt, and bodies here are Jinja{instead}. "
        "Loops are {% for %}, conditions {% if %}, roles are lines that start with System:, User: or Assistant:"
    )


def split_messages(text: str, strip_lines: bool = False, *, fences: bool = True) -> list[dict[str, Any]]:
    """Cut text into messages at the lines that start with a role marker, but for those in fenced blocks of code.

    Text before the first marker is a user message. A fence that nothing closes is none.
    """
    messages: list[dict[str, Any]] = []
    role, lines = "user", list[str]()
    raws = text.strip().split("\n")
    code_until = -1
    # Length of the shortest fence of each kind that nothing closed: nothing will close those after it either.
    unclosed: dict[str, int] = {}
    for number, raw in enumerate(raws):
        line = raw.strip()
        match = MARKER.match(line) if number > code_until else None
        if fences and number > code_until:
            opened = FENCE.match(line[match.end() :].strip() if match else line)
            if opened and len(opened[0]) < unclosed.get(opened[0][0], len(opened[0]) + 1):
                code_until = _end_of_code(raws, number, opened[0])
                if code_until == number:
                    unclosed[opened[0][0]] = len(opened[0])
        if match is None:
            lines.append(line if strip_lines else raw)
            continue
        if messages or lines:
            messages.append({"role": role, "content": "\n".join(lines).strip()})
        role, lines = match.group(1).lower(), [line[match.end() :].strip()]
    messages.append({"role": role, "content": "\n".join(lines).strip()})
    return messages


def _end_of_code(lines: Sequence[str], start: int, fence: str) -> int:
    """Return the line that closes a fence; where none does, its own, as if there were no fence."""
    for number in range(start + 1, len(lines)):
        line = lines[number].strip()
        if line.startswith(fence) and not line.strip(fence[0]):
            return number
    return start


def join_messages(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a body that renders as the one whose unrendered messages these are.

    Raises:
        PromptError: They are not the messages of a prompt.
    """
    parts = []
    for index, message in enumerate(messages):
        if message.get("role") not in ROLES or not isinstance(message.get("content"), str):
            raise PromptError(
                f"message {index + 1} is none of a prompt: it needs a 'role' out of {', '.join(ROLES)} and a "
                "'content' that is text."
            )
        # A leading tag may render to nothing, and then there was no such message.
        if index == 0 and message["role"] == "user" and message["content"].startswith("{"):
            parts.append(message["content"])
        else:
            parts.append(f"{message['role'].capitalize()}: {message['content']}")
    return "\n".join(parts)


def _cut(text: str, fences: bool) -> list[tuple[str, list[str]]]:
    """Cut rendered text into messages: the role of each, and its text around the values."""
    messages = split_messages(text, strip_lines=True, fences=fences)
    return [(message["role"], message["content"].split(VALUE)) for message in messages]


def _assemble(cut: list[tuple[str, list[str]]], values: list[str]) -> list[dict[str, Any]]:
    """Put the values into the messages."""
    rest = iter(values)
    messages: list[dict[str, Any]] = []
    for role, texts in cut:
        content = texts[0]
        if len(texts) > 1:
            parts = [content]
            for text in texts[1:]:
                parts += (next(rest), text)
            content = "".join(parts).strip()
        messages.append({"role": role, "content": content})
    # LiteLLM drops leading white space and an empty last message too.
    if len(messages) > 1 and messages[0] == {"role": "user", "content": ""}:
        del messages[0]
    if len(messages) > 1 and not messages[-1]["content"]:
        del messages[-1]
    return messages
