"""What an experiment compares: a YAML file of methods and seeds, and the runs that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator

from cycleqd.config import ConfigError, RunConfig, Section, parse_config
from cycleqd.config.files import explain, read_settings
from cycleqd.plain_yaml import read_yaml
from cycleqd.urls import check_url

SHIPPED = ("table1", "table2", "table5", "beyond")
"""Experiments that come with the package: three of the paper's tables, and what goes beyond the paper."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,23}$")]
"""Short enough that the ids of the runs, which are made of two names and a seed, are valid."""


_OF_THE_EXPERIMENT: Final = {"run_id": "name", "seed": "seeds", "generations": "children", "storage": "storage"}
"""Settings of a run that follow from the experiment's own, by which of them."""


def _leaves_to_the_experiment(sections: dict[str, Any]) -> dict[str, Any]:
    for key, field in _OF_THE_EXPERIMENT.items():
        if key in sections:
            raise ValueError(f"{key} follows from the experiment's {field}: set that, and remove {key} here")
    return sections


Sections = Annotated[dict[str, Any], AfterValidator(_leaves_to_the_experiment)]
"""Sections of a run's configuration."""


class ExperimentConfig(Section):
    """Methods that are compared on the same seeds, experts, samples and number of episodes."""

    name: Name
    """Name of the experiment; its runs are called ``<name>-<method>-<seed>``."""
    base: str = "demo"
    """Profile or file of the configuration that all runs share."""
    settings: Sections = Field(default_factory=dict)
    """Changes to it, as sections of a configuration."""
    storage: Annotated[str, AfterValidator(check_url)] = "runs"
    """Folder or URL that holds the runs."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """Seeds that are compared."""
    tuned_on: tuple[int, ...] = ()
    """Seeds on which somebody chose settings; none of them may be compared."""
    children: Annotated[int, Field(ge=1)] = 40
    """Budget of each search: so many children that meet all optimization samples of `base` and `settings`. A method
    whose blocks are smaller gets as many more generations: the number of episodes is equal."""
    methods: Annotated[dict[Name, Sections], Field(min_length=1)]
    """Sections of the configuration by method; they come on top of `settings`."""
    others: tuple[Name, ...] = ()
    """Methods that are left out (`--methods`); their runs give the experts of a seed to the other methods, too."""
    ours: str | None = None
    """The method whose differences to all others are reported; the last one unless given."""

    @field_validator("seeds")
    @classmethod
    def _are_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds must differ, got {list(seeds)}")
        return seeds

    @field_validator("tuned_on")
    @classmethod
    def _are_others(cls, tuned_on: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if both := sorted(set(tuned_on) & set(info.data.get("seeds", ()))):
            raise ValueError(f"settings were chosen on seeds {both}; a comparison on them says nothing: take others")
        return tuned_on

    @field_validator("ours")
    @classmethod
    def _is_a_method(cls, ours: str | None, info: ValidationInfo) -> str | None:
        if ours is not None and ours not in info.data.get("methods", {ours: {}}):
            raise ValueError(f"there is no method {ours!r}; there are {', '.join(info.data['methods'])}")
        return ours

    @property
    def subject(self) -> str:
        """The method whose differences to all others are reported."""
        return self.ours or list(self.methods)[-1]

    def run_id(self, method: str, seed: int) -> str:
        """Name of the run of a method and a seed."""
        return f"{self.name}-{method}-{seed}"


class PlannedRun(NamedTuple):
    """One run of an experiment."""

    method: str
    seed: int
    config: RunConfig


def load_experiment(
    name_or_path: str, changes: Mapping[str, Any] | None = None, *, methods: Sequence[str] = ()
) -> ExperimentConfig:
    """Reads a shipped experiment by name or a YAML file by path.

    Args:
        name_or_path: One of `SHIPPED`, or a path.
        changes: Fields that are replaced, e.g. ``seeds``.
        methods: Those that are compared; all unless given. Where `ours` is none of them, the last one's differences to
            the others are reported.

    Raises:
        ConfigError: The file is missing or has faults, or a run's configuration has; all of them are listed. Or there
            is no such method.
    """
    if name_or_path in SHIPPED:
        text = resources.files("cycleqd").joinpath("experiment", "shipped", f"{name_or_path}.yaml").read_text("utf-8")
        values = read_yaml(text, name_or_path)
    else:
        values = read_settings(name_or_path, offered=f"the shipped experiments are {', '.join(SHIPPED)}")
    try:
        experiment = ExperimentConfig.model_validate({**values, **(changes or {})})
    except ValidationError as error:
        raise ConfigError(explain(error, name_or_path)) from None
    list(planned_runs(experiment))  # all faults now, not after hours
    return _restricted(experiment, methods) if methods else experiment


def _restricted(experiment: ExperimentConfig, methods: Sequence[str]) -> ExperimentConfig:
    if unknown := [name for name in methods if name not in experiment.methods]:
        known = ", ".join(experiment.methods)
        raise ConfigError(f"{experiment.name} has no method {unknown[0]!r}; there are {known}")
    chosen = {name: sections for name, sections in experiment.methods.items() if name in methods}
    others = (*experiment.others, *(name for name in experiment.methods if name not in chosen))
    ours = experiment.ours if experiment.ours in chosen else None
    return experiment.model_copy(update={"methods": chosen, "others": others, "ours": ours})


def planned_runs(experiment: ExperimentConfig) -> Iterator[PlannedRun]:
    """The runs, seed by seed: what is finished early says something of all methods.

    Raises:
        ConfigError: A run's configuration has faults.
    """
    common = merged(read_settings(experiment.base), experiment.settings)
    budget = experiment.children * samples_of_a_child(parse_config(common, source=experiment.base))
    for seed in experiment.seeds:
        for method, sections in experiment.methods.items():
            values = merged(common, sections)
            values |= {
                "run_id": experiment.run_id(method, seed),
                "seed": seed,
                "storage": experiment.storage,
            }
            config = parse_config(values, source=f"{experiment.name}, method {method}")
            generations, rest = divmod(budget, samples_of_a_child(config))
            if rest:
                raise ConfigError(
                    f"{experiment.name}, method {method}: its children meet {samples_of_a_child(config)} samples "
                    f"each, which does not divide the budget of {budget}: change search.block, or children"
                )
            yield PlannedRun(method, seed, config.model_copy(update={"generations": generations}))


def samples_of_a_child(config: RunConfig) -> int:
    """Optimization samples, over all skills, that are played in one generation.

    Raises:
        ConfigError: A benchmark's split has no stated size, so no budget can be told in episodes.
    """
    if config.search.block is not None:
        return config.search.block * len(config.skills)
    total = 0
    for skill in config.skills:
        count = skill.counts["optimization"]
        if count is None:
            raise ConfigError(f"skills: say how many optimization samples {skill.name} has, so that budgets are equal")
        total += count
    return total


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, section by section; whatever is no section is replaced."""
    result = dict(values)
    for key, change in changes.items():
        known = result.get(key)
        result[key] = merged(known, change) if isinstance(known, dict) and isinstance(change, dict) else change
    return result
