"""The configuration of one run: what a person writes in YAML, and the form that the Prefect UI shows.

`RunConfig` is frozen and refuses what it does not know. All faults of a file are reported at once, each with the
path of its field. Configuration stays at the edge: builders turn it into plain keyword arguments.

The modules: `run` has the whole and what must hold between its sections, which are in `model`, `skills`, `experts`,
`search`, `operators`, `refinement`, `baselines`, `evaluators`, `machine` and `trackers`; `section` is what they have
in common, `named` what those have that choose a class by name. `loading` reads a profile or a file, `files` knows
them and the changes of a command line. `form` and `usual` are about the form.
"""

from cycleqd.config.baselines import BaselineConfig, ComparisonConfig
from cycleqd.config.evaluators import EvaluatorsConfig
from cycleqd.config.experts import DataConfig, DataSourceConfig, ExpertConfig, RecipeName
from cycleqd.config.files import PROFILES, explain, read_settings
from cycleqd.config.loading import load_config, parse_config
from cycleqd.config.machine import EngineConfig, RetentionConfig, RetentionPolicy, SandboxConfig, TaskConfig
from cycleqd.config.model import ModelConfig
from cycleqd.config.operators import AggregationConfig, CrossoverConfig, MutationConfig
from cycleqd.config.refinement import RefinementConfig
from cycleqd.config.run import RunConfig
from cycleqd.config.search import ArchiveConfig, GridConfig, NoiseConfig, SamplingConfig, SearchConfig
from cycleqd.config.section import Section
from cycleqd.config.segmentation import SegmentationConfig
from cycleqd.config.skills import GENERATED_COUNTS, GENERATED_SKILLS, SkillConfig, SkillName
from cycleqd.config.trackers import TrackerConfig
from cycleqd.config.usual import FormConfig, with_usual
from cycleqd.faults import ConfigError
from cycleqd.plain_yaml import write_yaml

__all__ = [
    "GENERATED_COUNTS",
    "GENERATED_SKILLS",
    "PROFILES",
    "AggregationConfig",
    "ArchiveConfig",
    "BaselineConfig",
    "ComparisonConfig",
    "ConfigError",
    "CrossoverConfig",
    "DataConfig",
    "DataSourceConfig",
    "EngineConfig",
    "EvaluatorsConfig",
    "ExpertConfig",
    "FormConfig",
    "GridConfig",
    "ModelConfig",
    "MutationConfig",
    "NoiseConfig",
    "RecipeName",
    "RefinementConfig",
    "RetentionConfig",
    "RetentionPolicy",
    "RunConfig",
    "SamplingConfig",
    "SandboxConfig",
    "SearchConfig",
    "Section",
    "SegmentationConfig",
    "SkillConfig",
    "SkillName",
    "TaskConfig",
    "TrackerConfig",
    "explain",
    "load_config",
    "parse_config",
    "read_settings",
    "with_usual",
    "write_yaml",
]
