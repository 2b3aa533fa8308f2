"""Checks before anything expensive: does this machine have what a configuration needs?"""

from __future__ import annotations

import importlib.util
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from cycleqd.base_model import BaseWeights
from cycleqd.checkpoint import BaseModelInvalid
from cycleqd.config import RunConfig, SkillConfig
from cycleqd.evaluation.resources import find_base
from cycleqd.messages import Message
from cycleqd.model_layout import is_one_expert
from cycleqd.models.hardware import NO_MIXTURES, is_mixture, resolve_kind
from cycleqd.packed_models import BaseModelUnavailable
from cycleqd.preflight import containers, disk
from cycleqd.preflight.finding import Check
from cycleqd.preflight.memory import is_dense, is_of_tokens, lacking, needs
from cycleqd.preflight.probe import Facts, TokenizerInvalid, probe
from cycleqd.preflight.refinement import lacking_room, room_for_refinement
from cycleqd.preflight.search import check_search, is_made
from cycleqd.preflight.training import check_trainer
from cycleqd.run.names import expert_id
from cycleqd.storage import ObjectStore, StoreError, cache_dir

_SPARE_BYTES = 2**30
"""Room on top of what is foreseen."""
_LARGEST = 3
"""Kinds of objects that are named with what they take on disk."""
_OTHER_MODEL = "mend the folder, or set model.name to another one"


def check(config: RunConfig) -> list[Check]:
    """Looks at Docker, images, engine, model and tokenizer, disk and storage; nothing is started for long."""
    return [
        _guarded("configuration", config, _configuration),
        _guarded("search", config, check_search),
        _guarded("experts", config, _experts),
        _guarded("skills", config, _skills),
        _guarded("docker", config, containers.docker),
        _guarded("engine", config, _engine),
        _guarded("model", config, _model),
        _guarded("tokenizer", config, _tokenizer),
        _guarded("training data", config, _training_data),
        _guarded("trainer", config, check_trainer),
        _guarded("trackers", config, _trackers),
        *([_guarded("vision", config, _vision)] if config.shows_images else []),
        *([_guarded("memory", config, _memory)] if config.uses_regmean or config.memory_limit else []),
        *([_guarded("refinement", config, _refinement)] if config.refinement.epochs else []),
        *([_guarded("evaluators", config, _evaluators)] if config.evaluators.kind != "threads" else []),
        _guarded("storage", config, _storage),
        _guarded("disk", config, _disk),
    ]


def _guarded(name: str, config: RunConfig, look: Callable[[RunConfig], Check]) -> Check:
    try:
        return look(config)
    except BaseModelInvalid as error:
        return Check(name, False, str(error), _OTHER_MODEL)
    except Exception as error:  # a check that fails in an unforeseen way is a finding, too
        return Check(name, False, f"{type(error).__name__}: {error}", "see the message")


def _configuration(config: RunConfig) -> Check:
    def sizes(skill: SkillConfig) -> str:
        return "/".join("all" if count is None else str(count) for count in skill.counts.values())

    skills = ", ".join(f"{skill.name} ({sizes(skill)})" for skill in config.skills)
    return Check("configuration", True, f"{config.generations} generations; train/optimization/test: {skills}")


def _experts(config: RunConfig) -> Check:
    """Looks at experts that are not trained here, which costs a look at all their numbers."""
    given = {skill: source for skill in config.skill_names if (source := config.experts.source_of(skill))}
    if not given:
        return Check("experts", True, "all are trained here")
    # The mask decoder of a SAM is trained whole.
    whole = not config.experts.are_low_rank or config.model.kind == "segmentation"

    from cycleqd.experts.sources import SourceInvalid, SourceUnavailable, find

    base = BaseWeights(find_base(config))
    found, dense = [], whole and bool(config.trained)
    for skill, source in given.items():
        if is_made(config, expert_id(skill)):  # a source that changed since is refused at the start
            found.append(f"{skill}: in the run already")
            continue
        try:
            place = find(source, cache_dir())
            opened = place.open()
            update = opened.update(base)
            opened.check_values()
        except (SourceInvalid, SourceUnavailable) as error:
            remedy = f"set experts.source.{skill} to another adapter or checkpoint of {config.model.name}"
            return Check("experts", False, str(error), remedy)
        dense = dense or (update.dense is not None and config.experts.truncation is None)
        notes = "".join(f" ({note})" for note in update.notes)
        found.append(f"{skill}: {place.kind} {source}, {len(update.names())} parameters{notes}")
    if dense and config.uses_regmean:
        text = f"{'; '.join(found)}: not all of low rank, which regmean needs"
        return Check("experts", False, text, "choose another baseline or search.merge, or other sources")
    form = "all task vectors are dense" if dense else "task vectors are factored"
    trained = f"; trained here: {', '.join(config.trained)}" if config.trained else ""
    return Check("experts", True, f"{'; '.join(found)}{trained}; {form}")


def _skills(config: RunConfig) -> Check:
    from cycleqd.evaluation.resources import build_skills
    from cycleqd.skills.benchmarks.benchmark import DataUnavailable

    try:
        skills = build_skills(config)
    except (DataUnavailable, ValueError) as error:
        return Check("skills", False, str(error), "set the skill's data, prompt_file, exclude_file or counts")
    found = []
    for name, skill in skills.items():
        skipped = f", {len(skill.origin.skipped)} skipped" if skill.origin.skipped else ""
        played = "/".join(str(len(skill.samples(split))) for split in ("optimization", "test"))
        found.append(f"{name} {skill.origin.version}".rstrip() + f": {played} samples{skipped}")
    return Check("skills", True, "; ".join([*found, *_blocks(config)]))


def _blocks(config: RunConfig) -> list[str]:
    """The blocks of an optimization split that is cut, and what is in none: the smallest skill decides."""
    size = config.search.block
    if size is None:
        return []
    met = config.blocks * size
    counts = {skill.name: skill.counts["optimization"] or 0 for skill in config.skills}
    left = ", ".join(f"{count - met} of {name}" for name, count in counts.items() if count >= met + size)
    return [f"{config.blocks} block(s) of {size}" + (f", and in none of them {left}" if left else "")]


def _engine(config: RunConfig) -> Check:
    if config.model.kind == "segmentation":
        return Check("engine", True, "transformers, which segments")
    kind = config.engine.kind
    if kind == "server":
        return _servers(config)
    has_vllm = importlib.util.find_spec("vllm") is not None
    install = "pip install 'cycleqd[cpu]' (or cycleqd[gpu] with a GPU)"
    if kind == "vllm" and not has_vllm:
        return Check("engine", False, "vLLM is not installed", f"{install}, or set engine.kind to transformers")
    if kind == "auto" and not has_vllm:
        return Check("engine", True, f"transformers, several times slower; for vLLM: {install}")
    means = resolve_kind(kind, Path(config.model.name).expanduser())
    if means == "vllm" and _is_mixture(config):  # one of the hub is known too late for auto to choose
        return Check("engine", False, NO_MIXTURES, "set engine.kind to transformers")
    return Check("engine", True, "transformers" if means == "transformers" else "vLLM")


def _is_mixture(config: RunConfig) -> bool:
    try:
        return is_mixture(find_base(config))
    except (BaseModelInvalid, BaseModelUnavailable):
        return False  # the next check says so


def _servers(config: RunConfig) -> Check:
    from cycleqd.evaluation.resources import start_engine
    from cycleqd.models.causal_lm.adapter_server import server_version
    from cycleqd.models.causal_lm.endpoint import EndpointUnavailable

    try:
        start_engine(config, find_base(config)).close()
        versions = server_version(config.engine.urls)
    except (EndpointUnavailable, ValueError, OSError) as error:
        return Check("engine", False, str(error), "see the message; the servers are engine.urls")
    return Check("engine", True, f"{len(config.engine.urls)} server(s), {versions}")


def _model(config: RunConfig) -> Check:
    base = find_base(config)
    weights = BaseWeights(base)
    try:
        if config.model.kind == "chat":  # of a SAM, finding it has looked at names and shapes
            _probed(config, base)
        weights.check_values()
    except TokenizerInvalid:
        pass  # the next check's finding
    except BaseModelInvalid as error:
        return Check("model", False, str(error), _OTHER_MODEL)
    return Check("model", True, f"{config.model.name}: {len(weights.names())} tensors, {weights.hash()[:12]}")


def _vision(config: RunConfig) -> Check:
    from cycleqd.evaluation.resources import find_vision
    from cycleqd.models.vision_language import Vision
    from cycleqd.skills.benchmarks.benchmark import DataUnavailable

    try:
        folder = find_vision(config, find_base(config))
        if folder is None:
            return Check("vision", False, "no vision tower is named", "set model.vision, e.g. to tiny-vision")
        taken = Vision(folder).tokens
    except (BaseModelInvalid, BaseModelUnavailable) as error:
        return Check("vision", False, str(error), "set model.vision to tiny-vision, or to another LLaVA checkpoint")
    except DataUnavailable as error:
        return Check("vision", False, str(error), "see the message")
    room = config.engine.max_model_len
    if taken >= room:
        return Check("vision", False, f"an image takes {taken} tokens of {room}", "set engine.max_model_len to more")
    return Check("vision", True, f"{config.model.vision}: an image takes {taken} tokens")


def _tokenizer(config: RunConfig) -> Check:
    if config.model.kind == "segmentation":
        return Check("tokenizer", True, "a model that segments has none")
    try:
        facts = _probed(config, find_base(config))
    except TokenizerInvalid as error:
        return Check("tokenizer", False, str(error), _OTHER_MODEL)
    except BaseModelInvalid:
        return Check("tokenizer", False, "not looked at: the model is not fit", "see the model")
    used = config.engine.max_model_len
    if facts.context and used > facts.context:
        return Check(
            "tokenizer",
            False,
            f"the model reads {facts.context} tokens",
            f"set engine.max_model_len to {facts.context} or less",
        )
    if facts.longest >= used:
        return Check(
            "tokenizer",
            False,
            f"an episode begins with {facts.longest} tokens, which leaves no room for a reply in {used}",
            "set engine.max_model_len to more",
        )
    return Check("tokenizer", True, f"chat template found; context {facts.context}, used {used}")


def _probed(config: RunConfig, base: Path) -> Facts:
    learned = bool(config.trained) or config.comparison.all_data
    method = config.experts.method if learned else None
    return probe(base, method=method, rank=config.experts.rank, samples=_openings(config), date=config.model.date)


def _openings(config: RunConfig) -> list[list[Message]]:
    """How an episode of each skill begins."""
    from cycleqd.evaluation.resources import build_skills

    try:
        skills = build_skills(config).values()
        return [list(skill.initial_messages(skill.samples("optimization")[0])) for skill in skills]
    except Exception:  # that skills cannot be built is another check's finding
        return []


def _training_data(config: RunConfig) -> Check:
    own = "the skills' own pictures" if config.model.kind == "segmentation" else "the suites' own gold episodes"
    if not config.experts.data:
        return Check("training data", True, own)

    from cycleqd.experts.data import TrainingDataUnavailable, check_source, sources_of

    found = []
    for skill in config.skill_names:
        data = config.experts.data_of(skill)
        for number, source in enumerate(sources_of(data) if data else ()):
            try:
                found.append(f"{skill}: {check_source(source)}")
            except TrainingDataUnavailable as error:
                setting = f"experts.data.{skill}.sources.{number}.path"
                return Check("training data", False, str(error), f"set {setting} to a file that is there")
    return Check("training data", True, "; ".join(found) or own)


def _trackers(config: RunConfig) -> Check:
    from cycleqd.tracking import TrackerMissing
    from cycleqd.tracking.following import made_of

    try:
        made_of(config.trackers)
    except TrackerMissing as error:
        return Check("trackers", False, str(error), "install it, or take it out of trackers")
    return Check("trackers", True, ", ".join(one.kind for one in config.trackers) or "none")


def _memory(config: RunConfig) -> Check:
    """Whether `memory_limit` can be kept, and the moments fit that RegMean takes of what every linear layer reads."""
    from cycleqd.experts.input_moments import lacking_memory

    weights = BaseWeights(find_base(config))
    shapes = weights.shapes()
    dense, found = is_dense(config), []
    if beyond := lacking(config, shapes, dense=dense):
        return Check("memory", False, beyond, "set memory_limit to more, or choose others there")
    if config.memory_limit is not None:
        most = needs(config, shapes, dense=dense)[0]
        found.append(f"of {config.memory_limit:g} GiB, {most.step} takes most, about {most.bytes / 2**30:.1f}")
    if config.uses_regmean:
        # Adapters leave embeddings and the head alone.
        widths = [
            shape[1]
            for name, shape in shapes.items()
            if len(shape) == 2 and not is_of_tokens(name) and not is_one_expert(name)
        ]
        if short := lacking_memory(widths, len(config.skills), config.memory_limit):
            remedy = "choose another baseline or search.merge, or a machine with more memory"
            return Check("memory", False, short, remedy)
        found.append(f"room for what RegMean measures on {len(widths)} matrices")
    return Check("memory", True, "; ".join(found))


def _evaluators(config: RunConfig) -> Check:
    """Whether their package is there, memory for an engine each, and the cluster that they are to be in."""
    from cycleqd.evaluators.memory import lacking_memory
    from cycleqd.evaluators.protocol import PACKAGES, missing
    from cycleqd.evaluators.reaching import reach
    from cycleqd.models.hardware import gpu_count

    settings = config.evaluators
    package = PACKAGES.get(settings.kind)
    if package and importlib.util.find_spec(package) is None:
        return Check("evaluators", False, str(missing(package, settings.kind)), "install it, or set evaluators.kind")
    if lacking := lacking_memory(config, find_base(config), gpu_count()):
        remedy = "set evaluators.count or engine.kv_cache_gb lower, or name evaluators.devices"
        return Check("evaluators", False, lacking, remedy)
    if settings.address is None:
        return Check("evaluators", True, f"{settings.count} by {settings.kind}")
    try:
        there = reach(settings.kind, settings.address)
    except ConnectionError as error:
        return Check("evaluators", False, str(error), "start the cluster, or name another evaluators.address")
    return Check("evaluators", True, f"{settings.count} by {settings.kind} at {settings.address}: {there}")


def _refinement(config: RunConfig) -> Check:
    room = room_for_refinement(config, BaseWeights(find_base(config)))
    if lacking := lacking_room(room):
        remedy = "set refinement.epochs to 0, TMPDIR to a larger disk, or take a machine with more memory"
        return Check("refinement", False, lacking, remedy)
    memory, disk = (f"{size / 2**30:.1f} GiB" for size in room)
    return Check("refinement", True, f"at least {memory} of memory and {disk} of temporary files, which are there")


def _storage(config: RunConfig) -> Check:
    probe = f".preflight-{uuid.uuid4().hex}"
    try:
        store = ObjectStore(config.storage, "")
        store.write_bytes(probe, b"probe")
        if store.read_bytes(probe) != b"probe":
            return Check("storage", False, f"{config.storage} does not give back what was written", "check storage")
        store.remove(probe)
    except (OSError, ValueError, StoreError) as error:
        remedy = "set storage to a writable place"
        if "://" in config.storage:
            remedy += "; for S3 give AWS_ENDPOINT_URL_S3, AWS_REGION and credentials in the environment"
        return Check("storage", False, f"cannot write to {config.storage}: {error}", remedy)
    return Check("storage", True, f"{config.storage} can be written and read")


def _disk(config: RunConfig) -> Check:
    try:
        base = find_base(config)
    except BaseModelInvalid:
        return Check("disk", False, "not looked at: the model is not fit", "see the model")
    model = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    kept = disk.parts(config, BaseWeights(base).shapes(), model)
    needed = sum(part.bytes for part in kept) + disk.at_the_end(config, model)
    place = Path(config.storage).absolute() if "://" not in config.storage else cache_dir()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    largest = ", ".join(f"{part.name} {part.bytes / 2**30:.1f}" for part in kept[:_LARGEST])
    detail = f"{free / 2**30:.1f} GiB free at {place}, about {needed / 2**30:.1f} GiB needed ({largest})"
    if free > needed + _SPARE_BYTES:
        return Check("disk", True, detail)
    remedy = f"set storage to a larger disk, or free some; {kept[0].name} follow from {kept[0].setting}"
    return Check("disk", False, detail, remedy)
