"""Looks into a model's folder as a run will, in a process that can be ended.

A folder is other people's: its chat template is a program, and its configuration says how much is built. So a child
builds the model without memory for its weights, compares it with the files, renders conversations and encodes one for
training, within limits of processor time and memory. What it finds is one `BaseModelInvalid` with one line.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import resource
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from cycleqd.checkpoint import BaseModelInvalid, check_folder, one_line
from cycleqd.machine.packages import installed_version
from cycleqd.messages import Message
from cycleqd.models.causal_lm.rendering import TEMPLATE_DATE, end_tokens, load_tokenizer, render, template_text
from cycleqd.storage.notes import recall, remember, state_of

TEMPLATE_SECONDS: Final = 5
"""Processor time for all renderings together; an ordinary one takes a millisecond."""
BUILD_SECONDS: Final = 60
"""Processor time to build the model, and to read the tokenizer."""
MEMORY_BYTES: Final = 4 * 2**30
"""What the child may take on top of its libraries."""
_START_SECONDS: Final = 600
"""Until the child, whose libraries take seconds to load, has ended by itself even on a busy machine."""
_MARK: Final = "cycleqd-model-probe "
_LIBRARIES: Final = ("jinja2", "peft", "tokenizers", "torch", "transformers")
"""What decides with this package whether a folder is fit."""

_TALK: Final[tuple[Message, ...]] = (
    {"role": "system", "content": "You answer in one line."},
    {"role": "user", "content": "Count the files in /etc."},
    {"role": "assistant", "content": "Think: list them.\n\nAct: bash\n```\nls /etc | wc -l\n```"},
    {"role": "user", "content": "The output is:\n42"},
    {"role": "assistant", "content": "Act: answer(42)"},
)


class Facts(NamedTuple):
    """What was found in a folder that is fit.

    Attributes:
        tokens: Token ids that the tokenizer knows.
        rows: Rows of the embedding.
        context: Tokens that the model reads, None where its configuration does not say.
        longest: Tokens of the longest opening that was rendered.
    """

    tokens: int
    rows: int
    context: int | None
    longest: int


class TokenizerInvalid(BaseModelInvalid):
    """The fault lies in the tokenizer or its chat template."""


class _Request(NamedTuple):
    folder: str
    tokenizer: str
    method: Literal["lora", "full"] | None
    rank: int
    samples: tuple[str, ...]
    date: str


def probe(
    folder: Path,
    *,
    tokenizer: Path | None = None,
    method: Literal["lora", "full"] | None = None,
    rank: int = 1,
    samples: Sequence[Sequence[Message]] = (),
    date: datetime.date = TEMPLATE_DATE,
) -> Facts:
    """Makes sure that a model's folder is what it says.

    Takes some seconds, most of them for the child's libraries. That a folder is fit is remembered on this machine, for
    as long as its files, the libraries and this package are the same.

    Args:
        folder: A checkpoint directory.
        tokenizer: Where the tokenizer is, if elsewhere.
        method: How experts will be trained; None if none will.
        rank: LoRA rank.
        samples: Openings of episodes, which are rendered.
        date: Today, as far as the chat template is concerned.

    Raises:
        TokenizerInvalid: The tokenizer cannot be used, or its chat template is no fit program.
        BaseModelInvalid: Anything else is wrong.
    """
    check_folder(folder)
    openings = tuple(json.dumps(list(sample)) for sample in samples)
    request = _Request(str(folder), str(tokenizer or folder), method, rank, openings, date.isoformat())
    found = _remembered(request, _stamp(folder), _stamp(tokenizer or folder))
    if isinstance(found, BaseModelInvalid):
        raise type(found)(str(found))
    return found


def _stamp(folder: Path, pattern: str = "*") -> tuple[tuple[str | int, ...], ...]:
    files = sorted(file for file in folder.glob(pattern) if file.is_file())
    return tuple((str(file.relative_to(folder)), *state_of(file)) for file in files)


@lru_cache(maxsize=16)
def _remembered(request: _Request, *stamps: object) -> Facts | BaseModelInvalid:
    ours = _stamp(Path(__file__).parents[1], "**/*.py")
    question, state = json.dumps(request), json.dumps([stamps, list(map(installed_version, _LIBRARIES)), ours])
    if (known := recall("preflight", question, state)) is not None:
        return Facts(*known)
    found = _found_by_child(request)
    if isinstance(found, Facts):
        remember("preflight", question, state, list(found))
    return found


def _found_by_child(request: _Request) -> Facts | BaseModelInvalid:
    code = f"import sys; sys.path[:] = {sys.path!r}; from cycleqd.preflight.probe import _child; _child()"
    quiet = {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    child = subprocess.Popen(  # noqa: S603 # this interpreter, with a program of our own
        [sys.executable, "-c", code],
        env=os.environ | quiet,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        output, errors = child.communicate(json.dumps(request), timeout=_START_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        output, errors = child.communicate()
    finally:
        child.kill()  # whoever interrupts us must not leave it behind
    said = [json.loads(line.removeprefix(_MARK)) for line in output.splitlines() if line.startswith(_MARK)]
    step = next((entry["step"] for entry in reversed(said) if "step" in entry), "")
    kind = TokenizerInvalid if step.startswith(("tokenizer", "chat template")) else BaseModelInvalid
    last = said[-1] if said else {}
    if "facts" in last:
        return Facts(*last["facts"])
    if "fault" in last:
        return kind(last["fault"])
    where = f"base model {request.folder}"
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        seconds = TEMPLATE_SECONDS if step == "chat template" else BUILD_SECONDS
        return kind(f"{where}: {step or 'reading it'}: not done after {seconds} s of processor time, or out of memory")
    last_line = (errors.strip().splitlines() or ["no message"])[-1]
    return kind(f"{where}: {step or 'reading it'}: the check ended with status {child.returncode} ({last_line:.200})")


# What follows runs in the child.


def _child() -> None:
    request = _Request(*json.loads(sys.stdin.read()))
    # The libraries' own output must not be taken for ours, and nobody is there to answer a question.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            facts = _look(request._replace(samples=tuple(request.samples)))
        except BaseModelInvalid as error:
            _tell(fault=one_line(error, longest=800))
        except MemoryError:
            _tell(fault=f"base model {request.folder}: it needs more than {MEMORY_BYTES >> 30} GiB to be looked at")
        else:
            _tell(facts=list(facts))


def _tell(**entry: Any) -> None:
    print(_MARK + json.dumps(entry), file=sys.__stdout__, flush=True)


def _begin(step: str, seconds: int) -> None:
    """From here on so much processor time; the kernel ends the child when it is spent."""
    _tell(step=step)
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _look(request: _Request) -> Facts:
    import transformers.models.auto.modeling_auto  # noqa: F401 # loaded ahead of the limits

    import cycleqd.experts.learner  # noqa: F401 # likewise

    folder = Path(request.folder)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 2**20
    # Mapped weights count as addresses, though not as memory; two libraries may map each file, some of them twice.
    mapped = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    limit = pages * resource.getpagesize() + MEMORY_BYTES + 4 * mapped
    with contextlib.suppress(ValueError, OSError):  # some systems know no such limit, or a lower one
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _begin("configuration and weights", BUILD_SECONDS)
    rows, context = _guarded(folder, "the model cannot be built", lambda: _model(folder, request))
    _begin("tokenizer", BUILD_SECONDS)
    tokenizer = _guarded(folder, "its tokenizer cannot be loaded", lambda: load_tokenizer(request.tokenizer))
    tokens = max([len(tokenizer) - 1, *tokenizer.get_vocab().values()]) + 1
    if tokens > rows:
        raise BaseModelInvalid(
            f"base model {folder}: its tokenizer knows {tokens} tokens, its embedding has {rows} rows: "
            "resize the embedding (resize_token_embeddings), or remove the added tokens"
        )
    if not tokenizer.chat_template:
        raise BaseModelInvalid(f"base model {folder}: its tokenizer has no chat template: use a chat (instruct) model")
    ends = _end_tokens(folder, tokenizer, rows)
    date = datetime.date.fromisoformat(request.date)
    _begin("chat template", TEMPLATE_SECONDS)
    longest = _guarded(
        folder,
        "its chat template cannot be used",
        lambda: _conversations(tokenizer, request.samples, ends, date, trained=request.method is not None),
    )
    return Facts(tokens, rows, context, longest)


def _guarded(folder: Path, what: str, look: Callable[[], Any]) -> Any:
    try:
        return look()
    except (BaseModelInvalid, MemoryError):
        raise
    except Exception as error:  # libraries raise all classes over what is in a file
        raise BaseModelInvalid(f"base model {folder}: {what} ({one_line(error)})") from error


def _end_tokens(folder: Path, tokenizer: Any, rows: int) -> tuple[int, ...]:
    """The tokens that end a reply.

    Raises:
        BaseModelInvalid: There are none, or they are no tokens.
    """
    _begin("chat template", TEMPLATE_SECONDS)
    ends: tuple[Any, ...] = _guarded(folder, "its end tokens cannot be read", lambda: end_tokens(tokenizer, folder))
    if odd := [end for end in ends if isinstance(end, bool) or not isinstance(end, int) or not 0 <= end < rows]:
        raise BaseModelInvalid(f"base model {folder}: eos_token_id {odd[0]!r:.40} is no token of the model")
    if not ends:
        raise BaseModelInvalid(
            f"base model {folder}: nothing ends a reply: give its tokenizer an eos_token, or generation_config.json "
            "an eos_token_id"
        )
    return ends


def _model(folder: Path, request: _Request) -> tuple[int, int | None]:
    """Builds the model without its weights; returns the embedding's rows and the context's length."""
    from cycleqd.base_model import BaseWeights, parameters_of
    from cycleqd.model_layout import empty_model

    weights = BaseWeights(folder)
    model = empty_model(folder)
    model.tie_weights()
    parameters_of(model, weights)
    computed = sum(buffer.nbytes for buffer in model.buffers())
    if computed > MEMORY_BYTES:
        raise BaseModelInvalid(f"base model {folder}: config.json asks for {computed >> 30} GiB of computed tables")
    embedding = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if request.method == "lora":
        _adapt(folder, model, weights, request.rank)
    return rows, context if isinstance(context, int) else None


def _adapt(folder: Path, model: Any, weights: Any, rank: int) -> None:
    """Makes sure that a LoRA adapter of this model is one which `read_lora_adapter` reads back."""
    import torch
    from peft import get_peft_model

    from cycleqd.experts.learner import lora_config
    from cycleqd.experts.sources.stacks import adapted_parameter
    from cycleqd.model_layout import layout_of
    from cycleqd.task_vector.lora import refuse_other_forms

    remedy = "set experts.method to full, or choose another base model"
    stored = set(weights.names())
    layout = layout_of(model, weights.shapes())
    with torch.device("meta"):
        adapted = get_peft_model(model, lora_config(rank, 2.0 * rank))
    config = adapted.peft_config["default"].to_dict()
    try:
        refuse_other_forms(folder, {key: value for key, value in config.items() if key != "target_parameters"})
    except ValueError as error:
        raise BaseModelInvalid(f"base model {folder}: LoRA cannot adapt it ({one_line(error)}); {remedy}") from None
    # Adapters of stacks are read with the base beside them, which knows the files' names; others by their own names.
    renamed = {place.parameter: name for name, place in layout.places.items() if not place.part}
    aliases = renamed if config.get("target_parameters") else {}
    sides = {"A": 1, "B": 0}  # which of the weight's dimensions each factor shares
    found = 0
    stacks: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, parameter in adapted.named_parameters():
        if not parameter.requires_grad:
            continue
        module, _, rest = name.removeprefix("base_model.model.").rpartition(".lora_")
        side, weight = sides.get(rest.partition(".")[0]), aliases.get(f"{module}.weight", f"{module}.weight")
        if config.get("target_parameters") and weight not in stored:
            stacks[module][rest.partition(".")[0]] = tuple(parameter.shape)
            found += 1
            continue
        if side is None or weight not in stored or weights.shape(weight)[side] != parameter.shape[side]:
            raise BaseModelInvalid(f"base model {folder}: LoRA adapts {name}, no linear layer of the files; {remedy}")
        found += 1
    for module, factors in stacks.items():
        try:
            adapted_parameter(layout, config, module, factors["A"], factors["B"])
        except (KeyError, ValueError) as error:
            raise BaseModelInvalid(f"base model {folder}: {one_line(error)}; {remedy}") from None
    if not found:
        raise BaseModelInvalid(f"base model {folder}: LoRA finds no linear layer to adapt; {remedy}")


def _conversations(
    tokenizer: Any, samples: Sequence[str], ends: tuple[int, ...], date: datetime.date, *, trained: bool
) -> int:
    """Renders openings and conversations, and encodes them if experts are trained; returns the longest opening."""
    from cycleqd.experts.conversations import IGNORED, TrainingMessage, encode

    openings: list[list[Message]] = [json.loads(sample) for sample in samples] or [list(_TALK[:2])]
    longest = 0
    for opening in openings:
        # A benchmark may open with a whole conversation, an example of how to play: nobody is trained on that.
        shown_only: list[TrainingMessage] = [{**message, "trained": False} for message in opening]
        talk = [*opening, *_TALK[2:]]
        shown = render(tokenizer, opening, reply_follows=True, date=date, images=True)
        longest = max(longest, len(shown))
        text = template_text(tokenizer, opening, reply_follows=True, date=date)
        for message in opening:
            if not all(word in text for word in message["content"].split()[-1:]):
                raise ValueError(f"it leaves out what the {message['role']} says")
        render(tokenizer, talk[:-1], reply_follows=True, date=date, images=True)
        render(tokenizer, talk, reply_follows=False, date=date, images=True)
        if not trained:
            continue
        examples = encode(tokenizer, [*shown_only, *_TALK[2:]], ends, date=date)
        first = examples[0]
        begins = next(index for index, label in enumerate(first.labels) if label != IGNORED)
        if first.input_ids[:begins] != shown:
            raise ValueError("training and engine would show the model other tokens for the same conversation")
        said = [label for example in examples for label in example.labels if label != IGNORED]
        if not all(word in tokenizer.decode(said) for word in ("bash", "42")):
            raise ValueError("the assistant's turns cannot be found in what it writes")
    return longest
