"""Supervised fine-tuning of one expert: LoRA through peft, or all weights."""

from __future__ import annotations

import datetime
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from cycleqd.experts.conversations import (
    IGNORED,
    Batch,
    Conversation,
    Encoded,
    collate,
    content_hash,
    encode_all,
    schedule,
)
from cycleqd.experts.packing import collate_packed, pack
from cycleqd.experts.progress import ProgressCallback, TrainingProgress, default_progress
from cycleqd.experts.resuming import Best, Done, Kept, Place
from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE, end_tokens, load_tokenizer
from cycleqd.models.learning_rate import warmup_then_cosine

if TYPE_CHECKING:  # peft and transformers' models take ten seconds to load, and most processes train nothing
    from peft import LoraConfig

    from cycleqd.models.vision_language import Sight

Method = Literal["lora", "full"]

_SHORT_TOKENS = 1024
"""Rows up to this length attend without the fused kernel on a CPU."""


class TrainingStopped(RuntimeError):
    """The run was asked to stop; nothing was saved, and the training may be started again."""


class TrainingSummary(NamedTuple):
    """What a training run did.

    Attributes:
        steps: Optimizer steps.
        conversations: Conversations trained on, each epoch counted once.
        left_out: Conversations left out because they are too long.
        tokens: Tokens shown in all epochs, without padding.
        seconds: Wall-clock seconds of the training loop.
        tokens_per_second: `tokens` / `seconds`.
        loss_first: Loss of the first step, in nats a trained token.
        loss_last: Mean loss of the last tenth of the steps.
        validation_loss: Lowest validation loss, whose weights were kept; None without validation.
        data_hash: Content hash of the conversations that were given, in their order.
        padding: Share of the positions in all forward passes that held padding.
        losses: Loss of each step, in nats a trained token, to six digits; empty in summaries of older versions.
        validation_losses: Steps after which the validation loss was measured, each with the loss.
    """

    steps: int
    conversations: int
    left_out: int
    tokens: int
    seconds: float
    tokens_per_second: float
    loss_first: float
    loss_last: float
    validation_loss: float | None
    data_hash: str = ""
    padding: float = 0.0
    losses: Sequence[float] = ()
    validation_losses: Sequence[tuple[int, float]] = ()


def train_expert(
    base: Path,
    conversations: Sequence[Conversation],
    out: Path,
    *,
    method: Method = "lora",
    rank: int = 16,
    alpha: float = 32.0,
    epochs: float = 1.0,
    learning_rate: float = 5e-4,
    global_batch: int = 8,
    micro_batch: int = 8,
    max_length: int = 512,
    packing: bool = False,
    warmup_fraction: float = 0.1,
    max_grad_norm: float = 1.0,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    seed: int = 0,
    dtype: str = "bfloat16",
    validation_fraction: float = 0.0,
    date: datetime.date = TEMPLATE_DATE,
    sight: Sight | None = None,
    progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
    place: Place | None = None,
) -> TrainingSummary:
    """Fine-tunes the base on conversations and saves the expert.

    AdamW, linear warm-up, then a cosine down to zero; the loss is the mean over the assistant's tokens of a global
    batch, however it is cut into micro batches. On a CPU the same arguments give the same expert, bit for bit, with
    the same number of threads, also where it was killed in between and went on from what `place` kept.

    Args:
        base: The base's checkpoint directory.
        conversations: Each with at least one assistant turn.
        out: Directory for the expert, created where missing: a peft adapter (``adapter_model.safetensors``,
            ``adapter_config.json``), or for ``full`` a checkpoint in fp32 (``model.safetensors`` and the rest).
        method: ``lora`` adapts all linear layers but the output head; ``full`` trains every parameter.
        rank: LoRA rank, at least 1.
        alpha: The LoRA update is multiplied by alpha / rank.
        epochs: Passes over the conversations; may be fractional.
        learning_rate: Peak learning rate.
        global_batch: Conversations an optimizer step.
        micro_batch: Rows a forward pass, at most; gradients accumulate to the global batch.
        max_length: Longer conversations, in tokens, are left out.
        packing: Whether a row holds as many conversations of the global batch as fit into `max_length` tokens,
            instead of one and its padding. What is learned is the same, up to rounding.
        warmup_fraction: Share of the steps in which the learning rate rises, in [0, 1).
        max_grad_norm: Gradients are clipped to this norm.
        weight_decay: AdamW's.
        betas: AdamW's.
        seed: Seeds adapter, order and held-out conversations.
        dtype: ``float32`` computes in fp32; ``bfloat16`` and ``float16`` compute in bf16. What is trained is fp32.
        validation_fraction: Share of the conversations held out, in [0, 0.5). After each epoch their loss is
            measured, and the weights of the lowest are saved.
        date: Today, as far as the chat template is concerned.
        sight: Sees the images that conversations show, and is not trained; None where they show none.
        progress: Called after each step; by default a progress bar, or log lines without a terminal.
        stop: When set, training ends at its next step, and no expert is saved.
        place: Where the state of the training is kept now and then, and when it is stopped. A state that it has is
            taken up if it is of the same settings and conversations.

    Raises:
        TrainingStopped: `stop` was set.
        ValueError: Nothing to train on (no conversations, all too long), images without `sight`, or the kept state is
            damaged.
        RuntimeError: The loss is not finite any more.
    """
    tokenizer = load_tokenizer(base)
    ends = end_tokens(tokenizer, base)
    data = encode_all(
        tokenizer, conversations, ends, max_length, date=date, image_tokens=sight.tokens if sight else None
    )
    generator = torch.Generator().manual_seed(seed)
    train, held_out = _split(data.rows, validation_fraction, generator)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _build_model(base, method, rank, alpha, dtype, seed, max_length).to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)

    total = max(1, round(epochs * len(train)))
    order = list(schedule([len(row.input_ids) for row in train], total, global_batch, generator))
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_cosine(len(order), warmup_fraction))
    epoch_steps = math.ceil(len(train) / global_batch)
    loss_of = _loss_function(model, dtype, device, sight)
    best = Best(trained)
    settings = {
        **{"method": method, "rank": rank, "alpha": alpha, "epochs": epochs, "learning_rate": learning_rate},
        **{"global_batch": global_batch, "micro_batch": micro_batch, "max_length": max_length, "packing": packing},
        **{"warmup_fraction": warmup_fraction, "max_grad_norm": max_grad_norm, "weight_decay": weight_decay},
        **{"betas": betas, "seed": seed, "dtype": dtype, "validation_fraction": validation_fraction},
        **{"date": date, "conversations": content_hash(conversations)},
    }
    kept = Kept(place, settings, trained, optimizer, rates, best)
    done = kept.restore()
    losses, tokens, positions = list(done.losses), done.tokens, done.positions
    with ExitStack() as stack:
        report = progress or stack.enter_context(default_progress())
        model.train()
        started = time.perf_counter() - done.seconds
        for step, indices in enumerate(order[done.step :], start=done.step + 1):
            if stop and stop.is_set():
                kept.save(Done(step - 1, tokens, positions, time.perf_counter() - started, tuple(losses)))
                raise TrainingStopped("the run is being stopped")
            rows = [train[index] for index in indices]  # of ascending length, so that micro batches are of alike ones
            targets = sum(_targets(row) for row in rows)
            loss = 0.0
            for batch in _batches(rows, micro_batch, max_length if packing else None, ends[0]):
                summed = loss_of(batch) / targets
                summed.backward()  # type: ignore[no-untyped-call] # torch has no types for it
                loss += summed.item()
                tokens += batch.tokens
                positions += batch.input_ids.numel()
            if not math.isfinite(loss):
                raise RuntimeError(f"the loss is {loss} in step {step}: training diverged; lower the learning rate")
            torch.nn.utils.clip_grad_norm_(trained, max_grad_norm)
            optimizer.step()
            rates.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss)
            report(TrainingProgress(step, len(order), loss, tokens / (time.perf_counter() - started)))
            if held_out and (step % epoch_steps == 0 or step == len(order)):
                best.offer(step, _mean_loss(model, loss_of, held_out, micro_batch, ends[0]))
            kept.offer(Done(step, tokens, positions, time.perf_counter() - started, tuple(losses)))
        seconds = time.perf_counter() - started
    best.restore()
    _save(model, tokenizer, out, method)
    tail = losses[-max(1, len(losses) // 10) :]
    return TrainingSummary(
        steps=len(order),
        conversations=total,
        left_out=data.left_out,
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / seconds,
        loss_first=losses[0],
        loss_last=sum(tail) / len(tail),
        validation_loss=best.loss,
        data_hash=content_hash(conversations),
        padding=1 - tokens / positions,
        losses=[_shortened(loss) for loss in losses],
        validation_losses=best.seen,
    )


def _shortened(loss: float) -> float:
    """Six digits: all of them would double the summary of a long training and show nobody more."""
    return float(f"{loss:.6g}")


def _batches(rows: Sequence[Encoded], micro_batch: int, capacity: int | None, padding: int) -> Iterator[Batch]:
    """Cuts a global batch into forward passes; `capacity` is a packed row's tokens, None pads."""
    if capacity is None:
        for first in range(0, len(rows), micro_batch):
            yield collate(rows[first : first + micro_batch], padding)
        return
    packs = pack([len(row.input_ids) for row in rows], capacity)
    for first in range(0, len(packs), micro_batch):
        yield collate_packed([[rows[index] for index in one] for one in packs[first : first + micro_batch]], padding)


def _split(
    rows: Sequence[Encoded], fraction: float, generator: torch.Generator
) -> tuple[list[Encoded], list[Encoded]]:
    if not fraction:
        return list(rows), []
    if len(rows) < 2:
        raise ValueError("validation needs at least two conversations, one of them to train on")
    order = torch.randperm(len(rows), generator=generator).tolist()
    held_out = max(1, round(fraction * len(rows)))
    return [rows[index] for index in order[held_out:]], [rows[index] for index in order[:held_out]]


def _attention(max_length: int) -> str:
    # The backward pass of torch's fused attention is slow on CPUs: for short rows plain products train a small model
    # a sixth faster. They hold all attention weights, so not for long ones.
    return "eager" if not torch.cuda.is_available() and max_length <= _SHORT_TOKENS else "sdpa"


def _build_model(base: Path, method: Method, rank: int, alpha: float, dtype: str, seed: int, max_length: int) -> Any:
    from transformers import AutoModelForCausalLM

    # What is trained stays fp32: bf16 would swallow small steps. A frozen base may be bf16.
    frozen_bf16 = method == "lora" and dtype == "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.bfloat16 if frozen_bf16 else torch.float32,
        attn_implementation=_attention(max_length),
        trust_remote_code=False,
    )
    model.config.use_cache = False  # with a cache, packed rows would attend across their conversations
    if method == "full":
        return model
    from peft import get_peft_model

    config = lora_config(rank, alpha)
    with torch.random.fork_rng():  # peft draws from the global generator
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def lora_config(rank: int, alpha: float) -> LoraConfig:
    """What is adapted by LoRA: all linear layers but the output head."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")


def _targets(row: Encoded) -> int:
    # The first token has nothing before it to be predicted from.
    return sum(label != IGNORED for label in row.labels[1:])


def _loss_function(
    model: Any, dtype: str, device: torch.device, sight: Sight | None = None
) -> Callable[[Batch], torch.Tensor]:
    """Returns the summed cross entropy of a batch's trained tokens."""
    from peft.helpers import disable_input_dtype_casting

    def loss_of(batch: Batch) -> torch.Tensor:
        targets = batch.labels[:, 1:]
        # Logits are wanted only at positions where some row is trained: the head is a fifth of a small model.
        positions = (targets != IGNORED).any(dim=0).nonzero().flatten()
        with ExitStack() as stack:
            if dtype != "float32":
                stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
                # Autocast casts to bf16 anyway; peft's own cast of every input to fp32 would come on top.
                stack.enter_context(
                    disable_input_dtype_casting(model) if hasattr(model, "peft_config") else nullcontext()
                )
            # Positions that start anew tell transformers where a packed row's conversations end: no attention across.
            places = {} if batch.position_ids is None else {"position_ids": batch.position_ids.to(device)}
            ids = batch.input_ids.to(device)
            shown = {"input_ids": ids}
            if sight is not None and batch.images:
                shown = {"inputs_embeds": sight.embedded(model, ids, batch.images)}
            logits = model(**shown, logits_to_keep=positions.to(device), **places).logits
        chosen = targets[:, positions].to(device)
        wanted = chosen != IGNORED
        return torch.nn.functional.cross_entropy(logits[wanted].float(), chosen[wanted], reduction="sum")

    return loss_of


def _mean_loss(
    model: Any, loss_of: Callable[[Batch], torch.Tensor], rows: Sequence[Encoded], micro_batch: int, padding: int
) -> float:
    ordered = sorted(rows, key=lambda row: len(row.input_ids))
    model.eval()
    with torch.no_grad():
        total = sum(
            loss_of(collate(ordered[first : first + micro_batch], padding)).item()
            for first in range(0, len(ordered), micro_batch)
        )
    model.train()
    return total / sum(map(_targets, rows))


def _save(model: Any, tokenizer: Any, out: Path, method: Method) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if method == "lora":
        config = model.peft_config["default"]
        config.target_modules = sorted(config.target_modules)  # a set, whose order would differ from run to run
        if config.target_parameters:  # of mixtures of experts, where peft finds the stacks of matrices itself
            config.target_parameters = sorted(config.target_parameters)
        # Embeddings are never trained; "auto" would ask the hub whether the vocabulary grew.
        model.save_pretrained(out, save_embedding_layers=False)
        (out / "README.md").unlink(missing_ok=True)  # peft's empty model card
        return
    from transformers import GenerationConfig

    model.config.use_cache = True
    # A base's sampling values, which its saved expert does not need, may contradict each other: saving refuses them.
    given = model.generation_config
    special = {name: getattr(given, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**special)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
