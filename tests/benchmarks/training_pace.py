"""Tokens a second of the trainers, side by side: the loop, transformers' Trainer, and TRL's SFTTrainer if installed.

``python -m tests.benchmarks.training_pace`` trains LoRA adapters of the embedded model on the same conversations in
one order, one trainer after the other, several rounds. Compared are the seconds, and the seconds of the processors, of
all steps but the first. SFTTrainer gets our tokens, labels and batches, and computes its own loss.
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from cycleqd.base_model import resolve_base
from cycleqd.experts import TrainingSettings, train_expert
from cycleqd.experts.learner import build_model
from cycleqd.experts.lessons import lessons_of
from cycleqd.experts.trainers.assignment import Assignment, Pieces, cost_of, passes_of
from cycleqd.packed_models import EMBEDDED_MODEL
from cycleqd.storage import cache_dir

WORDS = ("the", "of", "a", "file", "list", "count", "table", "row", "column", "value", "print", "return", "where")


def conversations(count, seed=0):
    random = np.random.default_rng(seed)

    def text(least, most):
        return " ".join(random.choice(WORDS, random.integers(least, most)))

    return [
        [
            {"role": role, "content": text(*lengths)}
            for role, lengths in (("user", (20, 60)), ("assistant", (10, 30))) * 2
        ]
        for _ in range(count)
    ]


class Clock:
    """Seconds, and seconds of the processors, of all steps but the first."""

    def __init__(self):
        self.marks = []

    def __call__(self, *_):
        self.marks.append((time.perf_counter(), time.process_time()))

    @property
    def spent(self):
        return [last - first for first, last in zip(self.marks[0], self.marks[-1], strict=True)]


def by_loop(base, talks, settings, folder):
    clock = Clock()
    losses = train_expert(base, talks, folder / "loop", settings, progress=clock).losses
    return clock, losses


def pieces_of(base, talks, settings, folder):
    lessons = lessons_of(base, talks, settings)
    passes = passes_of(settings, lessons.padding, 1)
    most, *_ = cost_of(lessons.order, [len(row.input_ids) for row in lessons.rows], passes)
    assignment = Assignment(
        base=str(base), settings=settings, padding=lessons.padding, epoch_steps=lessons.epoch_steps, processes=1,
        passes=most, gradient_checkpointing=False, save_steps=len(lessons.order),
    )  # fmt: skip
    return assignment, Pieces(assignment, lessons.rows, [], lessons.order)


def by_transformers(base, talks, settings, folder):
    from cycleqd.experts.trainers.course import Course, Exercise, _arguments

    assignment, pieces = pieces_of(base, talks, settings, folder)
    clock, losses = Clock(), []

    class Timed(Course):
        def _tell(self, **what):
            clock()
            losses.append(what["loss"])

    course = Timed(folder, assignment, pieces)
    arguments = _arguments(folder, assignment, len(pieces.order))
    trainer = Exercise(course, model=build_model(base, settings), args=arguments, train_dataset=pieces)
    trainer.add_callback(course)
    course.trainer = trainer
    trainer.train()
    return clock, losses


def by_trl(base, talks, settings, folder):
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from cycleqd.models.causal_lm.rendering import load_tokenizer
    from cycleqd.models.learning_rate import warmup_then_cosine

    assignment, pieces = pieces_of(base, talks, settings, folder)
    clock, losses = Clock(), []

    # It takes no other class of data sets.
    rows = Dataset.from_list(
        [
            {name: value.tolist() for name, value in piece.items() if name in ("input_ids", "taught", "position_ids")}
            for piece in (pieces[number] for number in range(len(pieces)))
        ]
    ).rename_column("taught", "labels")

    class Timed(TrainerCallback):
        def on_step_end(self, *_, **__):
            clock()

        def on_log(self, args, state, control, logs, **_):
            if "loss" in logs:
                losses.append(logs["loss"])

    class Ordered(SFTTrainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def create_scheduler(self, num_training_steps, optimizer=None):
            factor = warmup_then_cosine(num_training_steps, settings.warmup_fraction)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            return self.lr_scheduler

    def collated(items):
        batch = {name: torch.tensor(value) for name, value in items[0].items()}
        return batch if "position_ids" in batch else batch | {"attention_mask": torch.ones_like(batch["input_ids"])}

    arguments = SFTConfig(
        output_dir=str(folder), per_device_train_batch_size=1, gradient_accumulation_steps=assignment.passes,
        max_steps=len(pieces.order), optim="adamw_torch_fused", learning_rate=settings.learning_rate, weight_decay=0.0,
        max_grad_norm=settings.max_grad_norm, seed=settings.seed, save_strategy="no", logging_steps=1,
        report_to="none", disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False, use_cpu=True,
        gradient_checkpointing=False, bf16=settings.dtype != "float32", max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    trainer = Ordered(
        model=build_model(base, settings), args=arguments, train_dataset=rows, data_collator=collated,
        processing_class=load_tokenizer(base), callbacks=[Timed()],
    )  # fmt: skip
    trainer.train()
    return clock, losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--micro", type=int, default=8)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--model", default=EMBEDDED_MODEL)
    given = parser.parse_args()
    base = resolve_base(given.model, cache_dir())
    talks = conversations(given.steps * given.batch)
    settings = TrainingSettings(
        dtype=given.dtype, packing=given.packing, global_batch=given.batch, micro_batch=given.micro
    )
    trainers = {"loop": by_loop, "transformers": by_transformers}
    if importlib.util.find_spec("trl") is not None:
        trainers["trl"] = by_trl
    tokens = sum(len(row.input_ids) for row in lessons_of(base, talks, settings).rows)
    names = list(trainers)
    spent = {name: [] for name in names}
    last = {}
    for turn, _ in zip(cycle(range(len(names))), range(given.rounds), strict=False):
        for name in names[turn:] + names[:turn]:
            with tempfile.TemporaryDirectory() as folder:
                clock, losses = trainers[name](base, talks, settings, Path(folder))
            spent[name].append(clock.spent)
            last[name] = [losses[0], losses[-1]]
            print(json.dumps({"trainer": name, "seconds": clock.spent, "losses": last[name]}), flush=True)
    for name in names:
        wall = [seconds for seconds, _ in spent[name]]
        pairs = zip(spent["loop"], spent[name], strict=True)
        ratios = [[a / b for a, b in zip(loop, own, strict=True)] for loop, own in pairs]
        medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
        pace = tokens * (given.steps - 1) / given.steps / statistics.median(wall)
        print(
            f"{name}: about {pace:.0f} tokens/s, median; against the loop, median of {given.rounds} pairs: "
            f"{medians[0]:.3f} of the tokens a second, {medians[1]:.3f} of those a processor's second"
        )


if __name__ == "__main__":
    main()
