"""What servers say when they refuse a request: each has words of its own for the same things."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from cycleqd.models.causal_lm.bounded_http import Answer

_READ: Final = 65_536
"""Characters of a refusal that are looked at."""

_TOO_LONG: Final = re.compile(
    # OpenAI, vLLM, LiteLLM, Groq
    r"context_length_exceeded|context.?window.?exceeded|maximum context length|max(imum)?[ _]model[ _]len"
    # llama.cpp, LM Studio, SGLang
    r"|exceed_context_size|exceeds? (the )?(available )?context|(context|sequence) length of only"
    r"|(longer|greater|larger|more) than the (model'?s? )?(maximum )?(context|model|sequence)"
    r"|(exceeds?|than) (the )?max_(seq|position|total|input)"
    # text-generation-inference
    r"|inputs`? tokens \+ `?max_new_tokens|inputs`? must have less than"
    # Anthropic, Bedrock, Gemini, Cohere, Mistral
    r"|(prompt|input|request|conversation|messages?) (is|are) too (long|large)|too many (input |prompt )?tokens"
    r"|exceeds? the maximum number of (input )?tokens|prompt contains \d+ tokens.{0,80}too large"
    # DashScope, TensorRT-LLM, OpenAI's Responses, xAI
    r"|range of (input|prompt) length should be|maximum prompt length"
    r"|(input|prompt) (length|tokens?)\b.{0,60}\bexceeds? the (max|configured)",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LONG_STATUSES: Final = frozenset({400, 413, 422, 500})
"""500: older llama.cpp. 413: what the server, or a proxy before it, takes at all."""

_NOT_TAKEN: Final = (
    r"unsupported|not support|unrecogni[sz]ed|unknown|not (permitted|allowed|available)|deprecated"
    r"|extra (inputs|fields)"
)
_REFUSALS: Final = {
    # Not "must be at most": without its limit, a server that ignores the other name would write on and on.
    "max_tokens": re.compile(rf"{_NOT_TAKEN}|max_completion_tokens", re.IGNORECASE),
    # Some take no 0, others no value but their own. Replies are cut here at the stops anyway.
    "temperature": re.compile(rf"{_NOT_TAKEN}|only the default|(may|can|must) only|must be|invalid", re.IGNORECASE),
    "stop": re.compile(rf"{_NOT_TAKEN}|must be|invalid", re.IGNORECASE),
}
_STOP: Final = r"stop([ _]?(sequence|string|word)s?)?"
"""What servers call the option `stop`, whose own interface may have another name for it."""
_NO_SYSTEM: Final = re.compile(
    rf"\bsystem\b.{{0,60}}({_NOT_TAKEN})|({_NOT_TAKEN}).{{0,60}}\bsystem\b|roles must alternate|must alternate between"
    r"|only user(,| and) (assistant|model)|developer instruction is not enabled",
    re.IGNORECASE | re.DOTALL,
)
"""The options that a request can do without, and how servers say that they do not take them."""


def is_too_long(answer: Answer) -> bool:
    """Whether the server says that the conversation does not fit the model."""
    if answer.status == 413:
        return True
    return answer.status in _TOO_LONG_STATUSES and bool(_TOO_LONG.search(answer.text[:_READ]))


def refused_option(answer: Answer, body: Mapping[str, Any]) -> str | None:
    """What a request has that the server does not take, and that it can do without: an option, or ``system``.

    OpenAI's reasoning models take ``max_completion_tokens`` in place of ``max_tokens``, and no ``temperature``. Chat
    templates such as Gemma's have no system role.

    Args:
        answer: The refusal.
        body: The request.
    """
    if answer.status not in (400, 422):
        return None
    error = _error(answer)
    said = explanation(answer)
    if isinstance(error, dict):
        said += f" {error.get('param')} {error.get('code')}"
    for option, refusal in _REFUSALS.items():
        named = _STOP if option == "stop" else option
        if option in body and re.search(rf"\b{named}\b", said, re.IGNORECASE) and refusal.search(said):
            return option
    if any(message["role"] == "system" for message in body["messages"]) and _NO_SYSTEM.search(said):
        return "system"
    return None


def explanation(answer: Answer) -> str:
    """What the server says is wrong; whoever shows it has to hide the key and to cut it."""
    error = _error(answer)
    if isinstance(error, dict):
        error = error.get("message") or error.get("msg")
    return str(error) if error else answer.text[:_READ]


def _error(answer: Answer) -> Any:
    try:
        data = json.loads(answer.body)
        # OpenAI; FastAPI; llama.cpp's and text-generation-inference's own
        return next((data[name] for name in ("error", "detail", "message") if data.get(name)), None)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return None
