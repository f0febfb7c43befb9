"""Whole runs: what they learn, what they leave, what they refuse."""

import json
import os
import shutil
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import CogVideoXPipeline, DiffusionPipeline, WanPipeline
from safetensors.torch import load_file, save_file

from motiontrace.attribution.errors import GradientError
from motiontrace.attribution.families import find_checkpoint, load_model
from motiontrace.attribution.families.fingerprint import formers
from motiontrace.attribution.video import read_video
from motiontrace.curation.finetuning import training
from motiontrace.curation.finetuning.errors import FinetuningError
from motiontrace.curation.finetuning.objective import sample_timesteps, training_loss
from motiontrace.curation.finetuning.order import clip_order, draw_generator
from motiontrace.curation.finetuning.planning import plan_settings
from motiontrace.curation.finetuning.run import finetune
from motiontrace.indexer.manifest import ManifestError
from tests.checkpoints import edited
from tests.curation.finetuning.runs import LORA, SMALL, Heard, run, summary, trained, write_clips, write_rows

FAMILIES = pytest.mark.parametrize(("family", "pipeline"), [("wan", WanPipeline), ("cogvideox", CogVideoXPipeline)])


def generate(pipeline: DiffusionPipeline) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        "a square",
        num_frames=5,
        height=32,
        width=32,
        num_inference_steps=2,
        guidance_scale=1.0,
        output_type="np",
        max_sequence_length=24,
        generator=torch.Generator().manual_seed(0),
    ).frames


@FAMILIES
def test_lora_is_loaded_by_the_pipeline_and_changes_what_it_generates(family, pipeline, clips, tmp_path, request):
    model = request.getfixturevalue(family)
    listener = Heard()
    result = run(clips, model, tmp_path, train_steps=3, learning_rate=0.02, listener=listener)
    assert [done for done, _, _ in listener.steps] == [1, 2, 3]
    assert [loss for _, loss, _ in listener.steps] == result.losses == summary(tmp_path)["losses"]
    base = pipeline.from_pretrained(model, dtype=torch.float32)
    plain = generate(base)
    base.load_lora_weights(tmp_path)
    config = base.transformer.peft_config["default_0"]
    assert (config.r, config.lora_alpha) == (4, 8)
    assert config.target_modules == {"to_q", "to_k", "to_v", "to_out.0"}
    weights = trained(tmp_path)
    assert sum(tensor.numel() for tensor in weights.values()) == listener.parameters
    assert (tmp_path / LORA).stat().st_mode == (tmp_path / "finetuning.json").stat().st_mode
    loaded = dict(base.transformer.named_parameters())
    for name, tensor in weights.items():
        place = name.removeprefix("transformer.").replace(".weight", ".default_0.weight")
        assert torch.equal(loaded[place], tensor)
    assert not np.allclose(generate(base), plain, atol=1e-4)
    base.unload_lora_weights()
    assert np.array_equal(generate(base), plain)


@FAMILIES
def test_whole_denoiser_is_left_as_a_pipeline(family, pipeline, clips, tmp_path, request):
    model = request.getfixturevalue(family)
    listener = Heard()
    run(clips, model, tmp_path, training_type="full", train_steps=2, learning_rate=0.01, listener=listener)
    tuned, base = (pipeline.from_pretrained(folder, dtype=torch.float32) for folder in (tmp_path, model))
    assert not np.allclose(generate(tuned), generate(base), atol=1e-4)
    assert listener.parameters == sum(each.numel() for each in base.transformer.parameters())
    changed = [
        name
        for name, each in base.transformer.state_dict().items()
        if not torch.equal(tuned.transformer.state_dict()[name], each)
    ]
    assert len(changed) > 0.9 * len(base.transformer.state_dict())
    for part in ("vae", "text_encoder"):
        weights = next((tmp_path / part).glob("*.safetensors"))
        assert weights.samefile(model / part / weights.name)  # a hard link: no second copy of gigabytes
    assert find_checkpoint(str(tmp_path)).recommended == find_checkpoint(str(model)).recommended
    assert find_checkpoint(str(tmp_path)).digest() != find_checkpoint(str(model)).digest()


def test_parts_are_copied_where_they_cannot_be_linked(clips, wan, tmp_path, monkeypatch):
    def other_file_system(*paths: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_file_system)
    run(clips, wan, tmp_path, training_type="full", train_steps=1)
    weights = next((tmp_path / "vae").glob("*.safetensors"))
    assert weights.read_bytes() == (wan / "vae" / weights.name).read_bytes()
    assert not weights.samefile(wan / "vae" / weights.name)


def test_run_is_the_plain_loop_of_the_training_scripts(clips, wan, tmp_path):
    """Written out with nothing of the run but its order of draws: the same losses and weights."""
    wanted = {
        "train_steps": 3,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.003,
        "lr_warmup_steps": 2,
        "caption_dropout_p": 0.5,
        "training_type": "full",
        "max_grad_norm": 0.3,
    }
    result = run(clips, wan, tmp_path, **wanted)
    settings = plan_settings(find_checkpoint(str(wan)), wanted, "cpu")
    model = load_model(find_checkpoint(str(wan)), timesteps=[751], dtype="float32", device="cpu")
    rows = [json.loads(line) for line in (clips / "metadata.jsonl").read_text().splitlines()]
    model.denoiser.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.denoiser.parameters(), 0.003, (0.9, 0.95), 1e-8, 1e-4)
    order, losses, empty = clip_order([1.0] * 4, settings.seed), [], 0
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 0.003 * min(1, step / 2)
        total = 0.0
        for draw in range(4 * step, 4 * step + 4):
            row, generator = rows[next(order)], draw_generator(settings.seed, draw)
            frames = read_video(clips / row["file_name"], frames=5, height=32, width=32).frames
            latent = model.encode_video(torch.from_numpy(frames)[None])
            timestep = sample_timesteps(1, generator, settings.timesteps, 1000)
            dropped = torch.rand(1, generator=generator).item() < 0.5
            empty += dropped
            prompt = model.encode_prompt("" if dropped else row["caption"])
            noise = torch.randn(latent.shape, generator=generator)
            loss = training_loss(model, latent, prompt, timestep, noise).mean() / 4
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.denoiser.parameters(), 0.3)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    assert 0 < empty < 12
    assert result.losses == pytest.approx(losses, rel=1e-5)
    for name, tensor in trained(tmp_path).items():
        assert torch.allclose(model.denoiser.state_dict()[name], tensor, atol=1e-5), name


def test_how_a_step_is_divided_changes_nothing(clips, wan, tmp_path):
    divided = {"batch_size": 1, "gradient_accumulation_steps": 4, "gradient_checkpointing": True}
    whole = run(clips, wan, tmp_path / "whole", batch_size=4, train_steps=3)
    parts = run(clips, wan, tmp_path / "parts", **divided, train_steps=3)
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    for name, tensor in trained(tmp_path / "whole").items():
        assert torch.allclose(trained(tmp_path / "parts")[name], tensor, atol=1e-5)


def test_loss_falls_when_one_clip_is_learned_by_heart(wan, tmp_path):
    (tmp_path / "one").mkdir()
    one = write_clips(tmp_path / "one", 1)
    result = run(one, wan, tmp_path / "out", training_type="full", train_steps=60, batch_size=8, learning_rate=0.005)
    means = [float(np.mean(result.losses[start : start + 15])) for start in range(0, 60, 15)]
    assert all(later < earlier for earlier, later in pairwise(means))
    assert means[-1] < 0.8 * means[0]


@pytest.mark.parametrize("family", ["wan", "cogvideox"])
@pytest.mark.parametrize("training_type", ["lora", "full"])
def test_bf16_learns_nearly_the_same_and_leaves_float32(family, training_type, clips, tmp_path, request):
    model = request.getfixturevalue(family)
    settings = {"train_steps": 2, "learning_rate": 0.005, "training_type": training_type}
    half = run(clips, model, tmp_path / "half", mixed_precision="bf16", **settings)
    AcceleratorState._reset_state(reset_partial_state=True)
    whole = run(clips, model, tmp_path / "whole", **settings)
    assert half.losses == pytest.approx(whole.losses, rel=0.02)
    assert half.losses != whole.losses
    assert all(tensor.dtype == torch.float32 for tensor in trained(tmp_path / "half").values())


def test_no_video_being_there_is_told_before_the_checkpoint_is_looked_for(tmp_path):
    rows = [{"file_name": "gone.mp4", "caption": "a"}]
    with pytest.raises(ManifestError, match=r"none of the 1 videos .* the first as .*gone\.mp4"):
        finetune(write_rows(tmp_path, rows), "no/checkpoint", tmp_path / "out", {}, Heard())
    assert not (tmp_path / "out").exists()


def test_broken_clips_are_told_and_the_run_goes_on(clips, wan, tmp_path):
    shutil.copytree(clips, tmp_path / "clips")
    (tmp_path / "clips" / "junk.mp4").write_bytes(b"no video at all")
    rows = [{"file_name": f"{name}.mp4", "caption": name} for name in ("0", "junk", "2", "gone")]
    rows.append({"file_name": "0.mp4", "caption": ["no text"]})
    listener = Heard()
    result = run(write_rows(tmp_path / "clips", rows), wan, tmp_path / "out", train_steps=2, listener=listener)
    assert [(clip.number, clip.name, clip.code) for clip in result.broken] == [
        (2, "junk.mp4", "not_a_video"),
        (4, "gone.mp4", "missing_file"),
    ]
    assert "correct the path in the manifest" in result.broken[1].reason
    assert [clip and clip.number for clip in listener.broken] == [None, 2, None, 4]
    assert [clip["name"] for clip in summary(tmp_path / "out")["broken"]] == ["junk.mp4", "gone.mp4"]
    assert [line.split(":")[0] for line in summary(tmp_path / "out")["refused_rows"]] == [
        "the caption is no text, 1 row (line 5)"
    ]
    assert result.clips == 2
    assert len(result.losses) == 2


def test_run_with_no_clip_that_can_be_used_says_why(wan, tmp_path):
    (tmp_path / "junk.mp4").write_text("no video")
    folder = write_rows(tmp_path, [{"file_name": "junk.mp4", "caption": "junk"}])
    with pytest.raises(FinetuningError, match=r"no clip can be trained on; the first, junk\.mp4: .*not a video"):
        run(folder, wan, tmp_path / "out")


def test_weights_say_how_often_a_clip_is_drawn(clips, wan, tmp_path):
    """A clip of weight 0 leaves no trace; doubling all weights changes nothing."""
    options = {"cache": clips.parent / "encoded"}
    rows = [json.loads(line) for line in (clips / "metadata.jsonl").read_text().splitlines()]

    def losses(name: str, *weights: float) -> list[float]:
        shutil.copytree(clips, tmp_path / name)
        # As encoded clips are known: by their absolute path.
        weighted = [
            row | {"file_name": str(clips / row["file_name"]), "weight": weight}
            for row, weight in zip(rows, weights, strict=True)
            if weight is not None
        ]
        folder = write_rows(tmp_path / name, weighted)
        return run(folder, wan, tmp_path / name / "out", train_steps=4, options=options).losses

    plain = losses("plain", 1, 1, 1, 1)
    assert losses("doubled", 2, 2, 2, 2) == plain
    assert losses("skewed", 3, 1, 1, 1) != plain
    shutil.copytree(clips, tmp_path / "without")
    fewer = write_rows(tmp_path / "without", [row | {"file_name": str(clips / row["file_name"])} for row in rows[:3]])
    without = run(fewer, wan, tmp_path / "without" / "out", train_steps=4, options=options)
    assert losses("zero", 1, 1, 1, 0) == without.losses
    counts = Counter(next(order) for order in [clip_order([3, 1, 1, 1], 42)] for _ in range(600))
    assert [counts[place] for place in range(4)] == pytest.approx([300, 100, 100, 100], abs=2)


def test_encoded_clips_are_shared_by_runs_and_made_anew_when_a_file_changes(clips, wan, tmp_path):
    shutil.copytree(clips, tmp_path / "clips")
    run(tmp_path / "clips", wan, tmp_path / "first", train_steps=1)
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "encoded").rglob("*.safetensors")}
    assert len(made) == 8  # four latents, four captions
    run(tmp_path / "clips", wan, tmp_path / "second", train_steps=1, seed=1)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "encoded").rglob("*.safetensors")} == made
    shutil.copyfile(clips / "1.mp4", tmp_path / "clips" / "0.mp4")
    run(tmp_path / "clips", wan, tmp_path / "third", train_steps=1, seed=1)
    assert len(list((tmp_path / "encoded" / "latents").iterdir())) == 5


def test_damaged_encoded_clips_are_told_and_made_anew_once_they_are_deleted(clips, wan, tmp_path):
    cache = {"options": {"cache": tmp_path / "cache"}}
    run(clips, wan, tmp_path / "first", train_steps=4, **cache)
    file = next((tmp_path / "cache" / "latents").iterdir())
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FinetuningError, match=f"{file.name} is gone or damaged .* Delete it"):
        run(clips, wan, tmp_path / "second", train_steps=4, **cache)
    file.unlink()
    run(clips, wan, tmp_path / "second", train_steps=4, **cache)
    assert summary(tmp_path / "first")["losses"] == summary(tmp_path / "second")["losses"]


def test_videos_may_go_once_they_are_encoded(clips, wan, tmp_path):
    class Moving(Heard):
        def training(self, count, parameters, first):
            for video in (tmp_path / "clips").glob("*.mp4"):
                video.unlink()

    shutil.copytree(clips, tmp_path / "clips")
    assert len(run(tmp_path / "clips", wan, tmp_path / "out", train_steps=2, listener=Moving()).losses) == 2


def test_finished_run_is_not_made_again_and_not_written_over(clips, wan, tmp_path):
    first = run(clips, wan, tmp_path / "out", train_steps=2)
    written = (tmp_path / "out" / LORA).stat().st_mtime_ns
    listener = Heard()
    again = run(clips, wan, tmp_path / "out", train_steps=2, listener=listener)
    assert (again.already, again.losses, listener.steps) == (True, first.losses, [])
    with pytest.raises(FinetuningError, match=r"made otherwise \(train_steps: 2 then, 3 now; seed: 42 then, 7 now\)"):
        run(clips, wan, tmp_path / "out", train_steps=3, seed=7)
    assert (tmp_path / "out" / LORA).stat().st_mtime_ns == written
    assert {path.name for path in (tmp_path / "out").iterdir()} == {LORA, "finetuning.json"}


def test_a_run_that_an_earlier_version_made_of_the_same_weights_is_not_made_again(clips, wan, tmp_path):
    """The checkpoint's model_index.json has null and false where they may be absent: that was another digest."""
    first = run(clips, wan, tmp_path / "out", train_steps=1)
    checkpoint, file = find_checkpoint(str(wan)), tmp_path / "out" / "finetuning.json"
    earlier = next(digest for digest in formers(checkpoint) if digest != checkpoint.digest())
    file.write_text(file.read_text().replace(checkpoint.digest(), earlier))
    again = run(clips, wan, tmp_path / "out", train_steps=1)
    assert (again.already, again.losses) == (True, first.losses)


def test_checkpoints_that_a_run_killed_at_its_very_end_has_left_are_deleted(clips, wan, tmp_path):
    run(clips, wan, tmp_path, train_steps=1)
    left = tmp_path / "checkpoints" / "step-00000001"
    left.mkdir(parents=True)
    assert run(clips, wan, tmp_path, train_steps=1).already
    assert not left.parent.exists()


def test_output_that_is_a_file_is_refused_and_left_as_it_is(clips, wan, tmp_path):
    file = tmp_path / "out"
    file.write_text("mine")
    with pytest.raises(FinetuningError, match="holds something that no fine-tuning made"):
        run(clips, wan, file)
    assert file.read_text() == "mine"


def test_accumulation_that_a_launcher_is_set_to_does_not_shrink_the_gradient(clips, wan, tmp_path, monkeypatch):
    settings = {"train_steps": 2, "learning_rate": 0.01, "epsilon": 0.01}  # by which AdamW sees a gradient's size
    run(clips, wan, tmp_path / "plain", **settings)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "8")
    AcceleratorState._reset_state(reset_partial_state=True)
    run(clips, wan, tmp_path / "launched", **settings)
    plain, launched = (trained(tmp_path / name) for name in ("plain", "launched"))
    assert all(torch.equal(plain[name], launched[name]) for name in plain)


def test_folder_of_another_model_is_never_written_over(clips, wan):
    before = {path: path.stat().st_mtime_ns for path in wan.rglob("*")}
    with pytest.raises(FinetuningError, match="holds something that no fine-tuning made"):
        run(clips, wan, wan, train_steps=1)
    assert {path: path.stat().st_mtime_ns for path in wan.rglob("*")} == before


def test_summary_says_all_that_a_run_follows_from(clips, wan, tmp_path):
    run(clips, wan, tmp_path, train_steps=2)
    said = summary(tmp_path)
    assert said["status"] == "finished"
    assert said["made_from"]["checkpoint"] == find_checkpoint(str(wan)).digest()
    assert len(said["made_from"]["manifest_sha256"]) == len(said["made_from"]["clips_sha256"]) == 64
    assert said["made_from"]["settings"]["lora"]["rank"] == 4
    assert said["settings"]["batch_size"] == said["made_from"]["clips_a_step"] == 2
    assert (said["model"], said["manifest"]) == (str(wan), str(clips))
    assert said["packages"]["peft"]
    assert len(said["losses"]) == 2
    assert not (tmp_path / "checkpoints").exists()


def test_gradient_that_is_not_finite_ends_the_run_and_names_the_clips(clips, wan, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(wan, broken)
    file = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["proj_out.weight"][:] = 1e38
    save_file(weights, file)
    with pytest.raises(GradientError, match=r"gradient of step 1 is not finite; its clips: \d\.mp4, \d\.mp4\."):
        run(clips, broken, tmp_path / "out")


def test_step_that_does_not_fit_into_memory_says_what_to_do(clips, wan, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(training, "training_loss", full)
    with pytest.raises(FinetuningError, match=r"does not fit into the memory of cpu: .* --gradient-checkpointing"):
        run(clips, wan, tmp_path)


def test_unknown_target_modules_and_sizes_are_refused(clips, wan, tmp_path):
    with pytest.raises(FinetuningError, match=r"LoRA cannot be added to the denoiser: .*no_such_layer"):
        run(clips, wan, tmp_path / "a", target_modules=["no_such_layer"])
    with pytest.raises(ValueError, match="this checkpoint cannot take 6 frames of 32x32"):
        run(clips, wan, tmp_path / "b", frames=6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_not_there_is_told(clips, wan, tmp_path):
    with pytest.raises(FinetuningError, match="there is no device cuda: accelerate finds cpu"):
        finetune(clips, str(wan), tmp_path, SMALL, Heard(), device="cuda")


def test_device_that_is_none_is_told(clips, wan, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")  # so that what the run sets there is taken back
    with pytest.raises(FinetuningError, match="accelerate cannot train on frob: Expected one of cpu, cuda"):
        finetune(clips, str(wan), tmp_path, SMALL, Heard(), device="frob")


def test_missing_peft_is_told_before_anything_is_computed(clips, wan, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(FinetuningError, match=r"pip install -c constraints.txt '\.\[curation\]'"):
        run(clips, wan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_flow_shift_of_the_scheduler_moves_the_losses(clips, wan, tmp_path):
    shifted = edited(wan, tmp_path, "scheduler/scheduler_config.json", flow_shift=12.0)
    plain, moved = (
        run(clips, model, tmp_path / name, train_steps=2).losses for model, name in ((wan, "a"), (shifted, "b"))
    )
    assert plain != moved
