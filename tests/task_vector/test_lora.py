import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from cycleqd.randomness import rng
from cycleqd.search.operators import SvdMutation
from cycleqd.task_vector import build_bases, read_lora_adapter, save_lora_adapter, to_lora, weighted_sum
from tests.toy_experts import SHAPES, assert_close, deltas, factored_experts, mutate

TARGETS = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def trained_adapter(base: Path, out: Path, seed: int, **options: object) -> Path:
    torch.manual_seed(seed)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, task_type="CAUSAL_LM", **options)  # type: ignore[arg-type]
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(out)
    return out


def merged_parameters(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), adapter)
    return dict(model.merge_and_unload().named_parameters())


def test_factors_multiply_to_the_delta() -> None:
    vector = factored_experts(0)["os"]
    factors = to_lora(vector)
    assert_close({name: b @ a for name, (a, b) in factors.items()}, deltas(vector))
    for name, (m, n) in SHAPES.items():
        rank = min(m, n, 9)
        assert (factors[name][0].shape, factors[name][1].shape) == ((rank, n), (m, rank))


@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}]
)
def test_an_adapter_of_peft_becomes_a_task_vector(base: Path, tmp_path: Path, options: dict[str, object]) -> None:
    adapter = trained_adapter(base, tmp_path / "os", 1, **options)
    _, experts = build_bases({"os": read_lora_adapter(adapter)})
    untouched = dict(LlamaForCausalLM.from_pretrained(base).named_parameters())
    merged = merged_parameters(base, adapter)
    assert len(experts["os"].names()) == 6
    for name, parameter in merged.items():
        delta = experts["os"].delta(name) if name in experts["os"].names() else 0.0
        torch.testing.assert_close(parameter, untouched[name] + delta, rtol=0, atol=1e-5)


def test_a_child_written_as_an_adapter_is_loaded_by_peft_as_base_plus_delta(base: Path, tmp_path: Path) -> None:
    factors = {
        skill: read_lora_adapter(trained_adapter(base, tmp_path / skill, i)) for i, skill in enumerate(("os", "db"))
    }
    _, experts = build_bases(factors)
    mixed = weighted_sum([0.5, 0.5], list(experts.values()))
    child = mutate(SvdMutation(), mixed, experts["os"], rng(0, 0, "mutation")).child
    save_lora_adapter(child, str(base), tmp_path / "child")  # type: ignore[arg-type]
    assert json.loads((tmp_path / "child" / "adapter_config.json").read_text())["r"] == 8
    untouched = dict(LlamaForCausalLM.from_pretrained(base).named_parameters())
    for name, parameter in merged_parameters(base, tmp_path / "child").items():
        delta = child.delta(name) if name in child.names() else 0.0
        torch.testing.assert_close(parameter, untouched[name] + delta, rtol=0, atol=1e-5)


def test_the_adapter_gives_the_logits_of_the_merged_model(base: Path, tmp_path: Path) -> None:
    _, experts = build_bases({"os": read_lora_adapter(trained_adapter(base, tmp_path / "os", 1))})
    save_lora_adapter(experts["os"], str(base), tmp_path / "again")
    tokens = torch.arange(10)[None]
    logits = []
    for adapter in ("os", "again"):
        model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), tmp_path / adapter).eval()
        with torch.no_grad():
            logits.append(model(tokens).logits)
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_dora", True),
        ("bias", "all"),
        ("lora_bias", True),
        ("modules_to_save", ["lm_head"]),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "corda"),
        ("layer_replication", [[0, 1], [0, 1]]),
        ("trainable_token_indices", [1, 2]),
        ("target_parameters", ["mlp.gate_proj.weight"]),
        ("peft_type", "LOHA"),
        ("an_option_of_next_year", True),
    ],
)
def test_adapters_that_are_more_than_lora_are_refused(base: Path, tmp_path: Path, option: str, value: object) -> None:
    adapter = trained_adapter(base, tmp_path / "os", 1)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {option: value}))
    with pytest.raises(ValueError, match=f"{option}.* is not supported"):
        read_lora_adapter(adapter)


def test_factors_of_another_rank_than_the_configuration_says_have_no_known_scale(base: Path, tmp_path: Path) -> None:
    adapter = trained_adapter(base, tmp_path / "os", 1)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"rank_pattern": {"q_proj": 2}}))
    with pytest.raises(ValueError, match=r"factors of rank 4, adapter_config\.json says 2"):
        read_lora_adapter(adapter)


def test_tensors_that_are_no_factors_are_refused(base: Path, tmp_path: Path) -> None:
    adapter = trained_adapter(base, tmp_path / "os", 1)
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file(tensors | {"base_model.model.lm_head.weight": torch.ones(2)}, adapter / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="no LoRA factors"):
        read_lora_adapter(adapter)


def test_noise_and_parameters_that_are_no_weights_have_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="full rank"):
        to_lora(factored_experts(0)["os"].add_noise(1, 0.1))
    _, experts = build_bases({"os": {"experts.gate": (torch.ones(1, 4), torch.ones(3, 1), 1.0)}})
    with pytest.raises(ValueError, match="no place for it"):
        save_lora_adapter(experts["os"], "base", tmp_path)
