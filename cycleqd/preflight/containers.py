"""Whether containers of every kind run, and whether their images are there."""

from __future__ import annotations

from cycleqd.config import RunConfig
from cycleqd.preflight.finding import Check


def docker(config: RunConfig) -> Check:
    """Runs one container of each kind that every run may need, and makes the images that tasks bring along."""
    from cycleqd.evaluation.resources import limits_of
    from cycleqd.sandbox import Sandboxes, SandboxUnavailable, missing_images
    from cycleqd.sandbox.database.products import MARIADB, PRODUCTS

    images = {image for skill in config.skills for image in skill.row.images}
    if not images:
        return Check("docker", True, "no skill acts in a container")
    if missing := missing_images(*images):
        return Check("docker", False, f"images are missing: {', '.join(missing)}", "build them with make images")
    if (fault := _own_images(config)) is not None:
        return fault
    limits = limits_of(config.sandbox)
    with Sandboxes(run_id=f"{config.run_id}-preflight", limits=limits) as sandboxes:
        try:
            with sandboxes.shell() as shell, sandboxes.runner() as runner, sandboxes.database():
                shell.run("true")
                runner.run("f = int", entry_point="f", calls=["()"])
            for product in sorted(images & PRODUCTS.keys() - {MARIADB.image}):
                sandboxes.database(image=product).close()
        except SandboxUnavailable as error:
            limits_are = "sandbox.memory_mb, sandbox.cpus, sandbox.pids and sandbox.tmpfs_mb"
            return Check("docker", False, str(error), f"see the message; a container's limits are {limits_are}")
    return Check("docker", True, "Docker answers, the images are there, containers of each kind ran")


def _own_images(config: RunConfig) -> Check | None:
    """Makes the images that tasks of inspect_ai bring along, which may take minutes; None where all is well."""
    from cycleqd.evaluation.resources import build_skills
    from cycleqd.sandbox import SandboxUnavailable
    from cycleqd.skills.benchmarks.benchmark import DataUnavailable
    from cycleqd.skills.registry import INSPECT

    if not any(skill.row.target == INSPECT.target for skill in config.skills):
        return None
    try:
        for skill in build_skills(config).values():
            for image in getattr(skill, "own_images", tuple)():
                image.ensure()
    except (DataUnavailable, ValueError):
        return None  # another check's finding
    except SandboxUnavailable as error:
        return Check("docker", False, str(error), "mend the task's Dockerfile, or take the task out of skills")
    return None
