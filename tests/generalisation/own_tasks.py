"""Tasks of lm-evaluation-harness as a user writes them: YAML files with data beside them."""

import re

import yaml

from tests.generalisation.conftest import write_lines

UTILS = """
def only_long(docs):
    return docs.filter(lambda doc: len(doc["question"]) > 3)


def judge(doc, results):
    said = results[0].strip()
    return {"right": float(said == doc["answer"]), "length": len(said), "pair": (said, doc["answer"])}


def longest(items):
    return max(len(said) for said, _ in items)
"""


def write_task(folder, name, **settings):
    """A multiple-choice task with solved examples, unless the settings say otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"question": f"Is {n} even?", "options": ["yes", "no"], "answer": n % 2} for n in range(30)]
    for split, part in (("train", rows[:6]), ("test", rows[6:])):
        write_lines(folder / f"{name}-{split}.jsonl", part)
    usual = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {split: str(folder / f"{name}-{split}.jsonl") for split in ("train", "test")}
        },
        "training_split": "train",
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "{{answer}}",
        "num_fewshot": 2,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc_norm", "acc")
        ],
    }
    path = folder / f"{name}.yaml"
    path.write_text(dumped({key: value for key, value in (usual | settings).items() if value is not None}))
    return path


GENERATION = {
    "output_type": "generate_until",
    "doc_to_choice": None,
    "doc_to_target": "{{options[answer]}}",
    "generation_kwargs": {"until": ["\n", "x"], "do_sample": False, "max_gen_toks": 12},
}
EXACT = {"metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]}
ROLLING = {
    "output_type": "loglikelihood_rolling",
    "doc_to_choice": None,
    "doc_to_text": "",
    "doc_to_target": "{{question}}",
    "num_fewshot": 0,
    "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
}
LAST_WORD = {
    "output_type": "loglikelihood",
    "doc_to_choice": None,
    "doc_to_target": "{{options[answer]}}",
    "metric_list": [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
    ],
}
TWO_RULES = {
    "filter_list": [
        {"name": "strict", "filter": [{"function": "take_first"}]},
        {
            "name": "word",
            "filter": [{"function": "regex", "regex_pattern": "(\\w)"}, {"function": "take_first"}],
        },
    ]
}
CORPUS = {"metric_list": [{"metric": "bleu"}, {"metric": "exact_match"}]}


def write_group(folder, name, members, **settings):
    path = folder / f"{name}.yaml"
    metric = {"metric": "acc", "aggregation": "mean", "weight_by_size": True}
    path.write_text(dumped({"group": name, "task": members, "aggregate_metric_list": [metric]} | settings))
    return path


def dumped(settings):
    """YAML, with ``!function`` where a text begins with it."""
    return re.sub(r"'(!function [\w.]+)'", r"\1", yaml.safe_dump(settings, sort_keys=False))
