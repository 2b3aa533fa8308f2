"""Our engines as models of lm-evaluation-harness. Importing this needs the harness (`cycleqd.generalisation.harness`).

The same tokens go in and the same text comes out as with the harness' own ``hf`` model: its rules for the beginning
token, for what is cut where a prompt is too long, and for stop words are followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from lm_eval.api.model import LM, TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from cycleqd.generalisation.harness import Unfit
from cycleqd.models.causal_lm.protocol import ChatRequest, Continuation, Engine, TextEngine, TextRequest

DEFAULT_NEW_TOKENS: Final = 256
"""Where a task does not say how long a reply may be: as the harness' ``hf``."""
_CHUNK: Final = 64
"""Requests in one call of an engine; between calls the progress is told."""
_MOST_TOKENS: Final = 32_768
"""Of one call of an engine without a scheduler of its own: keys and values of all of them are in memory at once."""

Progress = Callable[[int, int], None]
"""Is told how many requests are answered, and of how many."""


class EngineModel(TemplateLM):  # type: ignore[misc] # the harness is untyped here
    """An engine that takes tokens, with the weights that it holds.

    Args:
        engine: The engine.
        progress: Is told how many requests were answered.
    """

    backend = "causal"

    def __init__(self, engine: TextEngine, progress: Progress = lambda done, total: None) -> None:
        super().__init__()
        self.tokenizer = engine.tokenizer
        self._engine = engine
        self._progress = progress

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that nothing else stands before."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def max_length(self) -> int:
        """Tokens of a prompt and what follows it."""
        return self._engine.max_model_len

    @property
    def max_gen_toks(self) -> int:
        """Tokens of a reply, unless the task says."""
        return DEFAULT_NEW_TOKENS

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness' caches, which are not used."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text, with the tokenizer's own special tokens unless told otherwise."""
        begin = self.tokenizer.decode(self.prefix_token_id)
        if add_special_tokens is None and string.startswith(begin):
            add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        ids: list[int] = self.tokenizer.encode(string, **options)
        return ids

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-likelihoods of continuations and whether they are the greedy ones."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        room = self.max_length - 1
        asked = []
        for _texts, context, tokens in requests:
            if len(tokens) >= room:
                raise Unfit(f"a continuation of {len(tokens)} tokens does not fit into {self.max_length}")
            asked.append(Continuation(context[-(room - len(tokens)) :], tokens))
        found: dict[int, tuple[float, bool]] = {}
        # Those with the same context stay together: an engine may compute it once.
        order = sorted(range(len(asked)), key=lambda index: (-len(asked[index].context), tuple(asked[index].context)))
        for chunk in _chunks(order, 4 * _CHUNK):
            for index, likelihood in zip(
                chunk, self._engine.log_likelihoods([asked[index] for index in chunk]), strict=True
            ):
                found[index] = (likelihood.log_probability, likelihood.greedy)
            self._progress(len(found), len(asked))
        return [found[index] for index in range(len(asked))]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihoods of whole texts, in windows where they are long."""
        totals = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - 2,
                context_len=1,
            )
            parts = [Continuation(*make_disjoint_window(window)) for window in windows]
            totals.append(sum(found.log_probability for found in self._engine.log_likelihoods(parts)))
            self._progress(len(totals), len(requests))
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Greedy replies.

        Raises:
            Unfit: A task wants replies to be drawn at random, or longer ones than the engine can give.
        """
        end = self.tokenizer.decode(self.eot_token_id)
        asked, stops = [], []
        for request in requests:
            context, settings = request.args
            most, until = greedy_settings(settings)
            until = handle_stop_sequences(until, eos=end)
            if most >= self.max_length:
                raise Unfit(f"a task wants {most} new tokens, the engine has room for {self.max_length} in all")
            prompt = self.tok_encode(context)[-(self.max_length - most) :]
            asked.append(TextRequest(prompt, most, tuple(filter(None, until))))
            stops.append(until)
        found: dict[int, str] = {}
        order = sorted(range(len(asked)), key=lambda index: -len(asked[index].prompt))
        for chunk in self._fitting(order, asked):
            for index, reply in zip(chunk, self._engine.complete([asked[index] for index in chunk]), strict=True):
                found[index] = postprocess_generated_text(reply.text, stops[index], None)
            self._progress(len(found), len(asked))
        return [found[index] for index in range(len(asked))]

    def _fitting(self, order: Sequence[int], asked: Sequence[TextRequest]) -> Iterator[Sequence[int]]:
        if self._engine.name == "vllm":
            yield from _chunks(order, 4 * _CHUNK)
            return
        first = 0
        while first < len(order):
            longest = max(len(asked[index].prompt) + asked[index].max_new_tokens for index in order[first:][:_CHUNK])
            size = max(1, min(_CHUNK, _MOST_TOKENS // longest))
            yield order[first : first + size]
            first += size


class ChatModel(LM):  # type: ignore[misc] # the harness is untyped here
    """An engine that only chats: each prompt is one user's turn. Log-likelihoods cannot be had from it.

    Args:
        engine: The engine.
        progress: Is told how many requests were answered.
    """

    def __init__(self, engine: Engine, progress: Progress = lambda done, total: None) -> None:
        super().__init__()
        self._engine = engine
        self._progress = progress

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Refused."""
        raise Unfit(f"{self._engine.loaded} only chats: it gives no log-likelihoods")

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Refused."""
        raise Unfit(f"{self._engine.loaded} only chats: it gives no log-likelihoods")

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Greedy replies.

        Raises:
            Unfit: A task wants replies to be drawn at random.
        """
        found: list[str] = []
        for chunk in _chunks(requests, _CHUNK):
            asked, stops = [], []
            for request in chunk:
                context, settings = request.args
                most, until = greedy_settings(settings)
                # A chat begins its turn where it likes, so stop words are looked for behind leading white space.
                asked.append(ChatRequest([{"role": "user", "content": context}], most))
                stops.append(until)
            replies = self._engine.chat(asked)
            for reply, until in zip(replies, stops, strict=True):
                found.append(postprocess_generated_text(reply.text.lstrip(), until, None))
            self._progress(len(found), len(requests))
        return found


def greedy_settings(settings: dict[str, Any]) -> tuple[int, list[str]]:
    """How many new tokens a task wants at most, and its stop words.

    Raises:
        Unfit: It wants replies to be drawn at random.
    """
    normal = normalize_gen_kwargs(settings, DEFAULT_NEW_TOKENS)
    if normal.get("do_sample") or float(normal.get("temperature") or 0.0) > 0:
        raise Unfit("a task wants replies to be drawn at random; engines here decode greedily")
    return int(normal["max_gen_toks"]), list(normal.get("until") or [])


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
