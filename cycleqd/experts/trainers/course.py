"""One process' share of a training, with transformers' Trainer and, between several, accelerate.

The conversations, the model, the loss, the learning rate and the expert's form are ours. Trainer runs the steps, wraps
the model (DDP, FSDP, DeepSpeed), and keeps checkpoints.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch.utils.data import SequentialSampler

from cycleqd.experts.conversations import Batch
from cycleqd.experts.learner import build_model, check_finite, save_expert, summed_loss
from cycleqd.experts.lessons import examined, targets
from cycleqd.experts.resuming import SECONDS, SHARE
from cycleqd.experts.summary import six_digits
from cycleqd.experts.trainers.assignment import (
    CHECKPOINTS,
    EXPERT,
    PROGRESS,
    STOP,
    Assignment,
    Pieces,
    as_inputs,
    best_folder,
    nothing,
)
from cycleqd.models.causal_lm.rendering import load_tokenizer
from cycleqd.models.hardware import is_mixture
from cycleqd.models.learning_rate import warmup_then_cosine

_TRAINED = "trained.safetensors"
"""Of a checkpoint: what is trained, in fp32, by the model's own names."""
_WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
"""Ways to train in which every process has the whole model, and passes without gradients may be left out."""


def take(folder: Path) -> None:
    """Trains, and writes the expert into the folder; tells everything in its progress file.

    Args:
        folder: What `Assignment.write` filled.
    """
    assignment = Assignment.read(folder)
    settings = assignment.settings
    pieces = Pieces.read(folder, assignment)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != assignment.processes:
        raise RuntimeError(
            f"{assignment.processes} processes were asked for and {started} started: set experts.trainer.processes to "
            "what the file at experts.trainer.accelerate_config starts"
        )
    arguments = _arguments(folder, assignment, len(pieces.order))
    model = build_model(Path(assignment.base), settings)
    course = Course(folder, assignment, pieces)
    trainer = Exercise(course, model=model, args=arguments, train_dataset=pieces)
    trainer.add_callback(course)
    course.trainer = trainer
    trainer.train(resume_from_checkpoint=assignment.checkpoint)
    if not course.stopped:
        course.finish()
    trainer.accelerator.end_training()


def _arguments(folder: Path, assignment: Assignment, steps: int) -> transformers.TrainingArguments:
    settings, on_cpu = assignment.settings, not torch.cuda.is_available()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        per_device_train_batch_size=1,  # of pieces, each of which is a batch
        gradient_accumulation_steps=assignment.passes,
        max_steps=steps,
        optim="adamw_torch_fused",
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        gradient_checkpointing=assignment.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if assignment.gradient_checkpointing else None,
        save_strategy="no",  # the course says when
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and assignment.processes > 1 else None,
        # A batch may use none of an expert's weights.
        ddp_find_unused_parameters=is_mixture(Path(assignment.base)),
    )
    if arguments.n_gpu > 1:  # without a launcher Trainer would cut each batch for all of the machine's GPUs
        arguments._n_gpu = 1
    return arguments


class Exercise(transformers.Trainer):  # type: ignore[misc] # mypy does not read transformers
    """Trainer with our order, loss, learning rate and checkpoints.

    Args:
        course: The training.
        given: What Trainer takes.
    """

    def __init__(self, course: Course, **given: Any) -> None:
        # A loss function of one's own says that losses of a global batch's passes are to be added, not averaged.
        super().__init__(**given, data_collator=lambda items: items[0], compute_loss_func=summed_loss)
        self._course = course
        self.parts: list[torch.Tensor] = []
        """Of the step's loss, what this process has computed."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """All parameters, as the loop has it."""
        return [name for name, _ in model.named_parameters()]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """A warm-up, then a cosine."""
        factor = warmup_then_cosine(num_training_steps, self._course.settings.warmup_fraction)
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward; nothing for a pass that is empty, unless others wait for its gradients."""
        awaited = self.accelerator.sync_gradients and self.accelerator.num_processes > 1
        if inputs["empty"] and not awaited and self.accelerator.distributed_type in _WHOLE:
            return torch.zeros((), device=self.args.device)
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The pass' part of the mean loss over the global batch; gradients are averaged over the processes."""
        loss: torch.Tensor = self.summed(model, inputs) / inputs["wanted"]
        self.parts.append(loss.detach())
        processes = self.accelerator.num_processes
        return loss * processes if processes > 1 else loss

    def summed(self, model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The summed loss of a pass."""
        batch = Batch(inputs["input_ids"], inputs["taught"], 0, inputs.get("position_ids"))
        return summed_loss(model, batch, dtype=self._course.settings.dtype, device=self.args.device)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: to count a small model's parameters for every pass takes longer than some of its layers."""
        return 0

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Of a checkpoint: what is trained, exactly. Sharded models are saved with the optimizer's state."""
        if self.accelerator.distributed_type in _WHOLE and self.args.should_save and output_dir is not None:
            trained = {name: value.detach() for name, value in self.model.named_parameters() if value.requires_grad}
            os.makedirs(output_dir, exist_ok=True)
            save_file({name: value.contiguous() for name, value in trained.items()}, Path(output_dir) / _TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.accelerator.distributed_type not in _WHOLE:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        stored = load_file(Path(resume_from_checkpoint) / _TRAINED)
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                if value.requires_grad:
                    value.copy_(stored[name])


class Course(transformers.TrainerCallback):  # type: ignore[misc] # mypy does not read transformers
    """Follows a training: tells its steps, examines, says when a checkpoint is due, ends it when asked.

    Args:
        folder: Where the training lies.
        assignment: What to train.
        pieces: Its forward passes.
    """

    trainer: Exercise

    def __init__(self, folder: Path, assignment: Assignment, pieces: Pieces) -> None:
        self.settings = assignment.settings
        self.stopped = False
        self._folder = folder
        self._assignment = assignment
        self._pieces = pieces
        self._steps = len(pieces.order)
        self._best_loss = assignment.best_loss
        self._started = 0.0
        self._due = 0.0
        self._saving = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Starts the clocks."""
        self._started = time.perf_counter() - self._assignment.seconds
        self._due = time.monotonic() + SECONDS

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells the step, and what comes after it; all processes decide alike."""
        step, parts = state.global_step, self.trainer.parts
        loss = sum(part.item() for part in parts)
        parts.clear()
        loss, stop, due = self._agreed(loss, float((self._folder / STOP).exists()), float(self._is_due(step)))
        try:
            check_finite(loss, step)
        except RuntimeError as error:
            self._tell(fault=str(error))
            raise
        self._tell(step=step, loss=loss, seconds=time.perf_counter() - self._started)
        if self._pieces.held_out and (step % self._assignment.epoch_steps == 0 or step == self._steps):
            self._examine(step)
        if step == self._steps:
            return
        self.stopped = stop > 0
        control.should_training_stop = self.stopped
        control.should_save = self.stopped or due > 0
        if control.should_save:
            self._saving = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells that a checkpoint is whole."""
        self.trainer.accelerator.wait_for_everyone()
        self._tell(checkpoint=state.global_step)
        if self.stopped:
            self._tell(stopped=state.global_step)
        now = time.monotonic()
        self._due = now + max(SECONDS, SHARE * (now - self._saving))

    def finish(self) -> None:
        """Saves the expert, unless validation chose one."""
        if not self._pieces.held_out:
            self._save(EXPERT)
        self._tell(done=self._steps)

    def _is_due(self, step: int) -> bool:
        if self._assignment.save_steps is not None:
            return step % self._assignment.save_steps == 0
        return time.monotonic() >= self._due

    def _examine(self, step: int) -> None:
        """Measures the validation loss, and saves the expert if it is the lowest so far."""
        trainer, processes = self.trainer, self.trainer.accelerator.num_processes
        batches = examined(self._pieces.held_out, self.settings.micro_batch, self._assignment.padding)
        own = batches[trainer.accelerator.process_index :: processes]
        # All take part as often: a sharded model is gathered by everyone.
        missing = -(-len(batches) // processes) - len(own)
        model = trainer.model_wrapped
        model.eval()
        total = 0.0
        with torch.no_grad():
            for batch in own:
                total += trainer.summed(model, as_inputs(batch, 1)).item()
            for _ in range(missing):
                trainer.summed(model, as_inputs(nothing(self._assignment.padding), 1))
        model.train()
        total, *_ = self._agreed(total)
        loss = total / sum(map(targets, self._pieces.held_out))
        best = self._best_loss is None or loss < self._best_loss
        if best:
            self._best_loss = loss
            self._save(best_folder(step))
        self._tell(examined=step, loss=six_digits(loss), exact=loss, best=best)

    def _save(self, name: str) -> None:
        """Saves the expert from the first process; all take part where its weights are spread over them."""
        trainer, method = self.trainer, self.settings.method
        spread = trainer.accelerator.distributed_type not in _WHOLE
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if spread else None
        if trainer.accelerator.is_main_process:
            model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
            tokenizer = load_tokenizer(Path(self._assignment.base))
            save_expert(model, tokenizer, self._folder / name, method, weights)
        trainer.accelerator.wait_for_everyone()

    def _agreed(self, *values: float) -> list[float]:
        """The sums of the values over all processes."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes == 1:
            return list(values)
        # A GPU that knows no fp64 knows no NCCL, either.
        mine = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
        agreed: list[float] = accelerator.reduce(mine, "sum").tolist()
        return agreed

    def _tell(self, **what: Any) -> None:
        if self.trainer.accelerator.is_main_process:
            with (self._folder / PROGRESS).open("a") as file:
                file.write(json.dumps(what) + "\n")
