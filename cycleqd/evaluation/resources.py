"""What a configuration says about engine, sandboxes and skills, opened.

Engines that see are imported where they are opened: transformers' models alone take four seconds of processor time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cycleqd.base_model import resolve_base
from cycleqd.config import RunConfig, SandboxConfig, SkillConfig
from cycleqd.models.causal_lm import open_engine
from cycleqd.models.causal_lm.protocol import Engine
from cycleqd.models.hardware import resolve_kind, with_dtype
from cycleqd.models.segmentation import Segmenter, resolve_sam
from cycleqd.sandbox import Limits, NoSandboxes, Sandboxes, reap
from cycleqd.skills.benchmarks.benchmark import Source, exclusions
from cycleqd.skills.building import build_skill
from cycleqd.skills.protocol import Skill
from cycleqd.storage import cache_dir
from cycleqd.template_view import with_template

if TYPE_CHECKING:
    from cycleqd.models.vision_language import Sight


def find_base(config: RunConfig, *, revision: str | None = None) -> Path:
    """The checkpoint directory of a configuration's base model, with the chat template that it asks for.

    Args:
        config: The configuration.
        revision: The hub's commit in place of what the configuration says.

    Raises:
        BaseModelInvalid, BaseModelUnavailable: As `cycleqd.base_model.resolve_base`, or the template cannot be used,
            or a base of segmentation is no SAM.
    """
    model = config.model
    if model.kind == "segmentation":
        return resolve_sam(model.name, cache_dir(), revision=revision or model.revision)
    base = resolve_base(model.name, cache_dir(), revision=revision or model.revision)
    return with_template(base, cache_dir(), file=model.chat_template, settings=model.chat_template_kwargs)


def find_vision(config: RunConfig, base: Path) -> Path | None:
    """The checkpoint directory of the vision tower that stands in front of `base`; None where no skill shows images.

    Raises:
        BaseModelInvalid, BaseModelUnavailable, DataUnavailable: As `cycleqd.models.vision_language.resolve_vision`.
    """
    if config.model.vision is None or not config.shows_images:
        return None
    from cycleqd.models.vision_language import resolve_vision
    from cycleqd.skills.vision_questions.skill import EasyVqaSkill

    return resolve_vision(
        config.model.vision,
        cache_dir(),
        base,
        revision=config.model.vision_revision,
        split_seed=next((skill.split_seed for skill in config.skills if skill.row.name == EasyVqaSkill.name), 0),
    )


def open_sight(config: RunConfig, base: Path) -> Sight | None:
    """What sees the images of a configuration's skills; None where no skill shows any."""
    folder = find_vision(config, base)
    if folder is None:
        return None
    from cycleqd.models.vision_language import Sight, Vision

    return Sight(Vision(folder), _images(config))


def start_engine(config: RunConfig, base: Path, *, images: bool = True) -> Engine:
    """The engine that a configuration describes, serving the checkpoint in `base`.

    Args:
        config: The configuration.
        base: The checkpoint directory.
        images: Whether it is shown the images of the configuration's skills; a SAM always is.
    """
    settings = config.engine
    if config.model.kind == "segmentation":
        return Segmenter(base, _images(config), dtype=with_dtype(config).model.dtype)
    sight = open_sight(config, base) if images else None
    if sight is None:
        return _text_engine(config, base)
    from cycleqd.models.vision_language import SeeingEngine, SharedEngine

    seeing = SeeingEngine(
        base,
        sight,
        dtype=with_dtype(config).model.dtype,
        max_model_len=settings.max_model_len,
        date=config.model.date,
    )
    if resolve_kind(settings.kind, base) == "transformers":
        return seeing
    try:
        return SharedEngine(_text_engine(config, base), seeing)
    except BaseException:
        seeing.close()
        raise


def _text_engine(config: RunConfig, base: Path) -> Engine:
    settings = config.engine
    return open_engine(
        settings.kind,
        base,
        dtype=with_dtype(config).model.dtype,
        max_model_len=settings.max_model_len,
        kv_cache_gb=settings.kv_cache_gb,
        gpu_memory_fraction=settings.gpu_memory_fraction,
        max_batch=settings.max_batch,
        compile_model=settings.compile,
        extra=settings.extra,
        urls=settings.urls,
        adapters=Path(settings.adapters) if settings.adapters else None,
        date=config.model.date,
    )


def _images(config: RunConfig) -> Callable[[str], Any]:
    """Finds the images of samples, whose ids begin with their skill's name."""
    skills = build_skills(config)

    def image_of(identifier: str) -> Any:
        skill: Any = skills[identifier.partition("/")[0]]
        return skill.image(identifier)

    return image_of


def open_sandboxes(config: RunConfig) -> Sandboxes:
    """The pool of containers that a configuration describes, after those of dead processes were removed.

    Where no skill has an image, there is nothing to open, and no Docker engine is asked.
    """
    if not any(skill.row.images for skill in config.skills):
        return NoSandboxes()
    reap()
    return Sandboxes(
        run_id=config.run_id, max_containers=config.sandbox.max_containers, limits=limits_of(config.sandbox)
    )


def limits_of(settings: SandboxConfig) -> Limits:
    """What the containers of a configuration may use."""
    return Limits(
        memory_mb=settings.memory_mb,
        pids=settings.pids,
        cpus=settings.cpus,
        tmpfs_mb=settings.tmpfs_mb,
        output_bytes=settings.output_bytes,
        command_seconds=settings.command_seconds,
        program_seconds=settings.program_seconds,
    )


def build_skills(config: RunConfig) -> dict[str, Skill]:
    """The skills of a configuration by name, in the order of the cycle."""
    images = {"size": config.segmentation.image_size, "prompt": config.segmentation.prompt}
    return {
        skill.row.name: build_skill(
            skill.name, seed=config.seed, counts=skill.counts, source=_source(skill), images=images
        )
        for skill in config.skills
    }


def _source(skill: SkillConfig) -> Source:
    return Source(
        data=skill.data,
        prompt_file=skill.prompt_file,
        excluded=exclusions(skill.exclude, skill.exclude_file),
        split_seed=skill.split_seed,
        max_turns=skill.max_turns,
    )
