"""CogVideoX: against diffusers' own pipeline, schedulers and training script, and formulas written out here."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from diffusers import CogVideoXDPMScheduler, CogVideoXPipeline
from transformers import AutoTokenizer

from motiontrace.attribution.engine import MotionEngine, load_engine, plan_recipe
from motiontrace.attribution.errors import ModelError, RecipeMismatchError
from motiontrace.attribution.families import find_checkpoint, load_model
from motiontrace.attribution.families.cogvideox import CogVideoXModel, rotary_embedding
from tests.attribution.videos import write_video
from tests.checkpoints import edited, tiny_cogvideox, tiny_wan

CAPTION = "a ball falls"
SCHEDULER = "scheduler/scheduler_config.json"
VARIANTS = {
    "5b": {},
    "2b": {"use_rotary_positional_embeddings": False},
    "1.5": {"patch_size_t": 2, "patch_bias": False},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cogvideox(tmp_path_factory.mktemp("cogvideox"))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> CogVideoXModel:
    return load(checkpoint)


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cogvideox(tmp_path_factory.mktemp("variant"), **VARIANTS[request.param])


def load(checkpoint: Path, dtype: str = "float32") -> CogVideoXModel:
    loaded = load_model(find_checkpoint(str(checkpoint)), timesteps=[751], dtype=dtype, device="cpu")
    assert isinstance(loaded, CogVideoXModel)
    return loaded


def make_engine(checkpoint: Path, **settings: object) -> MotionEngine:
    return load_engine(str(checkpoint), plan_recipe(find_checkpoint(str(checkpoint)), settings), device="cpu")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pixels(frames: int, height: int = 32, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, frames, height, width, 3), dtype=torch.uint8, generator=generator)


def cumulated_alpha(timestep: int, shift: float = 3.0) -> float:
    """The schedule of a CogVideoX, written from its definition: scaled linear, shifted as in SD 3, no signal at 999."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    roots = np.sqrt(alphas / (shift + (1 - shift) * alphas))
    return float(((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1]))[timestep] ** 2)


def test_checkpoint_is_told_by_its_pipeline_and_its_encoders_stay_frozen(checkpoint, model):
    found = find_checkpoint(str(checkpoint))
    assert found.family == "cogvideox"
    assert [found.recommended[size] for size in ("height", "width", "frames")] == [32, 32, 9]
    assert (model.temporal_compression, model.train_timesteps) == (4, 1000)
    assert load(checkpoint, "bfloat16").denoiser.dtype == torch.bfloat16
    assert load(checkpoint, "bfloat16").encode_video(pixels(5)).dtype == torch.float32


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 32, 32), (5, 32, 48), (9, 16, 8), (21, 32, 32)])
def test_latent_shape_is_that_of_the_encoded_video(model, frames, height, width):
    latent = model.encode_video(pixels(frames, height, width))
    assert latent.shape == (1, *model.latent_shape(frames, height, width))
    assert latent.dtype == torch.float32


def test_sizes_that_do_not_fit_are_refused_with_the_nearest_that_do(model):
    with pytest.raises(ModelError, match=r"multiple of 4 plus 1, height and width of 8\. .* 17 frames of 32x24"):
        model.latent_shape(18, 23, 30)
    with pytest.raises(ModelError, match="The nearest is 1 frames of 8x8"):
        model.latent_shape(1, 3, 8)


def test_1_5_takes_latent_frames_in_twos_and_no_more_than_its_largest_size(tmp_path):
    model = load(tiny_cogvideox(tmp_path, **VARIANTS["1.5"]))
    assert model.latent_shape(13, 32, 24) == (4, 4, 8, 6)
    with pytest.raises(ModelError, match=r"multiple of 8 plus 5, .* up to 32x32\. The nearest is 13 frames of 32x32"):
        model.latent_shape(10, 64, 32)


def test_latent_is_the_mode_as_the_pipeline_will_decode_it(checkpoint, model):
    pipeline = CogVideoXPipeline.from_pretrained(checkpoint, dtype=torch.float32)
    video = pixels(9)
    latent = model.encode_video(video)
    with torch.no_grad():
        mode = pipeline.vae.encode(video.permute(0, 4, 1, 2, 3) / 127.5 - 1).latent_dist.mode()
        assert torch.allclose(latent, 0.7 * mode, atol=1e-6)
        decoded = pipeline.decode_latents(latent.transpose(1, 2))
        assert torch.allclose(decoded, pipeline.vae.decode(mode).sample, atol=1e-5)


def test_prompt_embedding_is_the_pipelines(checkpoint, model):
    pipeline = CogVideoXPipeline.from_pretrained(checkpoint, dtype=torch.float32)
    for prompt in (CAPTION, "", "far more words than the twenty-four letters that this one reads"):
        expected, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=24)
        embedding = model.encode_prompt(prompt)
        assert embedding.shape == (1, 24, 16)
        assert torch.allclose(embedding, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("timestep", "step"), [(1, 1), (250.4, 250), (751, 751), (750.6, 751), (999, 999), (1000, 999)]
)
def test_noise_and_target_are_the_formulas_and_the_schedulers(checkpoint, model, timestep, step):
    latent, noise = random(2, 4, 3, 8, 8), random(1, 4, 3, 8, 8, seed=1)
    noisy, target = model.add_noise(latent, noise, timestep), model.target(latent, noise, timestep)
    a = cumulated_alpha(step)
    assert torch.allclose(noisy, a**0.5 * latent + (1 - a) ** 0.5 * noise, atol=1e-5)
    assert torch.allclose(target, a**0.5 * noise - (1 - a) ** 0.5 * latent, atol=1e-5)
    scheduler = CogVideoXDPMScheduler.from_pretrained(checkpoint, subfolder="scheduler")
    steps = torch.tensor([step, step])
    assert torch.equal(noisy, scheduler.add_noise(latent, noise, steps))
    assert torch.equal(target, scheduler.get_velocity(latent, noise, steps))


def test_schedule_of_the_checkpoint_is_followed(checkpoint, tmp_path):
    model = load(edited(checkpoint, tmp_path, SCHEDULER, _class_name="CogVideoXDPMScheduler", snr_shift_scale=1.0))
    latent, noise = random(1, 4, 3, 8, 8), random(1, 4, 3, 8, 8, seed=1)
    a = cumulated_alpha(751, shift=1.0)
    assert torch.allclose(model.add_noise(latent, noise, 751), a**0.5 * latent + (1 - a) ** 0.5 * noise, atol=1e-5)


def test_checkpoint_that_predicts_the_noise_has_it_for_target(checkpoint, tmp_path):
    model = load(edited(checkpoint, tmp_path, SCHEDULER, prediction_type="epsilon"))
    noise = random(1, 4, 3, 8, 8, seed=1)
    assert torch.equal(model.target(random(2, 4, 3, 8, 8), noise, 751), noise.expand(2, -1, -1, -1, -1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prediction_type": "sample"}, "prediction_type 'sample'"),
        ({"_class_name": "DPMSolverMultistepScheduler"}, "scheduler is DPMSolverMultistepScheduler"),
        ({"num_train_timesteps": 500}, "counts 500 timesteps"),
    ],
)
def test_other_training_is_refused(checkpoint, tmp_path, change, said):
    with pytest.raises(ModelError, match=said):
        load(edited(checkpoint, tmp_path, SCHEDULER, **change))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 4)])
def test_prediction_is_the_transformers_with_the_pipelines_positions(variant, height, width):
    model = load(variant)
    pipeline = CogVideoXPipeline.from_pretrained(variant, dtype=torch.float32)
    config = pipeline.transformer.config
    noisy, prompt = random(1, 4, 4, height, width), model.encode_prompt(CAPTION)
    rotary = None
    if config.use_rotary_positional_embeddings:
        rotary = pipeline._prepare_rotary_positional_embeddings(4 * height, 4 * width, 4, torch.device("cpu"))
        found = rotary_embedding(config, 4, height, width, torch.device("cpu"))
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, rotary, strict=True))
    with torch.no_grad():
        expected = pipeline.transformer(
            noisy.permute(0, 2, 1, 3, 4), prompt, torch.tensor([751]), image_rotary_emb=rotary, return_dict=False
        )[0].permute(0, 2, 1, 3, 4)
        assert torch.allclose(model.predict(noisy, 751, prompt), expected, atol=1e-6)


def test_prediction_of_a_batch_is_that_of_its_samples(variant):
    model = load(variant)
    noisy = random(3, 4, 4, 8, 8)
    prompts = torch.cat([model.encode_prompt(words) for words in ("a ball falls", "a star rolls", "")])
    with torch.no_grad():
        together = model.predict(noisy, 751, prompts)
        shared = model.predict(noisy, 751, prompts[1:2])
        for sample in range(3):
            alone = noisy[sample : sample + 1]
            assert torch.allclose(
                together[sample], model.predict(alone, 751, prompts[sample : sample + 1])[0], atol=1e-5
            )
            assert torch.allclose(shared[sample], model.predict(alone, 751, prompts[1:2])[0], atol=1e-5)
    assert not torch.allclose(together[0], shared[0], atol=1e-5)


def test_bfloat16_predicts_nearly_the_same(variant):
    half, whole = load(variant, "bfloat16"), load(variant)
    noisy = random(1, 4, 4, 8, 8)
    with torch.no_grad():
        found = half.predict(noisy, 751, half.encode_prompt(CAPTION))
        expected = whole.predict(noisy, 751, whole.encode_prompt(CAPTION))
    assert found.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(found.flatten().float(), expected.flatten(), dim=0) > 0.999


def test_squared_error_is_the_loss_of_the_diffusers_training_script(checkpoint, model):
    """That script weighs the error of the clean latent by 1 / (1 - a)."""
    pipeline = CogVideoXPipeline.from_pretrained(checkpoint, dtype=torch.float32)
    scheduler, steps = pipeline.scheduler, torch.tensor([751])
    latent, noise, prompt = random(1, 4, 3, 8, 8), random(1, 4, 3, 8, 8, seed=1), model.encode_prompt(CAPTION)
    with torch.no_grad():
        prediction = model.predict(model.add_noise(latent, noise, 751), 751, prompt)
        loss = (prediction - model.target(latent, noise, 751)).square().mean()
        rotary = pipeline._prepare_rotary_positional_embeddings(32, 32, 3, torch.device("cpu"))
        clean = latent.permute(0, 2, 1, 3, 4)
        noisy = scheduler.add_noise(clean, noise.permute(0, 2, 1, 3, 4), steps)
        output = pipeline.transformer(noisy, prompt, steps, image_rotary_emb=rotary, return_dict=False)[0]
        guessed = scheduler.get_velocity(output, noisy, steps)
        expected = ((guessed - clean).square() / (1 - scheduler.alphas_cumprod[751])).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.fixture(scope="module")
def falling(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real clips of a textured square: one falls, one rolls, one stands still."""
    folder, texture = tmp_path_factory.mktemp("clips"), np.random.default_rng(0).integers(120, 255, (16, 16, 3))
    clips = {}
    for name, (dy, dx) in {"falls": (3, 0), "rolls": (0, 3), "stands": (0, 0)}.items():
        pictures = [np.full((64, 64, 3), 60, np.uint8) for _ in range(13)]
        for number, picture in enumerate(pictures):
            y, x = 6 + dy * number, 6 + dx * number
            picture[y : y + 16, x : x + 16] = texture
        clips[name] = write_video(folder / f"{name}.mp4", pictures, rate=13)
    return clips


def test_engine_gives_motion_gradients(variant, falling):
    engine = make_engine(variant)
    assert engine.recipe.family == "cogvideox"
    vectors = {name: engine.compute(path, CAPTION).vector for name, path in falling.items()}
    assert vectors["stands"] is None
    assert vectors["falls"].shape == (512,)
    assert np.linalg.norm(vectors["falls"]) == pytest.approx(1, abs=1e-5)
    assert vectors["falls"] @ vectors["rolls"] < 0.999
    again = make_engine(variant).compute(falling["falls"], CAPTION).vector
    assert vectors["falls"] @ again == pytest.approx(1, abs=1e-5)


def test_image_to_video_checkpoints_are_refused(checkpoint, tmp_path):
    named = edited(checkpoint, tmp_path, "model_index.json", _class_name="CogVideoXImageToVideoPipeline")
    with pytest.raises(ModelError, match="CogVideoXImageToVideoPipeline"):
        find_checkpoint(str(named))
    for number, change in enumerate([{"in_channels": 8}, {"ofs_embed_dim": 16}]):
        with pytest.raises(ModelError, match="Image-to-video and control checkpoints are not supported"):
            load(tiny_cogvideox(tmp_path / str(number), **change))


def test_missing_parts_are_said(checkpoint, tmp_path):
    copy = edited(checkpoint, tmp_path, SCHEDULER)
    shutil.rmtree(copy / "vae")
    with pytest.raises(ModelError, match="is not whole: it has no folder vae"):
        load(copy)
    (copy / SCHEDULER).unlink()
    with pytest.raises(ModelError, match=r"scheduler_config\.json could not be read: No such file"):
        find_checkpoint(str(copy)).digest()


@pytest.mark.parametrize(
    "change",
    [{"prediction_type": "epsilon"}, {"snr_shift_scale": 1.0}, {"rescale_betas_zero_snr": False}, {"beta_end": 0.01}],
)
def test_digest_covers_the_schedule_of_training(checkpoint, tmp_path, change):
    other = edited(checkpoint, tmp_path, SCHEDULER, **change)
    assert find_checkpoint(str(other)).digest() != find_checkpoint(str(checkpoint)).digest()
    with pytest.raises(RecipeMismatchError, match="checkpoint: "):
        load_engine(str(other), plan_recipe(find_checkpoint(str(checkpoint)), {}), device="cpu")


def test_digest_leaves_out_how_the_checkpoint_is_sampled(checkpoint, tmp_path):
    other = edited(checkpoint, tmp_path / "a", SCHEDULER, timestep_spacing="leading", clip_sample=False)
    assert find_checkpoint(str(other)).digest() == find_checkpoint(str(checkpoint)).digest()
    wan = tiny_wan(tmp_path / "wan")
    assert find_checkpoint(str(edited(wan, tmp_path / "b", SCHEDULER, solver_order=3))).digest() == (
        find_checkpoint(str(wan)).digest()
    )


def test_tokenizer_is_read_from_the_sentencepiece_file_that_checkpoints_come_with(checkpoint, tmp_path):
    copy = edited(checkpoint, tmp_path, "tokenizer/tokenizer_config.json")
    (copy / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "words.txt").write_text("a ball falls\na star rolls on the floor\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.txt"),
        model_prefix=str(copy / "tokenizer" / "spiece"),
        vocab_size=20,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    read = AutoTokenizer.from_pretrained(copy, subfolder="tokenizer")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(copy / "tokenizer" / "spiece.model"))
    assert read(CAPTION).input_ids == [*pieces.encode(CAPTION), 1]
    assert load(copy).encode_prompt(CAPTION).shape == (1, 24, 16)
