"""Training makes a checkpoint that diffusers and the engine load; two steps of it prove the way."""

import json

import numpy as np
import pytest
import torch

from motiontrace.attribution.engine import load_engine, plan_recipe
from motiontrace.attribution.families import find_checkpoint
from motiontrace.curation.generation import generate, load_pipeline
from motiontrace.demo.corpus import CorpusSettings, write_corpus
from motiontrace.demo.training.autoencoder import fit_autoencoder, to_model_range
from motiontrace.demo.training.denoiser import DenoiserTraining, build_tokenizer
from motiontrace.demo.training.run import read_corpus, train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return write_corpus(folder, CorpusSettings(clips_per_motion=1, heldout_per_motion=1, seed=3))


@pytest.fixture(scope="module")
def checkpoint(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    said = []
    train(corpus, folder, said.append, DenoiserTraining(steps=2, batch=2))
    assert any("step     2/2" in line for line in said)
    return folder


def test_fitted_autoencoder_reconstructs_unseen_clips(corpus):
    clips, _ = read_corpus(corpus)
    unseen, _ = read_corpus(corpus.parent / "heldout")
    model = fit_autoencoder(clips)
    with torch.no_grad():
        video = to_model_range(unseen)
        decoded = model.decode(model.encode(video).latent_dist.mode()).sample
    psnr = 10 * torch.log10(4 / (decoded - video).square().mean())
    assert psnr > 30  # decibels


def test_captions_are_read_by_whole_words_and_others_are_spelt():
    tokenizer = build_tokenizer(["a ball rolls", "a star rolls"])
    assert tokenizer.tokenize("a star rolls") == ["▁a", "▁star", "▁rolls"]
    assert tokenizer.unk_token_id not in tokenizer("a Zebra jumps!").input_ids


def test_trained_checkpoint_is_loaded_by_the_engine_and_gives_gradients(corpus, checkpoint):
    found = find_checkpoint(str(checkpoint))
    engine = load_engine(str(checkpoint), plan_recipe(found, {}, preset="paper"), device="cpu")
    assert (engine.recipe.frames, engine.recipe.height, engine.recipe.width) == (13, 32, 32)
    result = engine.compute(corpus / "roll_000.mp4", "a ball rolls along the floor")
    assert result.vector is not None
    assert np.linalg.norm(result.vector) == pytest.approx(1, abs=1e-5)


def test_trained_checkpoint_is_sampled_by_diffusers_own_pipeline(checkpoint):
    pipeline = load_pipeline(str(checkpoint), device="cpu")
    how = {"frames": 13, "height": 32, "width": 32, "steps": 2, "guidance": 4.0}
    videos = generate(pipeline, ["a ball rolls"], [1], **how)
    again = generate(pipeline, ["a ball rolls"], [1], **how)
    assert videos.shape == (1, 13, 32, 32, 3)
    assert np.array_equal(videos, again)


def test_checkpoint_is_the_ordinary_layout_in_half_precision_safetensors(checkpoint):
    index = json.loads((checkpoint / "model_index.json").read_text())
    assert index["_class_name"] == "WanPipeline"
    weights = {path.parent.name for path in checkpoint.rglob("*.safetensors")}
    assert weights == {"transformer", "vae", "text_encoder"}
    assert not list(checkpoint.rglob("*.bin"))
