"""Every tensor of a loaded part comes from its own safetensors files, or the part is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import find_checkpoint, load_denoiser, load_encoders, load_model
from motiontrace.attribution.families.loading import load_part, load_tokenizer
from motiontrace.curation.generation import load_pipeline
from tests.checkpoints import edited, tiny_cogvideox, tiny_wan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Tensors = dict[str, torch.Tensor]
PARTS = {
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
SHARED, EMBEDDING = "shared.weight", "encoder.embed_tokens.weight"


@pytest.fixture(scope="module", params=[tiny_wan, tiny_cogvideox])
def whole(request, tmp_path_factory) -> Path:
    return request.param(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def wan(tmp_path_factory) -> Path:
    return tiny_wan(tmp_path_factory.mktemp("wan") / "model")


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return copied(whole, tmp_path)


@pytest.fixture
def wan_copy(wan, tmp_path) -> Path:
    return copied(wan, tmp_path)


def copied(checkpoint: Path, folder: Path) -> Path:
    return shutil.copytree(checkpoint, folder / "copy")


def file_of(checkpoint: Path, part: str) -> Path:
    return checkpoint / part / f"{PARTS[part]}.safetensors"


def change(checkpoint: Path, part: str, how: Callable[[Tensors], Tensors]) -> None:
    file = file_of(checkpoint, part)
    save_file(how(load_file(file)), file, metadata={"format": "pt"})


def load(checkpoint: Path, part: str) -> torch.nn.Module:
    return load_part(find_checkpoint(str(checkpoint)), part, dtype=torch.float32, device=torch.device("cpu"))


def shards(checkpoint: Path, part: str) -> tuple[Path, Path, Path]:
    """Divides a part's weights into two files; those, and their index."""
    file = file_of(checkpoint, part)
    tensors, stem = load_file(file), PARTS[part]
    first, second = (file.with_name(f"{stem}-0000{n}-of-00002.safetensors") for n in (1, 2))
    names = sorted(tensors)
    halves = {first: names[: len(names) // 2], second: names[len(names) // 2 :]}
    for place, held in halves.items():
        save_file({name: tensors[name] for name in held}, place, metadata={"format": "pt"})
    index = file.with_name(f"{stem}.safetensors.index.json")
    listed = {name: place.name for place, held in halves.items() for name in held}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed}))
    file.unlink()
    return first, second, index


def remap(index: Path, how: Callable[[str, str], str]) -> None:
    values = json.loads(index.read_text())
    values["weight_map"] = {name: how(name, file) for name, file in values["weight_map"].items()}
    index.write_text(json.dumps(values))


def without_first(tensors: Tensors) -> Tensors:
    return {name: tensors[name] for name in sorted(tensors)[1:]}


def with_more(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: torch.ones(2, 2)}


def with_other_shape(tensors: Tensors) -> Tensors:
    name = max(tensors, key=lambda each: tensors[each].numel())
    return {**tensors, name: tensors[name].flatten()[:6].reshape(2, 3).clone()}


def with_nan(tensors: Tensors) -> Tensors:
    name = max(tensors, key=lambda each: tensors[each].numel())
    value = tensors[name].clone()
    value.view(-1)[-1] = float("nan")
    return {**tensors, name: value}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("how", "said"),
    [
        (without_first, r"1 tensor is missing in \S+\.safetensors: .*not whole"),
        (with_more("blocks.7.new.weight"), r"1 tensor is left over in \S+\.safetensors: blocks\.7\.new\.weight\."),
        (with_other_shape, r"1 tensor is of another shape: \S+ \(2x3 instead of [\dx]+\)\. config\.json and weights"),
        (lambda tensors: {f"model.{name}": each for name, each in tensors.items()}, r"differ by 'model\.' at their"),
        (with_more("blocks.0.attn1.to_q.lora_A.default.weight"), r"looks like a LoRA .*fuse_lora"),
        (with_more("blocks.0.attn1.to_q.weight_scale"), "quantised weights with their scales"),
        (with_more("scaled_fp8"), "quantised weights with their scales"),
        (with_nan, r"tensors? (is|are) not finite \(NaN or infinity\): "),
    ],
    ids=["missing", "left over", "shape", "prefix", "lora", "scale", "fp8 mark", "nan"],
)
def test_a_part_whose_tensors_do_not_fit_is_refused_by_name(copy, part, how, said):
    change(copy, part, how)
    with pytest.raises(ModelError, match=rf"could not be loaded: the weights of its {part} do not fit.*{said}"):
        load(copy, part)


@pytest.mark.parametrize("part", PARTS)
def test_three_names_and_their_number_are_told(copy, part):
    change(copy, part, lambda tensors: {name: tensors[name] for name in sorted(tensors)[6:]})
    with pytest.raises(ModelError, match=r"6 tensors are missing in \S+: \S+, \S+, \S+ and 3 more\."):
        load(copy, part)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool]
)
def test_quantised_weights_are_refused_before_they_are_read(copy, part, dtype):
    change(copy, part, lambda tensors: {name: each.to(dtype) for name, each in tensors.items()})
    with pytest.raises(ModelError, match=rf"its {part}: \S+ has quantised weights: .* Give the checkpoint in bfloat16"):
        find_checkpoint(str(copy))


@pytest.mark.parametrize(
    "open_it",
    [
        lambda folder: load_model(find_checkpoint(folder), timesteps=[500], dtype="float32", device="cpu"),
        lambda folder: load_encoders(find_checkpoint(folder), timesteps=[500], dtype="float32", device="cpu"),
        lambda folder: load_pipeline(folder, device="cpu"),
    ],
    ids=["model", "encoders", "pipeline"],
)
def test_every_way_of_loading_refuses_a_text_encoder_without_its_embedding(copy, open_it):
    change(copy, "text_encoder", lambda tensors: {n: each for n, each in tensors.items() if n != SHARED})
    with pytest.raises(ModelError, match=r"its text_encoder do not fit\. 2 tensors are missing"):
        open_it(str(copy))


def test_a_denoiser_alone_is_checked_too_and_the_second_of_two(wan, tmp_path):
    two = edited(wan, tmp_path, "model_index.json", boundary_ratio=0.5)
    shutil.copytree(two / "transformer", two / "transformer_2")
    file = two / "transformer_2" / "diffusion_pytorch_model.safetensors"
    save_file(without_first(load_file(file)), file)
    checkpoint = find_checkpoint(str(two))
    load_denoiser(checkpoint, timesteps=[900], dtype="float32", device="cpu")
    with pytest.raises(ModelError, match="its transformer_2 do not fit"):
        load_denoiser(checkpoint, timesteps=[100], dtype="float32", device="cpu")
    with pytest.raises(ModelError, match="its transformer_2 do not fit"):
        load_pipeline(str(two), device="cpu")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("transformer", "blocks.0.attn2.norm_added_q.weight"),  # diffusers keeps quiet about it
        ("text_encoder", "transformer.encoder.final_layer_norm.weight"),  # transformers takes it for the same
        ("text_encoder", "encoder.lora_decoder.weight"),  # and drops what is called a decoder's
    ],
)
def test_tensors_that_the_libraries_drop_in_silence_are_left_over_too(copy, part, name):
    change(copy, part, with_more(name))
    with pytest.raises(ModelError, match=rf"1 tensor is left over in \S+: {re.escape(name)}\."):
        load(copy, part)


@pytest.mark.parametrize("names", [[SHARED], [EMBEDDING], [SHARED, EMBEDDING]])
@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_may_have_either_of_its_names_or_both(copy, names, tied):
    """The published T5 say that input and output are not tied; that is about another pair."""
    config = copy / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": tied}))
    expected = load(copy, "text_encoder").get_input_embeddings().weight
    change(
        copy,
        "text_encoder",
        lambda tensors: (
            {n: each for n, each in tensors.items() if n != SHARED} | {name: tensors[SHARED].clone() for name in names}
        ),
    )
    encoder = load(copy, "text_encoder")
    assert torch.equal(encoder.get_input_embeddings().weight, expected)
    assert torch.equal(encoder.encoder.embed_tokens.weight, expected)


def test_two_values_of_the_one_embedding_are_refused(copy):
    change(copy, "text_encoder", lambda tensors: {**tensors, EMBEDDING: tensors[SHARED] + 1})
    with pytest.raises(ModelError, match="two names of one tensor, and have different values"):
        load(copy, "text_encoder")


def test_a_whole_t5_may_be_the_text_encoder(copy):
    expected = load(copy, "text_encoder").get_input_embeddings().weight
    for name in ("decoder.block.0.layer.0.SelfAttention.q.weight", "lm_head.weight"):
        change(copy, "text_encoder", with_more(name))
    assert torch.equal(load(copy, "text_encoder").get_input_embeddings().weight, expected)


def test_weights_of_another_architecture_are_told_as_that(wan, tmp_path):
    other = tiny_cogvideox(tmp_path / "other")
    mixed = copied(wan, tmp_path)
    shutil.copyfile(file_of(other, "transformer"), file_of(mixed, "transformer"))
    with pytest.raises(ModelError, match="of another architecture than a WanPipeline's"):
        load(mixed, "transformer")


def test_names_of_the_makers_own_code_are_told_as_that(wan_copy):
    change(
        wan_copy,
        "transformer",
        lambda tensors: {n.replace("attn1.to_", "self_attn."): each for n, each in tensors.items()},
    )
    with pytest.raises(ModelError, match=r"makers' own code\. Give the model in diffusers' layout"):
        load(wan_copy, "transformer")


@pytest.mark.parametrize("part", PARTS)
def test_shards_are_loaded_as_one_file_is(copy, part):
    expected = load(copy, part).state_dict()
    shards(copy, part)
    found = load(copy, part).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("../outside.safetensors", "not the bare name of a file beside it"),
        ("{folder}/outside.safetensors", "not the bare name of a file beside it"),
        ("..", "not the bare name of a file beside it"),
        ("sub\\outside.safetensors", "not the bare name of a file beside it"),
        ("pytorch_model.bin", "may hold a pickle"),
        ("absent.safetensors", "absent.safetensors does not exist"),
        ("pipe.safetensors", "named pipe"),
        ("broken.safetensors", "damaged or cut off"),
    ],
)
def test_an_index_that_names_anything_but_its_own_safetensors_files_is_refused(copy, part, named, said):
    first, _, index = shards(copy, part)
    shutil.copyfile(first, copy / "outside.safetensors")
    (copy / part / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(str(copy / "canary"))))
    (copy / part / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    os.mkfifo(copy / part / "pipe.safetensors")
    remap(index, lambda name, file: named.format(folder=copy) if file == first.name else file)
    with pytest.raises(ModelError, match=rf"(?s)its {part}: .*{said}"):
        find_checkpoint(str(copy))
    assert not (copy / "canary").exists()


class Canary:
    """Leaves a file where it is unpickled."""

    def __init__(self, file: str) -> None:
        self._file = file

    def __reduce__(self):
        return os.mkdir, (self._file,)


@pytest.mark.parametrize("part", PARTS)
def test_an_index_that_its_files_do_not_bear_out_is_refused(copy, part):
    first, second, index = shards(copy, part)
    right = index.read_text()
    remap(index, lambda name, file: second.name)
    with pytest.raises(ModelError, match=r"would be in .*, and not so"):
        find_checkpoint(str(copy))
    index.write_text(right)
    save_file({**load_file(first), **load_file(second)}, first)
    with pytest.raises(ModelError, match="is in two files"):
        find_checkpoint(str(copy))
    for weight_map in ({}, [], None, {"a": 1}, "x"):
        index.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(ModelError, match=r"weight_map in .* must name a file for each tensor"):
            find_checkpoint(str(copy))


@pytest.mark.parametrize("part", PARTS)
def test_weights_that_are_there_twice_are_refused(copy, part):
    file = file_of(copy, part)
    kept = file.read_bytes()
    shards(copy, part)
    file.write_bytes(kept)
    with pytest.raises(ModelError, match="it has weights twice"):
        find_checkpoint(str(copy))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"]
)
def test_an_adapter_beside_the_weights_is_told(copy, part, name):
    (copy / part / name).write_text(json.dumps({"base_model_name_or_path": str(copy / "elsewhere")}))
    with pytest.raises(ModelError, match=rf"its {part}: {name} lies beside its weights: an adapter \(LoRA\).*Merge it"):
        find_checkpoint(str(copy))


def test_a_lora_beside_the_parts_is_told(wan_copy):
    (wan_copy / "pytorch_lora_weights.safetensors").touch()
    with pytest.raises(ModelError, match=r"a LoRA lies beside it.*fuse_lora\(\).*Or move it"):
        find_checkpoint(str(wan_copy))


@pytest.mark.parametrize("name", ["blocks.0.attn1.to_q.lora_A.weight", "lora_unet_blocks_0.hada_w1_a"])
def test_a_lora_of_any_name_is_told_by_its_tensors_and_other_files_are_let_lie(wan_copy, name):
    for folder, said in ((wan_copy, "a LoRA lies beside it, style"), (wan_copy / "vae", "its vae: style")):
        file = folder / "style.safetensors"
        for content in (b"", b"no safetensors"):
            file.write_bytes(content)
            find_checkpoint(str(wan_copy))
        save_file({"blocks.0.attn1.to_q.weight": torch.ones(2)}, file)
        find_checkpoint(str(wan_copy))
        save_file({name: torch.ones(2)}, file)
        with pytest.raises(ModelError, match=said):
            find_checkpoint(str(wan_copy))
        file.unlink()


@pytest.mark.parametrize("part", [*PARTS, "tokenizer"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModel": "own.Model"}),
        ("quantization_config", {"load_in_4bit": True}),
        ("transformers_weights", "other.safetensors"),
        ("attn_implementation", "somebody/kernels"),
        ("_attn_implementation", "somebody/kernels"),
        ("fast_tokenizer_files", ["/elsewhere/tokenizer.4.0.json"]),
        ("tokenizer_file", "/elsewhere/tokenizer.json"),
    ],
)
def test_a_configuration_that_would_steer_the_library_is_refused(copy, part, key, value):
    file = copy / part / ("tokenizer_config.json" if part == "tokenizer" else "config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(ModelError, match=f"has {key}, by which a library would run other code"):
        find_checkpoint(str(copy))


def test_pickles_code_and_adapters_of_other_names_are_never_seen_by_the_libraries(copy):
    """Among them a distributed checkpoint, which transformers would prefer, and whose index is a pickle."""
    expected = load(copy, "text_encoder").get_input_embeddings().weight
    canary = copy / "canary"
    for part in (*PARTS, "tokenizer"):
        for name in ("pytorch_model.bin", ".metadata", "__0_0.distcp", "vocab.pkl", "model.flashpack"):
            (copy / part / name).write_bytes(pickle.dumps(Canary(str(canary))))
        (copy / part / "own.py").write_text(f"import os; os.mkdir({str(canary)!r})")
    load_pipeline(str(copy), device="cpu")
    checkpoint = find_checkpoint(str(copy))
    model = load_model(checkpoint, timesteps=[500], dtype="float32", device="cpu")
    assert load_tokenizer(checkpoint)("a ball").input_ids
    assert model.encode_prompt("a ball").shape[0] == 1
    assert torch.equal(load(copy, "text_encoder").get_input_embeddings().weight, expected)
    assert not canary.exists()


def test_weights_may_be_links_to_files_elsewhere_as_in_the_hubs_cache(copy, tmp_path):
    expected = load(copy, "text_encoder").get_input_embeddings().weight
    for part in PARTS:
        file = file_of(copy, part)
        blob = file.rename(tmp_path / f"blob-{part}")
        file.symlink_to(os.path.relpath(blob, file.parent))
    assert torch.equal(load(copy, "text_encoder").get_input_embeddings().weight, expected)
    (tmp_path / "blob-vae").unlink()
    with pytest.raises(ModelError, match=r"its vae: .* is a link to a file that does not exist"):
        find_checkpoint(str(copy))


def test_what_is_saved_of_a_part_says_where_it_is_from(wan):
    assert load(wan, "transformer").config._name_or_path == str(wan)
    assert load(wan, "text_encoder").config.name_or_path == str(wan)


def test_the_libraries_bars_and_warnings_are_not_printed(copy, capfd):
    for part in PARTS:
        shards(copy, part)
    capfd.readouterr()
    load_pipeline(str(copy), device="cpu")
    model = load_model(find_checkpoint(str(copy)), timesteps=[500], dtype="float32", device="cpu")
    model.encode_prompt("a ball falls " * 500)
    change_shard = next((copy / "text_encoder").glob("*-00001-*.safetensors"))
    save_file(with_more("another")(load_file(change_shard)), change_shard)
    with pytest.raises(ModelError, match="left over"):
        load(copy, "text_encoder")
    assert capfd.readouterr() == ("", "")
