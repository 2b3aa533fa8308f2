"""Supervised fine-tuning of one expert in this process: LoRA through peft, or all weights.

Other trainers are in `cycleqd.experts.trainers`. What is learned, and how the model is built and saved, is shared with
them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cycleqd.experts.conversations import Conversation, Encoded
from cycleqd.experts.learner import build_model, check_finite, save_expert, summed_loss
from cycleqd.experts.lessons import Passes, examined, lessons_of, targets
from cycleqd.experts.progress import ProgressCallback, TrainingProgress, default_progress
from cycleqd.experts.resuming import Best, Done, Kept, Place
from cycleqd.experts.settings import TrainingSettings
from cycleqd.experts.summary import TrainingStopped, TrainingSummary, summary_of
from cycleqd.models.hardware import torch_device
from cycleqd.models.learning_rate import warmup_then_cosine
from cycleqd.models.side_by_side import GATE

if TYPE_CHECKING:
    from cycleqd.models.vision_language import Sight


def train_expert(
    base: Path,
    conversations: Sequence[Conversation],
    out: Path,
    settings: TrainingSettings = TrainingSettings(),  # noqa: B008 -- frozen
    *,
    sight: Sight | None = None,
    progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
    place: Place | None = None,
) -> TrainingSummary:
    """Fine-tunes the base on conversations and saves the expert.

    On a CPU the same arguments give the same expert, bit for bit, with the same number of threads, also where it was
    killed in between and went on from what `place` kept.

    Args:
        base: The base's checkpoint directory.
        conversations: Each with at least one assistant turn.
        out: Directory for the expert; see `cycleqd.experts.learner.save_expert`.
        settings: What decides what is learned.
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
    lessons = lessons_of(base, conversations, settings, image_tokens=sight.tokens if sight else None)
    device = torch_device()
    with GATE.building():
        model = build_model(base, settings).to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )
    order = lessons.order
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_cosine(len(order), settings.warmup_fraction))
    loss_of = partial(summed_loss, model, dtype=settings.dtype, device=device, sight=sight)
    passes = Passes(settings.micro_batch, settings.max_length if settings.packing else None, lessons.padding)
    best = Best(trained)
    kept = Kept(place, settings.plain() | {"conversations": lessons.data_hash}, trained, optimizer, rates, best)
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
            rows = [lessons.rows[index] for index in indices]
            wanted = sum(map(targets, rows))
            loss = 0.0
            with GATE.stepping():
                for one in passes.cut([len(row.input_ids) for row in rows]):
                    batch = passes.batch(rows, one)
                    summed = loss_of(batch) / wanted
                    summed.backward()  # type: ignore[no-untyped-call] # torch has no types for it
                    loss += summed.item()
                    tokens += batch.tokens
                    positions += batch.input_ids.numel()
                check_finite(loss, step)
                torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
                optimizer.step()
                rates.step()
                optimizer.zero_grad(set_to_none=True)
            losses.append(loss)
            report(TrainingProgress(step, len(order), loss, tokens / (time.perf_counter() - started)))
            if lessons.held_out and (step % lessons.epoch_steps == 0 or step == len(order)):
                with GATE.stepping():
                    seen = _mean_loss(model, loss_of, lessons.held_out, settings.micro_batch, lessons.padding)
                best.offer(step, seen)
            kept.offer(Done(step, tokens, positions, time.perf_counter() - started, tuple(losses)))
        seconds = time.perf_counter() - started
    best.restore()
    save_expert(model, lessons.tokenizer, out, settings.method)
    return summary_of(
        losses,
        conversations=lessons.conversations,
        left_out=lessons.left_out,
        tokens=tokens,
        positions=positions,
        seconds=seconds,
        data_hash=lessons.data_hash,
        validation_loss=best.loss,
        validation_losses=best.seen,
    )


def _mean_loss(model: Any, loss_of: Any, rows: Sequence[Encoded], micro_batch: int, padding: int) -> float:
    model.eval()
    with torch.no_grad():
        total: float = sum(loss_of(batch).item() for batch in examined(rows, micro_batch, padding))
    model.train()
    return total / sum(map(targets, rows))
