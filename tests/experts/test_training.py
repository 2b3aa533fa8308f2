import hashlib
import json
import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd.base_model import BaseWeights
from cycleqd.experts import IGNORED, TrainingSettings, encode, train_expert
from cycleqd.experts.conversations import content_hash
from cycleqd.experts.learner import build_model, save_expert
from cycleqd.experts.summary import TrainingStopped
from cycleqd.models.causal_lm import ChatRequest, open_engine
from cycleqd.models.side_by_side import share_of_threads
from cycleqd.task_vector import build_bases, read_lora_adapter
from tests.state_file import StateFile


def ignore(state):
    pass


def conversations(count=24):
    return [
        [
            {"role": "user", "content": f"say {'ab'[index % 2] * (1 + index % 7)}"},
            {"role": "assistant", "content": "aye" if index % 2 else "no"},
        ]
        for index in range(count)
    ]


def train(base, out, *, progress=ignore, stop=None, place=None, **settings):
    defaults = {"rank": 4, "alpha": 8.0, "dtype": "float32", "learning_rate": 1e-2, "max_length": 128, "seed": 3}
    given = TrainingSettings(**defaults | settings)
    return train_expert(base, conversations(), out, given, progress=progress, stop=stop, place=place)


def digest(folder, name="adapter_model.safetensors"):
    return hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_trainings_side_by_side_give_what_each_gives_alone_bit_for_bit(tiny_tied, tmp_path):
    kinds = [{"dtype": dtype, "seed": seed, "epochs": 2} for seed in (3, 4) for dtype in ("float32", "bfloat16")]

    def expert(number, where):
        with share_of_threads(2):
            train(tiny_tied, tmp_path / where / str(number), **kinds[number])
        return digest(tmp_path / where / str(number))

    alone = [expert(number, "alone") for number in range(len(kinds))]
    with ThreadPoolExecutor(2) as pool:
        beside = list(pool.map(lambda number: expert(number, "beside"), range(len(kinds))))
    assert beside == alone
    assert len(set(alone)) == len(kinds)


@pytest.mark.parametrize("model", ["tiny_tied", "tiny_biased"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_learns(model, dtype, request, tmp_path):
    base = request.getfixturevalue(model)
    summary = train(base, tmp_path, epochs=8, dtype=dtype)
    assert summary.loss_last < 0.5 * summary.loss_first
    assert summary.steps == 24
    assert summary.conversations == 8 * 24
    assert len(summary.losses) == summary.steps
    assert summary.losses[0] == pytest.approx(summary.loss_first, rel=1e-5)
    assert summary.tokens_per_second == pytest.approx(summary.tokens / summary.seconds)


def test_training_that_is_told_to_stop_saves_nothing(tiny_tied, tmp_path):
    stop, seen = threading.Event(), []

    def after_two(state):
        seen.append(state.step)
        if len(seen) == 2:
            stop.set()

    with pytest.raises(TrainingStopped):
        train(tiny_tied, tmp_path / "expert", stop=stop, progress=after_two)
    assert seen == [1, 2]
    assert not (tmp_path / "expert").exists()


@pytest.mark.parametrize("settings", [{}, {"method": "full"}, {"validation_fraction": 0.25, "packing": True}])
def test_a_training_that_was_killed_goes_on_and_gives_the_same_expert_bit_for_bit(
    tiny_tied, tmp_path, monkeypatch, settings
):
    monkeypatch.setattr("cycleqd.experts.resuming.SECONDS", 0.0)
    monkeypatch.setattr("cycleqd.experts.resuming.SHARE", 0.0)
    weights = "model.safetensors" if "method" in settings else "adapter_model.safetensors"
    whole = train(tiny_tied, tmp_path / "whole", epochs=3, **settings)
    place, seen = StateFile(tmp_path), []

    def killed(state):
        seen.append(state.step)
        if len(seen) in (3, 6):
            raise KeyboardInterrupt

    for _ in range(2):  # what was done since the state was kept is done again
        with pytest.raises(KeyboardInterrupt):
            train(tiny_tied, tmp_path / "killed", epochs=3, place=place, progress=killed, **settings)
    assert not (tmp_path / "killed").exists()
    summary = train(tiny_tied, tmp_path / "killed", epochs=3, place=place, progress=killed, **settings)
    assert seen == [1, 2, 3, 3, 4, 5, *range(5, whole.steps + 1)]
    assert digest(tmp_path / "killed", weights) == digest(tmp_path / "whole", weights)
    timed = {"seconds": 0.0, "tokens_per_second": 0.0}
    assert summary._replace(**timed) == whole._replace(**timed)


def test_a_training_that_is_stopped_goes_on_where_it_was(tiny_tied, tmp_path):
    place, stop, seen = StateFile(tmp_path), threading.Event(), []

    def after_two(state):
        seen.append(state.step)
        if len(seen) == 2:
            stop.set()

    with pytest.raises(TrainingStopped):
        train(tiny_tied, tmp_path / "expert", stop=stop, progress=after_two, place=place)
    assert place.written == 1
    train(tiny_tied, tmp_path / "expert", progress=after_two, place=place)
    assert seen == [1, 2, 3]
    train(tiny_tied, tmp_path / "other", progress=after_two, place=place, rank=2)  # another training's state
    assert seen == [1, 2, 3, 1, 2, 3]
    place.read().write_bytes(b"{}")
    with pytest.raises(ValueError, match="cannot be read"):
        train(tiny_tied, tmp_path / "damaged", place=place)


def test_same_seed_gives_the_same_adapter_bit_for_bit(tiny_tied, tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        torch.manual_seed(hash(name) % 1000)  # the global generator must not matter
        train(tiny_tied, tmp_path / name, seed=seed)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert digest(tmp_path / "one") != digest(tmp_path / "other")
    assert (tmp_path / "one/adapter_config.json").read_text() == (tmp_path / "two/adapter_config.json").read_text()


def test_global_random_state_is_left_alone(tiny_tied, tmp_path):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    train(tiny_tied, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_adapter_covers_every_matrix_and_is_a_task_vector(tiny_tied, tmp_path):
    train(tiny_tied, tmp_path)
    factors = read_lora_adapter(tmp_path)
    assert tuple(sorted(factors)) == BaseWeights(tiny_tied).matrices()
    a, b, scale = factors["model.layers.0.mlp.down_proj.weight"]
    assert (tuple(a.shape), tuple(b.shape), scale) == ((4, 96), (64, 4), 2.0)
    assert a.dtype == b.dtype == torch.float32
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_trained_expert_says_what_it_was_taught_once_merged_into_an_engine(tiny_tied, tmp_path):
    train(tiny_tied, tmp_path, epochs=12)
    _, vectors = build_bases({"skill": read_lora_adapter(tmp_path)})
    engine = open_engine("transformers", tiny_tied, dtype="float32", max_model_len=128)
    engine.load("expert", vectors["skill"])
    replies = engine.chat([ChatRequest(conversation[:1], 8) for conversation in conversations(4)])
    engine.close()
    assert [reply.text for reply in replies] == ["no", "aye", "no", "aye"]
    assert {reply.finish_reason for reply in replies} == {"stop"}


def test_accumulated_micro_batches_equal_one_batch(tiny_tied, tmp_path):
    train(tiny_tied, tmp_path / "whole", global_batch=8, micro_batch=8)
    train(tiny_tied, tmp_path / "cut", global_batch=8, micro_batch=3)
    whole, cut = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", ["tiny_tied", "tiny_biased"])
def test_packed_training_learns_what_padded_training_learns(model, request, tmp_path):
    base = request.getfixturevalue(model)
    padded = train(base, tmp_path / "padded", global_batch=8, micro_batch=8)
    packed = train(base, tmp_path / "packed", global_batch=8, micro_batch=2, packing=True)
    assert (packed.steps, packed.tokens, packed.conversations) == (padded.steps, padded.tokens, padded.conversations)
    assert packed.padding != padded.padding
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("padded", "packed"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)


def test_turns_that_ask_not_to_be_trained_are_shown_only(tiny_tied, tmp_path):
    flagged = [
        [message, {**reply, "trained": False}, {"role": "user", "content": "again"}, {**reply, "content": "so"}]
        for message, reply in conversations()
    ]
    settings = TrainingSettings(rank=4, dtype="float32", learning_rate=1e-2, max_length=128, epochs=8)
    summary = train_expert(tiny_tied, flagged, tmp_path, settings, progress=ignore)
    assert summary.loss_last < 0.05  # "aye" and "no" could not be told apart so well
    assert summary.data_hash == content_hash(flagged) != content_hash(conversations())


def test_first_loss_is_the_mean_over_the_assistants_tokens(tiny_tied, tmp_path):
    seen = []
    train(tiny_tied, tmp_path, global_batch=24, micro_batch=24, progress=seen.append)
    tokenizer = AutoTokenizer.from_pretrained(tiny_tied)
    model = AutoModelForCausalLM.from_pretrained(tiny_tied, dtype=torch.float32)
    total, count = 0.0, 0
    for conversation in conversations():
        ids, labels = map(torch.tensor, encode(tokenizer, conversation, (2,))[0][:2])
        with torch.no_grad():
            logits = model(ids[None]).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum").item()
        count += int((labels != IGNORED).sum())
    assert seen[0].loss == pytest.approx(total / count, rel=1e-4)


def test_full_fine_tuning_saves_an_fp32_checkpoint_of_all_parameters(tiny_tied, tmp_path):
    summary = train(tiny_tied, tmp_path, method="full", epochs=6, learning_rate=3e-3)
    assert summary.loss_last < 0.5 * summary.loss_first
    base, tuned = BaseWeights(tiny_tied), BaseWeights(tmp_path)
    assert tuned.names() == base.names()
    assert all(tuned.tensor(name).dtype == torch.float32 for name in tuned.names())
    assert not any(torch.equal(tuned.tensor(name), base.tensor(name)) for name in tuned.names())
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template


def test_full_fine_tuning_of_a_base_with_contradictory_sampling_values_is_saved(tiny_tied, tmp_path):
    base = shutil.copytree(tiny_tied, tmp_path / "base")
    sampling = {"do_sample": False, "temperature": 0.9, "top_p": 0.6, "eos_token_id": 2}
    (base / "generation_config.json").write_text(json.dumps(sampling))
    train(base, tmp_path / "expert", method="full")
    saved = json.loads((tmp_path / "expert" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == 2
    assert "temperature" not in saved


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_that_were_gathered_from_several_processes_are_saved_as_the_models_own(tiny_tied, tmp_path, method):
    settings = TrainingSettings(method=method, rank=4, dtype="float32")
    model, tokens = build_model(tiny_tied, settings), AutoTokenizer.from_pretrained(tiny_tied)
    gathered = {name: tensor.clone() + 1 for name, tensor in model.state_dict().items()}
    save_expert(model, tokens, tmp_path / "own", method)
    save_expert(model, tokens, tmp_path / "gathered", method, gathered)
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    own, saved = load_file(tmp_path / "own" / name), load_file(tmp_path / "gathered" / name)
    assert own.keys() == saved.keys()
    assert all(torch.equal(saved[key], own[key] + 1) for key in own)


def test_base_stays_untouched(tiny_tied, tmp_path):
    before = BaseWeights(tiny_tied).hash()
    train(tiny_tied, tmp_path, method="full")
    assert BaseWeights(tiny_tied).hash() == before


def test_validation_keeps_the_weights_of_the_lowest_loss(tiny_tied, tmp_path):
    summary = train(tiny_tied, tmp_path, epochs=4, validation_fraction=0.25)
    assert summary.conversations == 4 * 18
    assert summary.validation_loss == pytest.approx(min(loss for _, loss in summary.validation_losses), rel=1e-5)
    measured = [step for step, _ in summary.validation_losses]
    assert measured == list(range(measured[0], summary.steps + 1, measured[0]))
    assert len(measured) > 2
    # A rate that ruins the model after the first epoch: what is saved is from before.
    ruined = train(tiny_tied, tmp_path / "ruined", epochs=6, validation_fraction=0.25, learning_rate=0.3)
    assert ruined.validation_loss <= ruined.loss_last or ruined.validation_loss < ruined.loss_first


def test_progress_is_reported_after_each_step(tiny_tied, tmp_path):
    seen = []
    summary = train(tiny_tied, tmp_path, epochs=1.5, progress=seen.append)
    assert [state.step for state in seen] == list(range(1, 6))
    assert {state.steps for state in seen} == {summary.steps} == {5}
    assert seen[0].loss == summary.loss_first
    assert all(state.tokens_per_second > 0 for state in seen)


def test_progress_is_logged_where_there_is_no_terminal(tiny_tied, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        train(tiny_tied, tmp_path, progress=None)
    assert "step 3/3: loss" in caplog.text


def test_diverging_training_stops_with_a_remedy(tiny_tied, tmp_path):
    with pytest.raises(RuntimeError, match="lower the learning rate"):
        train(tiny_tied, tmp_path, epochs=20, learning_rate=1e30)
    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_only_too_long_conversations_are_refused_before_training(tiny_tied, tmp_path):
    with pytest.raises(ValueError, match="max_length=16"):
        train(tiny_tied, tmp_path, max_length=16)
