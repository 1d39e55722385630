"""The errors of ProofMap.

Every message says what was wrong, what is allowed and what to do next.

::

    ProofmapError
    ├── ConfigurationError      the configuration file or an option
    ├── MarkerError             the arguments of a ``qualify`` mark, or how it is used
    ├── PromptError             a prompt package or the variables given to it
    ├── RecordingsError         a recordings file
    ├── EvidenceError           an evidence artifact
    ├── LockError               the file of approved routes, or a route that it does not have
    ├── HistoryError            the file of what earlier looks have seen
    ├── ApprovalError           an approval that the evidence does not bear
    ├── StoreError              the response cache cannot keep answers
    ├── RequestError            a request that ProofMap does not send
    ├── ReplyError              a reply is asked for what it cannot have
    ├── RefusalError            the model refused: content policy or context window
    └── CallError               no usable answer: transport, timeout, credentials, limits
        ├── ReplayMissError     the answer is neither recorded nor cached, and calls are off
        └── BudgetError         the budget is used up
            └── ShortfallError  the budget cannot carry the first calls
"""

from __future__ import annotations

from pytest_proofmap.text import visible_lines

__all__ = [
    "ApprovalError",
    "BudgetError",
    "CallError",
    "ConfigurationError",
    "EvidenceError",
    "HistoryError",
    "LockError",
    "MarkerError",
    "PromptError",
    "ProofmapError",
    "RecordingsError",
    "RefusalError",
    "ReplayMissError",
    "ReplyError",
    "RequestError",
    "ShortfallError",
    "StoreError",
    "UnusableEntryError",
    "did_you_mean",
]


class UnusableEntryError(Exception):
    """An entry is not text written by the cache."""


class ProofmapError(Exception):
    """Base of every error that ProofMap raises on purpose.

    Messages quote files, and whoever catches one prints it: in words it has nothing that a terminal would obey.
    """

    def __str__(self) -> str:
        return visible_lines(super().__str__())


class ConfigurationError(ProofmapError):
    """The configuration file or a command-line option holds something that is not allowed."""


class MarkerError(ProofmapError):
    """A ``qualify`` mark has a bad argument or marks something that cannot be qualified."""


class PromptError(ProofmapError):
    """A prompt package cannot be read, or its variables do not fit."""


class RecordingsError(ProofmapError):
    """A recordings file cannot be read."""


class EvidenceError(ProofmapError):
    """An evidence artifact cannot be read or does not hold what its schema says."""


class LockError(ProofmapError):
    """The lock cannot be read or was edited by hand, or it has no such route."""


class HistoryError(ProofmapError):
    """The history of looks cannot be read or written, or was edited by hand."""


class ApprovalError(ProofmapError):
    """What is to be approved is not qualified, not complete or no longer what was evaluated."""


class StoreError(ProofmapError):
    """The response cache cannot be opened or cannot keep an answer."""


class RequestError(ProofmapError):
    """A request asks for something that ProofMap does not send, such as streaming."""


class ReplyError(ProofmapError, TypeError):
    """A reply is asked for what it cannot have: ``parsed`` where no class was given."""


class RefusalError(ProofmapError):
    """The model refused to answer: content policy or context window.

    A refusal is the model's own doing, so the sample's outcome is ``failed``.
    """


class CallError(ProofmapError):
    """The call gave no usable answer, so the sample's outcome is ``error``.

    Attributes:
        error_class: Class name of the underlying failure, such as ``RateLimitError``.
        message: Redacted message of the underlying failure.
    """

    def __init__(self, error_class: str, message: str) -> None:
        # Python names the exception's own class wherever it shows one.
        own = error_class == type(self).__name__
        super().__init__(message if message and own else f"{error_class}: {message}" if message else error_class)
        self.error_class = error_class
        self.message = message

    def __reduce__(self) -> tuple[type[CallError], tuple[str, str]]:
        return type(self), (self.error_class, self.message)


class ReplayMissError(CallError):
    """Calls are off (``--proofmap-cache=replay``) and the answer is neither recorded nor cached."""


class BudgetError(CallError):
    """The run's budget is used up, so the call was not made."""


class ShortfallError(BudgetError):
    """The run's budget cannot carry one call of each runtime, so no call was made at all."""


def did_you_mean(name: str, allowed: list[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest allowed name, or an empty string."""
    import difflib

    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
