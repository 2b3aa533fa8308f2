"""A model card: what a model is, how it was made, how it scores, on what data, under which licence, how to load it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from cycleqd.base_model import public_name
from cycleqd.publishing.mergekit import expert_coefficients, mergekit_recipe
from cycleqd.run.names import AVERAGE, BASE, expert_id, expert_key
from cycleqd.run.records import IndividualRecord
from cycleqd.run.source_record import SourceRecord
from cycleqd.run.store import RunStore
from cycleqd.storage import StoreError

CARD: Final = "README.md"
MERGEKIT: Final = "mergekit.yaml"
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_FRONT: Final = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)
_MOST_BYTES: Final = 2**20
_LICENCE: Final = re.compile(r"[\w.-]{1,60}")

_LOADING_SAM: Final = (
    "## How to load it\n\n```python\nfrom transformers import SamModel\n\n"
    'model = SamModel.from_pretrained("THIS FOLDER")\n```'
)


def write_card(
    store: RunStore, identifier: str, out: Path, *, base: Path, dtype: str, form: Literal["checkpoint", "adapter"]
) -> None:
    """Writes ``README.md``, and ``mergekit.yaml`` where the recipe is one that mergekit knows.

    Args:
        store: The run.
        identifier: The individual that lies in `out`.
        out: The exported folder.
        base: The base model's folder, whose card may name a licence.
        dtype: Of the exported numbers.
        form: What lies in `out`.
    """
    name = public_name(store.config().model.name)
    recipe = mergekit_recipe(store, identifier, name, dtype)
    if recipe is not None:
        (out / MERGEKIT).write_text(recipe)
    (out / CARD).write_text(_card(store, identifier, name, base, form, mergekit=recipe is not None))


def _card(store: RunStore, identifier: str, name: str, base: Path, form: str, *, mergekit: bool) -> str:
    record, config = store.individual(identifier), store.config()
    is_chat = config.model.kind == "chat"
    licences = _licences(store, name, base)
    known = {licence for _, licence in licences}
    public = name if _HUB_ID.fullmatch(name) else ""
    front: dict[str, Any] = {
        "library_name": "transformers" if form == "checkpoint" else "peft",
        "pipeline_tag": "text-generation" if is_chat else "mask-generation",
        "tags": ["cycleqd", "merge", *(["lora"] if form == "adapter" else [])],
    }
    if public:
        front |= {"base_model": public, "base_model_relation": "merge" if form == "checkpoint" else "adapter"}
    if len(known) == 1 and "" not in known:
        front["license"] = known.pop()
    if data := _hub_data(store):
        front["datasets"] = data
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {config.run_id}: {identifier}",
        f"{_what(record)} Base model: {public or 'a local folder'}. Made by CycleQD "
        "(https://arxiv.org/abs/2410.14735): experts of several skills, merged; every score comes from "
        + ("acting in sandboxes." if is_chat else "segmenting images."),
        _made(store, record, mergekit),
        _scores(store, record),
        _data(store),
        _licence_text(licences),
        _loading(form, public) if is_chat else _LOADING_SAM,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(record: IndividualRecord) -> str:
    if not record.parents:
        return "One expert, fine-tuned on one skill."
    if record.archive is not None:
        return f"A child of generation {record.generation}, bred from the archive of {record.archive}."
    if record.generation is not None:
        return "The final model of a search."
    return "A merge of the experts without a search."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _made(store: RunStore, record: IndividualRecord, mergekit: bool) -> str:
    text = ["## How it was made"]
    if record.parents:
        coefficients = record.coefficients or [1.0] * len(record.parents)
        rows = [[parent, f"{share:.4g}"] for parent, share in zip(record.parents, coefficients, strict=True)]
        text.append(_table(["parent", "coefficient"], rows))
    for title, settings in (("Merge", record.merge), ("Mutation", record.mutation)):
        if settings:
            text.append(f"{title}: {', '.join(f'{key} {value}' for key, value in settings.items())}.")
    shares = expert_coefficients(record.id, store.individual)
    if shares is not None and record.parents:
        summed = " + ".join(f"{share:.4g} · {expert}" for expert, share in shares.items())
        text.append(f"In terms of the experts' differences to the base: {summed}.")
    if mergekit:
        text.append(
            f"`{MERGEKIT}` makes the same sum with mergekit; `RUN` in it stands for the run's folder, which holds the "
            "experts."
        )
    known = store.base()
    hashes = [["task vector", record.genome]] + ([["base model", known.base]] if known else [])
    text.append(_table(["what", "SHA-256"], hashes))
    return "\n\n".join(text)


def _scores(store: RunStore, record: IndividualRecord) -> str:
    """On the test split; beside it the base, the experts and their average, on the same samples."""
    skills = store.config().skill_names
    others = [AVERAGE, *map(expert_id, skills)]
    rows = []
    for name, genome in _compared(store, record, others):
        found = [store.pooled(genome, skill, "test") for skill in skills]
        if not any(found):
            if genome == record.genome:
                break
            continue
        cells = []
        for one in found:
            interval = one.score.interval if one else None
            cells.append(
                f"{one.score.score:.1%} ({interval.low:.1%} to {interval.high:.1%}), n {one.score.n}"
                if one and interval
                else ""
            )
        rows.append([name, *cells])
    if not rows:
        return "## Scores\n\nNot measured on the test split."
    note = "Test split, which the search never sees; share of samples solved, with 95 % intervals (Wilson)."
    return f"## Scores\n\n{note}\n\n{_table(['model', *skills], rows)}"


def _compared(store: RunStore, record: IndividualRecord, others: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield f"**{record.id}**", record.genome
    yield BASE, BASE
    for other in others:
        if other != record.id and store.has_individual(other):
            yield other, store.individual(other).genome


def _data(store: RunStore) -> str:
    """Hashes of what was learned from and of what was measured on."""
    rows = []
    for skill in store.config().skill_names:
        if source := _source(store, skill):
            rows.append([f"{skill} expert", f"{source.kind} {_public(source)}", source.hash])
        elif store.exists(key := expert_key(skill, "summary.json")):
            summary = store.read_json(key)
            what = "data sets" if store.exists(expert_key(skill, "data.json")) else "gold episodes of the suite"
            rows.append([f"{skill} expert", what, str(summary.get("data_hash", ""))])
        if tested := store.pooled(BASE, skill, "test"):
            version = tested.data_version or "generated by the run's seed"
            rows.append([f"{skill}, test split", version, tested.data_hash])
    return f"## Data\n\n{_table(['of', 'from', 'hash'], rows)}" if rows else ""


def _licences(store: RunStore, name: str, base: Path) -> list[tuple[str, str]]:
    """Of the base and of experts made elsewhere: what each is, and its licence, empty where its card names none."""
    found = [(f"the base model, {name if _HUB_ID.fullmatch(name) else 'a local folder'}", licence_of(base))]
    for skill in store.config().skill_names:
        if source := _source(store, skill):
            found.append((f"the {skill} expert, {_public(source)}", licence_of(Path(source.folder))))
    return found


def _licence_text(licences: Sequence[tuple[str, str]]) -> str:
    rows = [[what, licence or "not known; see where it comes from"] for what, licence in licences]
    note = "What this model was made of, and the licences that cards name. Training data have licences of their own."
    return f"## Licence\n\n{note}\n\n{_table(['part', 'licence'], rows)}"


def licence_of(folder: Path) -> str:
    """The licence in the front matter of a folder's model card; empty where there is none."""
    try:
        with (folder / CARD).open("rb") as stream:
            match = _FRONT.match(stream.read(_MOST_BYTES).decode("utf-8-sig"))
        front = yaml.safe_load(match[1]) if match else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return ""
    licence = front.get("license") if isinstance(front, dict) else None
    return licence if isinstance(licence, str) and _LICENCE.fullmatch(licence) else ""


def _loading(form: str, base: str) -> str:
    if form == "checkpoint":
        code = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained("THIS FOLDER", dtype="auto")\n'
            'tokenizer = AutoTokenizer.from_pretrained("THIS FOLDER")'
        )
    else:
        code = (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{base or "THE BASE MODEL"}", dtype="auto")\n'
            'model = PeftModel.from_pretrained(base, "THIS FOLDER")'
        )
    return f"## How to load it\n\n```python\n{code}\n```\n\nOr talk to it: `cycleqd chat FOLDER`."


def _source(store: RunStore, skill: str) -> SourceRecord | None:
    key = expert_key(skill, "source.json")
    try:
        return store.record(SourceRecord, key) if store.exists(key) else None
    except StoreError:
        return None


def _public(source: SourceRecord) -> str:
    """A source as others find it; a path of this machine says nothing to them."""
    return f"{source.given} ({source.revision[:12]})" if source.revision else "a local folder"


def _hub_data(store: RunStore) -> list[str]:
    """Hub ids of the data sets that the experts learned from."""
    from cycleqd.seams import RECIPES

    found: dict[str, None] = {}
    data: Mapping[str, Any] = store.config().experts.data
    for settings in data.values():
        for source in settings.sources:
            name = source.path or RECIPES[source.recipe].hub_id or ""
            if _HUB_ID.fullmatch(name) and not Path(name).exists():
                found[name] = None
    return list(found)
