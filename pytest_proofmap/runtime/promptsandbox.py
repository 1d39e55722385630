"""Jinja's sandbox, with a bound on what rendering one prompt may cost.

Jinja keeps a template away from Python and lets it take any time and memory. A prompt may come from somebody
else, in a lock above all, so each rendering has a budget of work: turns of loops, calls, and every character or
item that an expression handles or makes. What an operation will cost is reckoned before it is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context
from jinja2.visitor import NodeTransformer

__all__ = ["BUDGET", "MOST_WORK", "Budget", "PromptEnvironment", "charge_for_work", "is_plain"]

MOST_WORK = 5_000_000
"""More characters than a model reads."""

MOST_BITS = 20_000
"""Of a whole number that an expression makes."""

ITEM, TURN, CALL = 3, 5, 25
"""What an item of a container, a turn of a loop and a call cost, where a character costs one."""

BUDGET = "proofmap budget"
"""Name of the budget in a template's context; no expression can spell it."""

_BLOCKS = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)
_WIDTH = re.compile(r"\d{4,}")
_NESTED_WIDTH = re.compile(r"\{[^{}]*\{|%[^a-zA-Z%]*\*")
_CONTAINERS = (list, tuple, set, frozenset, dict)
_BUILT_IN = (str, bytes, int, float, *_CONTAINERS)
_FREE_TESTS = frozenset({"defined", "undefined", "none"})


class Budget:
    """What one rendering may still cost."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MOST_WORK

    def spend(self, cost: int) -> None:
        """Take the cost of something that is about to be done.

        Raises:
            SecurityError: It is more than is left.
        """
        self.left -= max(cost, 0)
        if self.left < 0:
            raise SecurityError(f"rendering takes more than {MOST_WORK:,} units of work")

    def weigh(self, value: object) -> int:
        """Return how many characters and items a value holds; no more is counted than the budget has left."""
        total, stack = 0, [value]
        while stack and total <= self.left:
            item = stack.pop()
            if isinstance(item, (str, bytes, range)):
                total += len(item)
            elif isinstance(item, dict):
                total += len(item)
                stack += [*item.keys(), *item.values()][: self.left + 1]
            elif isinstance(item, _CONTAINERS):
                total += len(item)
                stack += item
            total += ITEM
        return total

    def materialize(self, items: Iterable[Any]) -> list[Any]:
        """Return what an iterable yields, each item paid for."""
        found = []
        for item in items:
            self.spend(1 + self.weigh(item))
            found.append(item)
        return found

    def pay_for_format(self, pattern: str, values: Iterable[object]) -> None:
        """Pay for a text that a format makes."""
        values = list(values)
        fields = pattern.count("{") + pattern.count("%")
        cost = len(pattern) + sum(map(int, _WIDTH.findall(pattern))) + fields * self.weigh(values)
        if _NESTED_WIDTH.search(pattern):
            cost += fields * _sum_of_numbers(values)
        self.spend(cost)

    def pay_for_replacing(self, text: str, old: str, new: str) -> None:
        """Pay for a text with some of it replaced."""
        self.spend(len(text) + text.count(old) * len(new))


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox as prompts use it."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False)
        self.filters = {name: _paid(name, function) for name, function in self.filters.items()}
        self.filters |= {"proofmap_weighed": _weighed, "proofmap_turns": _turns, "proofmap_joined": _joined}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Do an operation that may make something large."""
        budget = _budget(context)
        if isinstance(left, int) and isinstance(right, int):
            if (operator == "*" and left.bit_length() + right.bit_length() > MOST_BITS) or (
                operator == "**" and left.bit_length() * max(right, 0) > MOST_BITS
            ):
                raise SecurityError(f"a number of more than {MOST_BITS:,} bits")
        elif operator == "%" and isinstance(left, str):
            budget.pay_for_format(left, right if isinstance(right, tuple) else (right,))
        elif operator == "*":
            number = left if isinstance(left, int) else right if isinstance(right, int) else 1
            budget.spend(max(number, 1) * (budget.weigh(left) + budget.weigh(right)))
        else:
            budget.spend(budget.weigh(left) + budget.weigh(right))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return Jinja's own safe ``str.format`` for a bound method, with the pattern that it will be paid by."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            vars(wrapped)["proofmap_pattern"] = value.__self__
        return wrapped

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls."""
        budget = _budget(__context)
        given = [*args, *kwargs.values()]
        budget.spend(CALL + budget.weigh(given))
        pattern = getattr(__obj, "proofmap_pattern", None)
        if isinstance(pattern, str):
            budget.pay_for_format(pattern, given)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, _BUILT_IN) and not isinstance(owner, bool):
            args = _pay_for_method(budget, owner, getattr(__obj, "__name__", ""), args, given)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, str):
            budget.spend(len(result))
        return result


def is_plain(tree: nodes.Template) -> bool:
    """Return whether a template renders each of its parts once at most."""
    return next(tree.find_all(_BLOCKS), None) is None


def charge_for_work(tree: nodes.Template) -> bool:
    """Change a template so that it pays for what it does; return whether anything in it costs.

    What the caller gave is put into a plain template as it is: it is there once.
    """
    worker = _Charger(tree)
    worker.visit(tree)
    return worker.charges or next(tree.find_all((nodes.Call, nodes.Filter, *_OPERATIONS)), None) is not None


_OPERATIONS = (nodes.Add, nodes.Mul, nodes.Pow, nodes.Mod)


class _Charger(NodeTransformer):
    def __init__(self, tree: nodes.Template) -> None:
        self.charges = False
        self._plain = is_plain(tree)
        self._stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.iter = self._filtered(node.iter, "proofmap_turns", nodes.Const(TURN + text))
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [child if self._is_given(child) else self._weighed(child) for child in node.nodes]
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return self._weighed(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return self._weighed(node) if node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return self._weighed(node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return self._weighed(node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        if _is_constant(node):
            return node
        return self._filtered(nodes.List(node.nodes, lineno=node.lineno), "proofmap_joined")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if not self._plain:
            node.expr = self._weighed(node.expr)
            for operand in node.ops:
                operand.expr = self._weighed(operand.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        if not self._plain and node.name not in _FREE_TESTS and isinstance(node.node, nodes.Expr):
            node.node = self._weighed(node.node)
        return node

    def _is_given(self, node: nodes.Expr) -> bool:
        if isinstance(node, nodes.TemplateData):
            return True
        while isinstance(node, (nodes.Getattr, nodes.Getitem)):
            node = node.node
        return self._plain and isinstance(node, nodes.Name) and node.name not in self._stored

    def _weighed(self, node: nodes.Expr) -> nodes.Expr:
        return node if _is_constant(node) else self._filtered(node, "proofmap_weighed")

    def _filtered(self, node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Expr:
        self.charges = True
        return nodes.Filter(cast("nodes.Expr", node), name, list(args), [], None, None, lineno=node.lineno)


def _is_constant(node: nodes.Expr) -> bool:
    return all(
        isinstance(each, (nodes.Const, nodes.TemplateData)) for each in node.iter_child_nodes()
    ) and isinstance(node, (nodes.Const, nodes.List, nodes.Tuple, nodes.Concat))


def _budget(context: Context) -> Budget:
    budget = context.parent.get(BUDGET)
    return budget if isinstance(budget, Budget) else Budget()


@pass_context
def _weighed(context: Context, value: Any) -> Any:
    budget = _budget(context)
    budget.spend(budget.weigh(value))
    return value


@pass_context
def _turns(context: Context, items: Iterable[Any], cost: int) -> Iterator[Any]:
    budget = _budget(context)
    for item in items:
        budget.spend(cost)
        yield item


@pass_context
def _joined(context: Context, parts: list[Any]) -> str:
    budget = _budget(context)
    budget.spend(budget.weigh(parts))
    return "".join(map(str, parts))


def _paid(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that pays for what it does."""
    wants = getattr(function, "jinja_pass_arg", None)

    @pass_context
    def paid(context: Context, value: Any = "", *args: Any, **kwargs: Any) -> Any:
        budget = _budget(context)
        value = _pay_for_filter(budget, name, value, [*args, *kwargs.values()])
        if wants is None:
            return function(value, *args, **kwargs)
        first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        return function(first[wants.name], value, *args, **kwargs)

    return paid


def _pay_for_filter(budget: Budget, name: str, value: Any, given: list[Any]) -> Any:
    """Pay for a filter; return its value, or a list of what that yields where it must be known before."""
    weight = budget.weigh(value)
    budget.spend(CALL + weight + budget.weigh(given))
    if name == "format":
        budget.pay_for_format(str(value), given)
        return value
    if name == "join":
        value = budget.materialize(value)
        budget.spend(len(value) * budget.weigh(given))
    elif name == "replace":
        budget.pay_for_replacing(str(value), *map(str, given[:2])) if len(given) >= 2 else None
    elif name in ("indent", "tojson", "wordwrap", "xmlattr"):
        budget.spend(weight * (_sum_of_numbers(given) + budget.weigh(given)))
    budget.spend(_sum_of_numbers(given))
    return value


def _pay_for_method(
    budget: Budget, owner: Any, name: str, args: tuple[Any, ...], given: list[Any]
) -> tuple[Any, ...]:
    """Pay for a method of Python's own types; return its arguments, iterators among them as lists."""
    budget.spend(budget.weigh(owner))
    if name == "join" and args and isinstance(owner, (str, bytes)):
        items = budget.materialize(args[0])
        budget.spend(len(items) * len(owner))
        return (items, *args[1:])
    elif name == "replace" and isinstance(owner, str) and len(args) >= 2:
        budget.pay_for_replacing(owner, str(args[0]), str(args[1]))
    elif name == "translate" and given and isinstance(given[0], Mapping) and isinstance(owner, str):
        budget.spend(len(owner) * budget.weigh(given[0]))
    elif name == "expandtabs" and isinstance(owner, (str, bytes)):
        budget.spend(len(owner) * _sum_of_numbers(given))
    else:
        budget.spend(_sum_of_numbers(given))
    return args


def _sum_of_numbers(values: Iterable[object]) -> int:
    return sum(abs(value) for value in values if isinstance(value, int))
