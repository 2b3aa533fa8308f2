"""Model cards, and recipes for mergekit: what they say is what the run's records say."""

import json

import pytest
import torch
import yaml

from cycleqd.config import RunConfig
from cycleqd.publishing.card import licence_of
from cycleqd.publishing.mergekit import expert_coefficients, mergekit_recipe
from cycleqd.run.genomes import add_individual, save_bases, task_vector
from cycleqd.run.names import AVERAGE
from cycleqd.run.records import IndividualRecord
from cycleqd.run.source_record import SourceRecord
from cycleqd.run.store import RunStore
from cycleqd.search.operators.merging import merge_method
from cycleqd.steps.export import export_individual
from cycleqd.task_vector import build_bases, weighted_sum
from tests.adapters import assert_same_deltas
from tests.report.synthetic import evaluate
from tests.toy_experts import deltas

SKILLS = ("coding", "os")
MATRICES = ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight")


@pytest.fixture
def run(tiny_biased, tmp_path):
    """Two experts, their average, a sum, a child of both, and a mutated one."""
    values = {
        "run_id": "run", "storage": str(tmp_path / "runs"), "model": {"name": str(tiny_biased), "dtype": "float32"},
        "skills": [{"name": skill} for skill in SKILLS],
    }  # fmt: skip
    store = RunStore(values["storage"], "run")
    store.open(RunConfig.model_validate(values))
    generator = torch.Generator().manual_seed(3)
    shapes = dict(zip(MATRICES, ((64, 64), (64, 96)), strict=True))
    bases, experts = build_bases({
        skill: {name: (torch.randn(2, n, generator=generator), torch.randn(m, 2, generator=generator), 0.1)
                for name, (m, n) in shapes.items()}
        for skill in SKILLS
    })  # fmt: skip
    save_bases(store, bases)
    one, two = experts["coding"], experts["os"]

    def add(identifier, vector, **recipe):
        return add_individual(store, vector, IndividualRecord(id=identifier, genome="", **recipe))

    ids = {skill: f"expert-{skill}" for skill in SKILLS}
    for skill in SKILLS:
        add(ids[skill], experts[skill])
    both = list(ids.values())
    average = weighted_sum([0.5, 0.5], [one, two])
    add(AVERAGE, average, parents=both, coefficients=[0.5, 0.5])
    summed = merge_method("task_arithmetic", scale=0.8).merge([one, two], [1.0, 1.0])
    add("task-arithmetic-0.8", summed, parents=both, coefficients=[1.0, 1.0],
        merge={"method": "task_arithmetic", "scale": 0.8})  # fmt: skip
    child = weighted_sum([0.75, 0.25], [average, one])
    add("g0000", child, generation=0, archive="os", parents=[AVERAGE, both[0]], coefficients=[0.75, 0.25])
    mutated = weighted_sum([0.5, 0.5], [child, two])
    add("g0001", mutated, generation=1, archive="os", parents=["g0000", both[1]], coefficients=[0.5, 0.5],
        mutation={"kind": "svd", "seed": 7})  # fmt: skip
    add("tsv-1", summed, parents=both, coefficients=[1.0, 1.0], merge={"method": "tsv", "scale": 1.0})
    return store


@pytest.mark.parametrize("identifier", [AVERAGE, "task-arithmetic-0.8", "g0000", "expert-os"])
def test_coefficients_give_the_individual_from_the_experts(run, identifier):
    shares = expert_coefficients(identifier, run.individual)
    made = weighted_sum(list(shares.values()), [task_vector(run, expert) for expert in shares])
    assert_same_deltas(made, deltas(task_vector(run, identifier)))


@pytest.mark.parametrize("identifier", ["g0001", "tsv-1"])
def test_what_is_mutated_or_merged_otherwise_is_no_sum_of_experts(run, identifier):
    assert expert_coefficients(identifier, run.individual) is None
    assert mergekit_recipe(run, identifier, "owner/base", "bfloat16") is None


def taken(run, **facts):
    """Notes that the os expert was not trained here."""
    source = {"kind": "adapter", "given": "someone/sql@v1", "folder": "/somewhere", "revision": "c0ffee", "files": {},
              "hash": "h", "form": "factored", "parameters": 2, "notes": []}  # fmt: skip
    record = SourceRecord.model_validate(source | facts)
    run.write_json("experts/os/source.json", record.model_dump(mode="json"), replace=True)


@pytest.mark.parametrize(("facts", "model"), [
    ({}, "owner/base+someone/sql@c0ffee"),
    ({"given": "someone/sql"}, "owner/base+someone/sql@c0ffee"),  # a branch moves on
    ({"kind": "checkpoint"}, "someone/sql@c0ffee"),
    ({"given": "./mine", "revision": "", "folder": "/models/mine"}, "owner/base+/models/mine"),
], ids=str)  # fmt: skip
def test_a_source_is_named_with_the_commit_that_was_read(run, facts, model):
    taken(run, **facts)
    recipe = yaml.safe_load(mergekit_recipe(run, "task-arithmetic-0.8", "owner/base", "bfloat16"))
    assert recipe["models"][1]["model"] == model


def test_an_expert_that_is_more_than_its_files_is_in_no_recipe(run):
    taken(run, as_others_read=False)
    assert mergekit_recipe(run, "task-arithmetic-0.8", "owner/base", "bfloat16") is None
    taken(run)
    run.write_json("experts/coding/truncated.json", {"ranks": {}})
    assert mergekit_recipe(run, "task-arithmetic-0.8", "owner/base", "bfloat16") is None


def test_a_sum_is_written_as_mergekit_reads_it(run):
    taken(run)
    assert yaml.safe_load(mergekit_recipe(run, "task-arithmetic-0.8", "owner/base", "bfloat16")) == {
        "merge_method": "task_arithmetic",
        "base_model": "owner/base",
        "models": [
            {"model": "owner/base+RUN/experts/coding/model", "parameters": {"weight": 0.8}},
            {"model": "owner/base+someone/sql@c0ffee", "parameters": {"weight": 0.8}},
        ],
        "parameters": {"normalize": False, "lambda": 1.0},
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }


def front_of(text):
    return yaml.safe_load(text.split("---")[1])


def test_an_export_has_a_card_with_recipe_scores_data_licence_and_how_to_load_it(run, tiny_biased, tmp_path):
    genome = run.individual("g0000").genome
    abilities = dict(zip(SKILLS, (0.5, 0.25), strict=True))
    for name in (genome, "base"):
        for skill in SKILLS:
            evaluate(run, name, abilities, skill, "test")
    run.write_json("experts/coding/summary.json", {"data_hash": "0123abcd"})
    export_individual(run, "g0000", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert front_of(card)["library_name"] == "transformers"
    assert "license" not in front_of(card)  # nobody names one
    score = run.evaluation(genome, "coding", "test").score
    for text in (
        "generation 0", "| average | 0.75 |", "0.625 · expert-coding + 0.375 · expert-os", genome,
        f"{score.score:.1%} ({score.interval.low:.1%} to {score.interval.high:.1%}), n {score.n}", "| base |",
        "0123abcd", "not known; see where it comes from", 'from_pretrained("THIS FOLDER"', "mergekit.yaml",
    ):  # fmt: skip
        assert text in card
    assert str(tmp_path) not in card
    assert str(tiny_biased) not in card
    assert (tmp_path / "out" / "mergekit.yaml").is_file()
    export_individual(run, "g0001", tmp_path / "adapter", format="adapter")
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert front_of(card)["library_name"] == "peft"
    assert "PeftModel" in card
    assert "kind svd" in card
    assert "Not measured" in card
    assert not (tmp_path / "adapter" / "mergekit.yaml").exists()


@pytest.mark.parametrize(("text", "licence"), [
    ("---\nlicense: apache-2.0\n---\n# It", "apache-2.0"), ("# It", ""), ("---\nlicense: [a, b]\n---", ""),
    ("---\nlicense: 'a licence | with markup'\n---", ""), ("---\n{\n---", ""), ("---\n- a\n---", ""),
])  # fmt: skip
def test_a_licence_is_what_a_cards_front_matter_names(tmp_path, text, licence):
    (tmp_path / "README.md").write_text(text)
    assert licence_of(tmp_path) == licence
    assert licence_of(tmp_path / "nowhere") == ""


def test_the_records_of_a_run_keep_their_form(run):
    assert "source" in json.loads(run.config().model_dump_json())["experts"]
