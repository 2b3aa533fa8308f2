"""The seam between the search and whatever generates text.

An engine holds one set of weights at a time. It may live in this process, in another one or on another
machine: nothing but names, fp32 deltas and text crosses the seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from cycleqd.messages import Message, whole_text

if TYPE_CHECKING:  # whoever only talks to an endpoint needs no torch
    from cycleqd.task_vector import TaskVector


class _Reply(NamedTuple):
    text: str
    prompt_tokens: int
    tokens: int
    finish_reason: str


class Reply(_Reply):
    """One generated assistant turn.

    Attributes:
        text: The text, without special tokens and without the stop string. Halves of surrogate pairs, which an engine
            or an endpoint may give, are replaced here (see `whole_text`): nothing behind it has to mind them.
        prompt_tokens: Number of tokens of the rendered conversation.
        tokens: Number of generated tokens.
        finish_reason: ``stop`` or ``length``.
    """

    __slots__ = ()

    def __new__(cls, text: str, prompt_tokens: int, tokens: int, finish_reason: str) -> Self:
        """Replaces what is no text."""
        return super().__new__(cls, whole_text(text), prompt_tokens, tokens, finish_reason)


class ChatRequest(NamedTuple):
    """One conversation that waits for its next assistant turn.

    Attributes:
        messages: The conversation; the last message is the user's.
        max_new_tokens: Upper bound of generated tokens, at least 1.
        stop: Strings that end the reply.
        scope: Requests of different scopes never share cached prefixes: what is cached then depends only on
            the scope's own earlier requests (bf16 results differ between a cached and a computed prefix).
    """

    messages: Sequence[Message]
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    scope: str = ""


class TextRequest(NamedTuple):
    """Tokens that wait to be continued, without any chat template.

    Attributes:
        prompt: Token ids, at least one.
        max_new_tokens: Upper bound of generated tokens, at least 1.
        stop: Strings that end the reply.
        scope: As of `ChatRequest`.
    """

    prompt: Sequence[int]
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    scope: str = ""


class Continuation(NamedTuple):
    """Tokens whose log-probability is asked for.

    Attributes:
        context: Token ids that stand before them, at least one.
        tokens: The token ids themselves, at least one.
    """

    context: Sequence[int]
    tokens: Sequence[int]


class Likelihood(NamedTuple):
    """How likely a continuation is.

    Attributes:
        log_probability: Sum over its tokens, in nats, at most 0.
        greedy: Whether each of its tokens is the most likely one where it stands.
    """

    log_probability: float
    greedy: bool


class WeightsNotLoaded(RuntimeError):
    """The canary says that the engine does not serve the weights it was told to load."""


def refuse_other_base(genome: str, task_vector: TaskVector | None) -> None:
    """Refuses a load of what calls itself the base and is not.

    Raises:
        ValueError: `genome` is ``base``, and there is a task vector.
    """
    if genome == "base" and task_vector is not None:
        raise ValueError("the genome 'base' is the base model's: give the task vector's hash")


class Engine(Protocol):
    """Generates replies with the base model plus one task vector."""

    name: str

    @property
    def loaded(self) -> str:
        """The genome passed to the last `load`; ``base`` at the start."""
        ...

    def load(self, genome: str, task_vector: TaskVector | None) -> None:
        """Serves base + task vector from now on (None: the base itself). The base stays untouched.

        Loading the genome that is already loaded costs nothing.

        Args:
            genome: Content hash of the weights, or ``base``.
            task_vector: fp32 deltas; materialised matrix by matrix, rounded once to the engine's dtype.

        Raises:
            WeightsNotLoaded: The canary's log-probabilities contradict the load: a non-zero task vector left
                them as they were, or a genome seen before gives others than before.
        """
        ...

    def chat(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        """Replies in the order of the requests; blocks; thread-safe.

        Concurrent calls may share a batch, unless the caller holds `exclusive`.
        """
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """While held (by one thread at a time), `chat` calls of that thread are batches of their own."""
        ...

    def busy_seconds(self) -> float:
        """Wall-clock seconds so far in which the engine was generating (overlaps counted once)."""
        ...

    def close(self) -> None:
        """Frees the model's memory."""
        ...


def prefill_seconds(engine: Engine) -> float:
    """Of an engine's busy seconds, those in which some conversation had no token of its reply yet.

    0 for engines that cannot tell; the others have an attribute ``prefill``.
    """
    return float(getattr(engine, "prefill", 0.0))


def put_to_sleep(engine: Engine) -> bool:
    """Whether the engine now holds no weights and no cache, and wakes when something is loaded.

    False for engines that cannot, which are closed instead; the others have a method ``sleep``.
    """
    sleep = getattr(engine, "sleep", None)
    return sleep is not None and bool(sleep())


class TextEngine(Engine, Protocol):
    """An engine that also takes plain tokens: what benchmarks of base models ask for. An endpoint is none."""

    @property
    def tokenizer(self) -> Any:
        """The model's transformers tokenizer."""
        ...

    @property
    def max_model_len(self) -> int:
        """Longest prompt including what is generated, in tokens."""
        ...

    def complete(self, requests: Sequence[TextRequest]) -> list[Reply]:
        """Continues each prompt greedily, in the order of the requests; blocks; thread-safe.

        Replies end and are cut as those of `chat`.
        """
        ...

    def log_likelihoods(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """Log-probabilities, in the order of the requests; blocks; thread-safe.

        Raises:
            ValueError: A continuation is empty, has no context, or does not leave one token of room: context and
                tokens together must be fewer than `max_model_len`.
        """
        ...


def check_continuations(requests: Sequence[Continuation], max_model_len: int) -> None:
    """Refuses what `TextEngine.log_likelihoods` refuses."""
    for request in requests:
        if not request.context or not request.tokens:
            raise ValueError("a continuation has at least one token, and at least one before it")
        if (length := len(request.context) + len(request.tokens)) >= max_model_len:
            raise ValueError(f"context and continuation have {length} tokens, expected fewer than {max_model_len}")
