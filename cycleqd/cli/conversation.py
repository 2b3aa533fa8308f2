"""A conversation with an exported model, with nothing but transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.text import Text

from cycleqd.messages import Message, visible, whole_text
from cycleqd.models.causal_lm.rendering import end_tokens, load_tokenizer, render
from cycleqd.models.hardware import torch_device
from cycleqd.packed_models import PACKED


@dataclass
class Chat:
    """A model and the conversation with it so far. Made by `load_chat`."""

    model: Any
    tokenizer: Any
    max_new_tokens: int
    temperature: float
    system: str | None = None
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets the conversation but not the instructions."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def reply(self, text: str) -> Iterator[str]:
        """The model's reply to `text`, piece by piece as it is generated; both become part of the conversation."""
        import torch
        from transformers import TextIteratorStreamer

        # A terminal's bytes that are no UTF-8 arrive as halves of surrogate pairs.
        self.messages.append({"role": "user", "content": whole_text(text)})
        shown = render(self.tokenizer, self.messages, reply_follows=True)
        ids = torch.tensor([shown], device=self.model.device)
        prompt = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=600)
        sampling = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        failures: list[Exception] = []

        def generate() -> None:
            try:
                self.model.generate(**prompt, streamer=streamer, max_new_tokens=self.max_new_tokens, **sampling)
            except Exception as error:  # handed over to the reader, who would wait for ever
                failures.append(error)
                streamer.end()

        worker = Thread(target=generate, daemon=True)
        worker.start()
        pieces = []
        for piece in streamer:
            pieces.append(piece)
            yield piece
        worker.join()
        if failures:
            raise failures[0]
        self.messages.append({"role": "assistant", "content": "".join(pieces)})


def load_chat(path: Path, *, system: str | None = None, max_new_tokens: int = 256, temperature: float = 0.0) -> Chat:
    """Loads a model's folder: a checkpoint, or a LoRA adapter, whose base model is found as a run finds it.

    Args:
        path: A Hugging Face model folder, a GGUF file, or the name of a model that packages carry.
        system: Instructions ahead of every conversation.
        max_new_tokens: Longest reply, at least 1.
        temperature: 0 for greedy decoding, otherwise the sampling temperature.

    Raises:
        FileNotFoundError: The folder is missing or holds no model, or an adapter whose base model is gone.
        BaseModelInvalid: The folder is not what it says: weights are missing or no numbers, or files are damaged.
        BaseModelUnavailable: The adapter's base model cannot be had here.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig

    from cycleqd.base_model import BaseWeights, parameters_of

    whole, tokens = folders(path)
    weights = BaseWeights(whole)
    weights.check_values()
    model = AutoModelForCausalLM.from_pretrained(whole, dtype="auto", trust_remote_code=False)
    parameters_of(model, weights)
    if _is_adapter(path):
        _adapt(model, path)
    model.to(torch_device()).eval()
    tokenizer = load_tokenizer(tokens)
    if tokenizer.chat_template is None:
        raise FileNotFoundError(f"{path} has no chat template; this is not a chat model")
    ends = end_tokens(tokenizer, whole)
    # A checkpoint's own sampling values and penalties would contradict greedy decoding.
    model.generation_config = GenerationConfig(eos_token_id=list(ends), pad_token_id=ends[0])
    return Chat(model, tokenizer, max_new_tokens, temperature, system)


def folders(path: Path) -> tuple[Path, Path]:
    """Where the whole model is, and where its tokenizer is, of a checkpoint or an adapter.

    Raises:
        FileNotFoundError, BaseModelInvalid, BaseModelUnavailable: See `load_chat`.
    """
    from cycleqd.base_model import is_gguf, resolve_base
    from cycleqd.storage import cache_dir

    if (path / "config.json").is_file() or is_gguf(str(path)) or str(path) in PACKED:
        whole = resolve_base(str(path), cache_dir())
        return whole, whole
    if not _is_adapter(path):
        raise FileNotFoundError(f"{path} is no model folder (no config.json); make one: cycleqd export RUN {path}")
    whole = _base_of(path)
    return whole, path if (path / "tokenizer_config.json").is_file() else whole


def _is_adapter(path: Path) -> bool:
    return (path / "adapter_config.json").is_file() and not (path / "config.json").is_file()


def _adapt(model: Any, adapter: Path) -> None:
    """Puts an adapter on its base model, once its factors are found to be whole."""
    import torch

    from cycleqd.checkpoint import BaseModelInvalid, one_line
    from cycleqd.task_vector import read_lora_adapter

    try:
        for name, factors in read_lora_adapter(adapter).items():
            if not all(torch.isfinite(side).all() for side in factors[:2]):
                raise ValueError(f"{name} holds NaN or infinite values")
        model.load_adapter(str(adapter))
    except Exception as error:  # safetensors, peft and torch raise all classes over what is in the files
        raise BaseModelInvalid(f"adapter {adapter} cannot be used ({one_line(error)})") from error


def _base_of(adapter: Path) -> Path:
    """The checkpoint that an adapter changes."""
    from cycleqd.base_model import resolve_base
    from cycleqd.checkpoint import BaseModelInvalid, one_line
    from cycleqd.storage import cache_dir
    from cycleqd.task_vector import adapter_base

    try:
        name = adapter_base(adapter)
    except Exception as error:  # whatever JSON and safetensors raise over damaged files
        raise BaseModelInvalid(f"adapter {adapter} cannot be read ({one_line(error)})") from None
    try:
        return resolve_base(name, cache_dir())
    except ValueError as error:
        raise FileNotFoundError(f"{adapter} is an adapter whose base is gone: {error}") from error


def converse(chat: Chat, console: Console) -> None:
    """A conversation on a terminal until ``/quit`` or the end of the input; ``/reset`` begins anew."""
    console.print(Text("Type a message. /reset forgets the conversation, /quit leaves.", style="dim"))
    while True:
        try:
            text = console.input("[bold cyan]you>[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if text == "/quit":
            return
        if text == "/reset":
            chat.reset()
            console.print(Text("Forgotten.", style="dim"))
        elif text:
            console.print("[bold green]model>[/] ", end="")
            for piece in chat.reply(text):
                console.out(visible(piece), end="", highlight=False)
            console.out("")
