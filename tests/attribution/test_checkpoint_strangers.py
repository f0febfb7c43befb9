"""What is no checkpoint, or not one of ours, is told in its own words, before anything large is read."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from motiontrace.attribution.errors import ModelError
from motiontrace.attribution.families import find_checkpoint, load_model
from motiontrace.attribution.families.loading import load_tokenizer
from motiontrace.curation.finetuning.objective import checkpoint_timesteps
from motiontrace.curation.generation import GenerationSettings, load_pipeline
from tests.checkpoints import edited, tiny_cogvideox, tiny_wan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WEIGHTS = "diffusion_pytorch_model.safetensors"
NO_PIPELINE = r"has no model_index\.json"


@pytest.fixture(scope="module")
def wan(tmp_path_factory) -> Path:
    return tiny_wan(tmp_path_factory.mktemp("wan") / "model")


@pytest.fixture(scope="module")
def cogvideox(tmp_path_factory) -> Path:
    return tiny_cogvideox(tmp_path_factory.mktemp("cogvideox") / "model")


@pytest.fixture
def copy(wan, tmp_path) -> Path:
    return shutil.copytree(wan, tmp_path / "copy")


@pytest.fixture(autouse=True)
def nothing_is_hashed(monkeypatch):
    monkeypatch.setattr(
        "motiontrace.attribution.families.hashing.file_sha256", lambda file: pytest.fail(f"{file} is hashed")
    )


def put(checkpoint: Path, file: str, **values: object) -> Path:
    """Changes values of one of its JSON files."""
    (checkpoint / file).write_text(json.dumps({**json.loads((checkpoint / file).read_text()), **values}))
    return checkpoint


def refused(path: object, said: str) -> None:
    with pytest.raises(ModelError, match=f"(?s){said}"):
        find_checkpoint(str(path))


def tensors(*names: str, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2, 2).to(dtype) for name in names}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (tensors("diffusion_model.blocks.0.self_attn.q.lora_A.weight"), "is a LoRA, which is no model by itself.*fuse"),
        (tensors("lora_unet_blocks_0_self_attn_q.lora_down.weight"), "is a LoRA"),
        (tensors("model.diffusion_model.blocks.0.self_attn.q.weight"), "a single file, with names as its makers' own"),
        (tensors("blocks.0.self_attn.q.weight", dtype=torch.float8_e4m3fn), r"quantised \(fp8\) weights.*-Diffusers"),
        (tensors("blocks.0.attn1.to_q.weight"), "is a single file; a checkpoint is a folder with the text encoder"),
    ],
)
def test_a_single_safetensors_file_is_told_by_what_is_in_it(tmp_path, held, said):
    save_file(held, tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", said)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.ckpt", b"x", "is a single file, and only folders of .safetensors files are loaded"),
        ("wan-Q4.gguf", b"x", "is a single file"),
        ("model.safetensors", b"cut off", "is damaged or cut off"),
        ("model.safetensors", b"", "is empty"),
        ("model_index.json", b"{}", "give its folder"),
    ],
)
def test_other_files_are_told(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, said)


def test_a_pipe_or_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "named pipe")
    refused("/dev/zero", "is a device")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"pytorch_lora_weights.safetensors": ""}, "it holds a LoRA.*`motiontrace compare` takes the folder"),
        ({"adapter_config.json": "{}", "adapter_model.safetensors": ""}, r"it holds a LoRA \(adapter_config\.json\)"),
        ({"modular_model_index.json": "{}"}, "a modular one"),
        ({"config.json": '{"_class_name": "WanTransformer3DModel"}'}, "it is one part of a checkpoint"),
        ({"config.json": '{"architectures": ["UMT5EncoderModel"]}'}, "it is one part of a checkpoint"),
        (
            {"config.json": '{"_class_name": "WanModel"}', "Wan2.1_VAE.pth": ""},
            "weights in another layout .*-Diffusers",
        ),
        ({"config.json": "[", "wan.safetensors": ""}, "weights in another layout"),
        ({"config.json": '{"architectures": 7}', "wan.safetensors": ""}, "weights in another layout"),
        ({"inner/model_index.json": "{}", "wan.safetensors": ""}, "Give the folder inner in it, which is one"),
        ({}, "Give the folder that pipeline.save_pretrained"),
    ],
)
def test_a_folder_that_is_no_pipeline_is_told_by_what_is_in_it(tmp_path, files, said):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    refused(tmp_path, f"{NO_PIPELINE}.*{said}")


def test_a_folder_with_a_lora_of_any_name_is_told(tmp_path):
    save_file(tensors("blocks.0.attn1.to_q.lora_A.weight"), tmp_path / "style.safetensors")
    refused(tmp_path, rf"{NO_PIPELINE}.*it holds a LoRA \(style\.safetensors\)")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["pytorch_lora_weights.safetensors"], "it holds a LoRA"),
        (["Wan2.1_VAE.pth"], r"weights in another layout \(Wan2\.1_VAE\.pth\).*-Diffusers"),
        (["split_files/vae/wan.safetensors"], "weights in another layout"),
        (["small/model_index.json", "small/vae/x.safetensors"], "Give the folder small in it"),
        ([], "Give the folder that pipeline.save_pretrained"),
    ],
)
def test_what_is_on_the_hub_is_told_by_the_names_of_its_files(tmp_path, monkeypatch, names, said):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with hub(names) as address:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        refused("me/model", rf"the hub's me/model {NO_PIPELINE}.*{said}")


@contextmanager
def hub(names: list[str]) -> Iterator[str]:
    """The address of a hub whose repositories all have files of these names."""
    about = {"id": "me/model", "sha": "c" * 40, "siblings": [{"rfilename": name} for name in names]}
    tree = [{"type": "file", "path": name, "size": 5, "oid": "a" * 40} for name in names]

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(tree if "/tree/" in self.path else about).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_home_that_nobody_has_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused("~nobody-of-this-name/model", "there is no folder ~nobody-of-this-name/model")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WanImageToVideoPipeline", "starts from an image.*give the text-to-video checkpoint"),
        ("WanVACEPipeline", "is steered by videos and masks"),
        ("WanVideoToVideoPipeline", "name 'WanPipeline' there instead"),
        ("CogVideoXVideoToVideoPipeline", "name 'CogVideoXPipeline' there instead"),
        ("SkyReelsV2DiffusionForcingPipeline", "a Wan by its architecture"),
        ("WanSomethingNewPipeline", "a relative of the supported ones"),
        ("StableDiffusionPipeline", "supported: CogVideoXPipeline and WanPipeline"),
        ("wanpipeline", "supported: CogVideoXPipeline and WanPipeline"),
    ],
)
def test_other_pipelines_are_told_by_what_they_are(copy, name, said):
    refused(put(copy, "model_index.json", _class_name=name), f"names the pipeline '{name}'.*{said}")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["diffusers", "WanPipeline"], "a list"),
        (7, "a number"),
        (1.5, "a number"),
        (None, "null"),
        (True, "the truth value true"),
        ({"a": 1}, "an object"),
    ],
)
def test_class_names_of_other_types_are_told(copy, value, said):
    if value is not None:  # a part's may be left out
        for part in ("vae", "transformer"):
            refused(put(copy, f"{part}/config.json", _class_name=value), rf"_class_name in \S*{part}\S* is {said}")
    refused(put(copy, "model_index.json", _class_name=value), f"_class_name in .* must be .* is {said}; supp")


def test_a_missing_class_name_is_told(copy):
    (copy / "model_index.json").write_text("{}")
    refused(copy, "has no _class_name")


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b"7", b"null", b'"x"', b"\xff\xfe\0", b"[" * 100_000, b'{"a": 1}}', b"NaN"]
)
@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "transformer/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "tokenizer/tokenizer_config.json",
        "motiontrace.json",
    ],
)
def test_broken_json_is_told_with_its_file(copy, file, broken):
    (copy / file).write_bytes(broken)
    refused(copy, rf"{file}( is not valid JSON| must hold a JSON object| is empty)")


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"_class_name": 7}', b'{"_class_name": ["a"]}', b"{}"])
def test_a_broken_schedule_is_told_with_its_file(copy, cogvideox, tmp_path, broken):
    for checkpoint in (copy, edited(cogvideox, tmp_path, "model_index.json")):
        (checkpoint / "scheduler" / "scheduler_config.json").write_bytes(broken)
        with pytest.raises(ModelError, match=r"scheduler"):
            load_model(find_checkpoint(str(checkpoint)), timesteps=[500], dtype="float32", device="cpu")
    (copy / "scheduler" / "scheduler_config.json").write_bytes(b"[]")
    with pytest.raises(ModelError, match="does not say how noise levels are shifted"):
        checkpoint_timesteps(find_checkpoint(str(copy)))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("boundary_ratio", "0.9", "must be a number from 0 to 1"),
        ("boundary_ratio", [0.9], "must be a number"),
        ("boundary_ratio", 7, "must be a number"),
        ("boundary_ratio", float("nan"), "must be a number"),
        ("boundary_ratio", True, "must be a number"),
        ("expand_timesteps", "yes", "must be true, false or null"),
        ("expand_timesteps", 1, "must be true, false or null"),
        ("transformer", ["diffusers", "WanVACETransformer3DModel"], "the transformer is a WanVACETransformer3DModel"),
        ("text_encoder", ["transformers", "CLIPTextModel"], "the text_encoder is a CLIPTextModel"),
        ("vae", ["own_code", "Vae"], "takes its vae from 'own_code'"),
        ("image_encoder", ["own_code", "Encoder"], "takes its image_encoder from 'own_code'"),
        ("vae", [], "must name a library and a class for vae"),
        ("vae", "AutoencoderKLWan", "has a text there"),
        ("tokenizer", {"a": 1}, "has an object there"),
        ("scheduler", [1, 2], "must name a library"),
    ],
)
def test_what_model_index_says_wrongly_is_told(copy, key, value, said):
    refused(put(copy, "model_index.json", **{key: value}), said)


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("transformer/config.json", "in_channels", 9, "takes 9 channels where the autoencoder gives 4"),
        ("transformer/config.json", "image_dim", 1280, "image_dim is 1280"),
        ("transformer/config.json", "added_kv_proj_dim", 32, "added_kv_proj_dim is 32"),
        ("vae/config.json", "z_dim", 16, "takes 4 channels where the autoencoder gives 16"),
        ("transformer/config.json", "in_channels", "four", "takes four channels"),
    ],
)
def test_a_transformer_that_takes_more_than_a_prompt_is_told(copy, file, key, value, said):
    """Whatever the pipeline is called."""
    refused(put(copy, file, **{key: value}), f"not of a text-to-video checkpoint: .*{said}.*Image-to-video and control")


def test_the_second_of_two_denoisers_is_needed_for_a_video(copy):
    with pytest.raises(ModelError, match="is not whole: it has no folder transformer_2"):
        load_pipeline(str(put(copy, "model_index.json", boundary_ratio=0.9)), device="cpu")


def test_what_the_system_refuses_is_told_with_the_path(copy, monkeypatch):
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    (copy / "model_index.json").unlink()
    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    refused(copy, f"^{copy} could not be read: Permission denied$")


def test_a_scheduler_that_diffusers_has_not_is_told(copy):
    for name in ("NoSuchScheduler", "WanPipeline", "utils", "UNet2DModel"):
        put(copy, "model_index.json", scheduler=["diffusers", name])
        with pytest.raises(ModelError, match=f"'{name}' is no scheduler of diffusers"):
            load_pipeline(str(copy), device="cpu")


def test_a_text_encoder_of_another_model_is_told(copy):
    refused(put(copy, "text_encoder/config.json", model_type="t5"), "model_type in .* is 't5'; .* has 'umt5'")


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_folders_with_a_variant_alone_are_told_how_to_save_them(copy, part):
    (file,) = (copy / part).glob("*.safetensors")
    file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    refused(copy, rf"its {part}: it has no .safetensors file but those of the variant fp16 .*variant='fp16'")
    assert f"from_pretrained({str(copy)!r}, variant='fp16', dtype=torch.float16).save_pretrained" in told(copy)


def told(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        find_checkpoint(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("diffusion_pytorch_model.fp16-00001-of-00002.safetensors", "the variant fp16"),
        ("diffusion_pytorch_model.safetensors.index.fp16.json", "the variant fp16"),
        (
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            r"diffusion_pytorch_model\.safetensors\.index\.json is mis",
        ),
        ("wan_fp16.safetensors", r"diffusion_pytorch_model\.safetensors is missing, and wan_fp16\.safetensors there"),
        ("diffusion_pytorch_model.bin", "may be a pickle, which can run code.*safe_serialization=True"),
        ("notes.txt", "it has no .safetensors file. Copy"),
    ],
)
def test_weights_under_other_names_are_told(copy, name, said):
    (file,) = (copy / "transformer").glob("*.safetensors")
    file.rename(file.with_name(name))
    refused(copy, f"its transformer: .*{said}")


def test_a_pointer_of_git_lfs_is_told_as_that(copy):
    (copy / "vae" / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    refused(copy, "its vae: .* is a pointer of Git LFS.*git lfs pull")


def test_a_cut_off_file_is_told_as_that(copy):
    file = copy / "vae" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-8])
    refused(copy, "its vae: .* is damaged or cut off")


def test_a_configuration_that_its_class_cannot_follow_is_told_with_its_part(copy):
    there = put(copy, "transformer/config.json", num_layers="two")
    with pytest.raises(ModelError, match="its transformer is none that diffusers' WanTransformer3DModel takes"):
        load_model(find_checkpoint(str(there)), timesteps=[500], dtype="float32", device="cpu")


@pytest.mark.parametrize("family", ["wan", "cogvideox"])
def test_a_text_encoder_of_another_size_is_told(request, tmp_path, family):
    checkpoint = edited(request.getfixturevalue(family), tmp_path, "text_encoder/config.json", d_model=32)
    refused(checkpoint, "its text_encoder gives 32 numbers a token, and its transformer takes 16")


def test_a_tokenizer_without_its_vocabulary_is_told(copy):
    """transformers makes one that knows no word: all prompts would be the same to the model."""
    file = copy / "tokenizer" / "tokenizer.json"
    file.unlink()
    refused(copy, r"tokenizer has no vocabulary: neither tokenizer\.json nor spiece\.model is there")
    os.mkfifo(file)
    refused(copy, "has no vocabulary")


def test_a_tokenizer_that_cannot_pad_is_told(copy):
    (copy / "tokenizer" / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="its tokenizer has no token to pad prompts with"):
        load_tokenizer(find_checkpoint(str(copy)))


def test_a_tokenizer_that_is_damaged_or_of_another_model_is_told(copy):
    model = find_checkpoint(str(copy))
    (copy / "tokenizer" / "tokenizer.json").write_text('{"version": 7}')
    with pytest.raises(ModelError, match="its tokenizer is none that transformers' AutoTokenizer takes"):
        load_tokenizer(model)
    put(copy, "text_encoder/config.json", vocab_size=50)
    tokenizer = tiny_wan(copy / "other") / "tokenizer" / "tokenizer.json"
    shutil.copyfile(tokenizer, copy / "tokenizer" / "tokenizer.json")
    with pytest.raises(ModelError, match="its tokenizer has 98 tokens, and its text_encoder knows 50"):
        load_tokenizer(model)


def test_sizes_that_cogvideox_does_not_say_are_asked_for(cogvideox, tmp_path):
    there = edited(cogvideox, tmp_path, "motiontrace.json", height=None)
    for value in ("large", None, [8], 0, True):
        put(there, "transformer/config.json", sample_height=value)
        with pytest.raises(ModelError, match=r"height is .*, and must be a whole number above 0"):
            GenerationSettings.of(find_checkpoint(str(there)))
    assert GenerationSettings.of(find_checkpoint(str(there)), height=32).height == 32


@pytest.mark.parametrize(("name", "value"), [("frames", "81"), ("width", 32.5), ("height", -1), ("fps", "slow")])
def test_sizes_that_motiontrace_json_says_wrongly_are_told(copy, name, value):
    checkpoint = find_checkpoint(str(put(copy, "motiontrace.json", **{name: value})))
    with pytest.raises(ModelError, match=rf"{name} is .*, and must be a .*number above 0: see \S*motiontrace\.json"):
        GenerationSettings.of(checkpoint)


def test_shards_of_one_file_are_fine(copy):
    """As some savers write them."""
    file = copy / "transformer" / WEIGHTS
    shard = file.rename(file.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    index = {"weight_map": dict.fromkeys(load_file(shard), shard.name)}
    (copy / "transformer" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    load_model(find_checkpoint(str(copy)), timesteps=[500], dtype="float32", device="cpu")
