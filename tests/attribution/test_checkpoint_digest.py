"""The digest is of content alone, each file is hashed once, and digests of earlier versions are known again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from safetensors.torch import load_file, save_file

from motiontrace.attribution.engine import load_engine, plan_recipe
from motiontrace.attribution.errors import ModelError, RecipeMismatchError
from motiontrace.attribution.families import find_checkpoint, hashing
from motiontrace.attribution.families.hashing import cache_folder, sha256_of, xet_hash_of
from motiontrace.curation.comparison.models import find_models
from motiontrace.curation.generation import ADAPTER
from tests.checkpoints import edited, tiny_cogvideox, tiny_wan

PARTS = ("transformer", "transformer_2", "vae", "text_encoder")
SHARDED = Path("transformer/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module", params=[tiny_wan, tiny_cogvideox])
def checkpoint(request, tmp_path_factory) -> Path:
    return request.param(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def wan(tmp_path_factory) -> Path:
    return tiny_wan(tmp_path_factory.mktemp("wan") / "model")


@pytest.fixture
def settled(monkeypatch):
    """As if the files had been there for a while."""
    monkeypatch.setattr(hashing, "_SETTLED", -1e9)


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """Names of the files that are read to be hashed."""
    names: list[str] = []
    read = hashing.file_sha256
    monkeypatch.setattr(hashing, "file_sha256", lambda file: (names.append(Path(file).name), read(file))[1])
    return names


def earlier_digest(folder: Path, switches: list[object], named: bool = True) -> str:
    """As the version before gave it: a link to a file whose name has 64 hex digits has that name for its SHA-256."""

    def of(file: Path) -> str:
        blob = file.resolve().name
        if named and file.is_symlink() and len(blob) == 64:
            return blob
        return hashlib.sha256(file.read_bytes()).hexdigest()

    total = hashlib.sha256(json.dumps(switches).encode())
    there = [part for part in PARTS if (folder / part).is_dir()]
    for part in there:
        config = json.loads((folder / part / "config.json").read_text())
        meant = {key: value for key, value in config.items() if not key.startswith("_")}
        total.update(f"{part}:{json.dumps(meant, sort_keys=True)}\n".encode())
    for part in (*there, "tokenizer"):
        for file in sorted((folder / part).glob("*" if part == "tokenizer" else "*.safetensors")):
            total.update(f"{part}/{file.name}:{of(file)}\n".encode())
    if "CogVideoX" in (folder / "model_index.json").read_text():
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        keys = (
            "num_train_timesteps",
            "beta_start",
            "beta_end",
            "beta_schedule",
            "trained_betas",
            "prediction_type",
            "rescale_betas_zero_snr",
            "snr_shift_scale",
        )
        total.update(f"scheduler:{json.dumps([config.get(key) for key in keys])}\n".encode())
    return total.hexdigest()


def hub_cache(folder: Path, cache: Path, *, in_xet: tuple[str, ...]) -> Path:
    """The checkpoint as `me/model` in a cache that huggingface_hub has filled; the snapshot's folder.

    Files with such suffixes are named by their SHA-256; the cache names them anew by their Xet hashes, as it does
    what it has downloaded from Xet.
    """
    from huggingface_hub.utils._shared_blobs import publish_blob_to_shared_store

    repo, commit = cache / "models--me--model", "c" * 40
    (repo / "blobs").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        data, large = file.read_bytes(), file.name.endswith((*in_xet, ".safetensors"))
        etag = hashlib.sha256(data).hexdigest() if large else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        blob = repo / "blobs" / etag
        blob.write_bytes(data)
        pointer = repo / "snapshots" / commit / file.relative_to(folder)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        if in_xet and large:
            xet = xet_hash_of(file)
            assert publish_blob_to_shared_store(
                blob_path=str(blob), xet_hash=xet, cache_dir=cache, expected_size=len(data)
            ), file
    return repo / "snapshots" / commit


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize(
    "in_xet",
    [
        (),
        (".safetensors",),
        (".safetensors", "tokenizer.json"),
        (".safetensors", "spiece.model"),
        (".safetensors", "spiece.model", "tokenizer.json"),
    ],
)
def test_a_folder_and_a_hub_id_of_the_same_files_are_one_checkpoint(checkpoint, tmp_path, cache, in_xet):
    folder = shutil.copytree(checkpoint, tmp_path / "folder")
    (folder / "tokenizer" / "spiece.model").write_bytes(b"pieces" * 99)
    snapshot = hub_cache(folder, cache, in_xet=in_xet)
    by_folder, by_id = find_checkpoint(str(folder)), find_checkpoint("me/model")
    assert by_id.folder == snapshot
    assert by_id.digest() == by_folder.digest() == earlier_digest(folder, [None, None])
    # What the earlier version made of either is known for the same weights by the other.
    for switches in ([None, False], [None, None]):
        for made_with in (earlier_digest(folder, switches), earlier_digest(snapshot, switches)):
            assert by_folder.digest_as(made_with) == by_id.digest_as(made_with) == made_with


def test_a_name_is_not_believed(wan, tmp_path, cache):
    folder = shutil.copytree(wan, tmp_path / "folder")
    snapshot = hub_cache(folder, cache, in_xet=(".safetensors",))
    known = earlier_digest(snapshot, [None, None])
    blob = (snapshot / SHARDED).resolve()
    blob.chmod(0o644)
    tensors = load_file(blob)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, blob, metadata={"format": "pt"})
    tampered = find_checkpoint("me/model")
    assert earlier_digest(snapshot, [None, None]) == known
    assert tampered.digest() != find_checkpoint(str(folder)).digest()
    assert tampered.digest_as(known) == tampered.digest()


def test_absent_null_and_false_switches_are_the_same(wan, tmp_path):
    made = {}
    for number, switches in enumerate(
        [
            {},
            {"boundary_ratio": None},
            {"expand_timesteps": False},
            {"boundary_ratio": None, "expand_timesteps": None},
            {"boundary_ratio": False, "expand_timesteps": False},
        ]
    ):
        copy = edited(wan, tmp_path / str(number), "model_index.json")
        index = json.loads((copy / "model_index.json").read_text())
        for key in ("boundary_ratio", "expand_timesteps"):
            index.pop(key, None)
        (copy / "model_index.json").write_text(json.dumps({**index, **switches}))
        found = find_checkpoint(str(copy))
        made[found.digest()] = found
        for key in ([None, None], [None, False], [False, None]):
            assert found.digest_as(earlier_digest(copy, key)) == earlier_digest(copy, key)
    assert len(made) == 1
    assert not found.token_timesteps and found.boundary is None
    other = find_checkpoint(str(edited(wan, tmp_path, "model_index.json", expand_timesteps=True)))
    assert other.digest() not in made
    assert other.digest_as(found.digest()) == other.digest()


def test_what_is_not_loaded_is_not_hashed_and_was_in_earlier_digests(wan, tmp_path):
    copy = edited(wan, tmp_path, "model_index.json")
    digest = find_checkpoint(str(copy)).digest()
    shutil.copyfile(copy / SHARDED, copy / "transformer" / "diffusion_pytorch_model.fp16.safetensors")
    for name in (".DS_Store", "README.md", "pytorch_model.bin", "chat_template.jinja"):
        (copy / "tokenizer" / name).write_bytes(b"x")
    found = find_checkpoint(str(copy))
    assert found.digest() == digest
    assert found.digest_as(earlier_digest(copy, [None, False])) == earlier_digest(copy, [None, False])


def test_an_index_made_under_an_earlier_digest_is_queried_and_added_to(wan):
    checkpoint = find_checkpoint(str(wan))
    now = plan_recipe(checkpoint, {})
    earlier = now.model_copy(update={"checkpoint": earlier_digest(wan, [None, False])})
    assert earlier.digest != now.digest
    assert plan_recipe(checkpoint, {}, earlier) == earlier
    assert load_engine(str(wan), earlier, device="cpu").recipe == earlier
    with pytest.raises(RecipeMismatchError, match="checkpoint: "):
        load_engine(str(wan), now.model_copy(update={"checkpoint": "ab" * 32}), device="cpu")


def test_a_lora_that_was_trained_under_an_earlier_digest_is_of_the_same_checkpoint(wan, tmp_path):
    save_file(load_file(wan / SHARDED), tmp_path / ADAPTER)
    trained_on = {"made_from": {"checkpoint": earlier_digest(wan, [None, False])}}
    (tmp_path / "finetuning.json").write_text(json.dumps(trained_on))
    assert find_models(str(wan), str(tmp_path))[1].adapter == tmp_path / ADAPTER
    (tmp_path / "finetuning.json").write_text(json.dumps({"made_from": {"checkpoint": "ab" * 32}}))
    with pytest.raises(ModelError, match="was trained on another checkpoint"):
        find_models(str(wan), str(tmp_path))


def test_shards_and_configuration_are_in_the_digest(checkpoint, tmp_path):
    digests = {find_checkpoint(str(checkpoint)).digest()}
    for part in ("transformer", "vae", "text_encoder"):
        copy = edited(checkpoint, tmp_path / part, f"{part}/config.json")
        file = next((copy / part).glob("*.safetensors"))
        tensors = load_file(file)
        name = max(tensors)
        save_file({**tensors, name: tensors[name] + 1}, file, metadata={"format": "pt"})
        digests.add(find_checkpoint(str(copy)).digest())
    assert len(digests) == 4


def test_a_file_is_hashed_once_for_all_processes(tmp_path, settled, hashed, monkeypatch):
    file = tmp_path / "weights"
    file.write_bytes(b"weights" * 1000)
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert [sha256_of(file), sha256_of(file)] == [expected] * 2
    assert hashed == ["weights"]
    monkeypatch.setattr(hashing, "_in_memory", {})  # another process, and by another path
    (tmp_path / "link").symlink_to(file)
    assert sha256_of(tmp_path / "link") == expected
    assert hashed == ["weights"]


def test_processes_that_start_together_read_a_file_once(tmp_path):
    file, log = tmp_path / "weights", tmp_path / "log"
    file.write_bytes(b"weights" * 1000)
    program = f"""
import time
from pathlib import Path
from motiontrace.attribution.families import hashing
hashing._SETTLED = -1e9
read = hashing.file_sha256
def slowly(path):
    with open({str(log)!r}, "a") as out: out.write("read\\n")
    time.sleep(0.3)
    return read(path)
hashing.file_sha256 = slowly
print(hashing.sha256_of(Path({str(file)!r})))
"""
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate()[0].strip() for process in running} == {hashlib.sha256(file.read_bytes()).hexdigest()}
    assert log.read_text() == "read\n"


@pytest.mark.parametrize("how", ["content", "content under the same time", "replaced under the same time"])
def test_a_changed_file_is_hashed_again(tmp_path, settled, how):
    file = tmp_path / "weights"
    file.write_bytes(b"before")
    before, status = sha256_of(file), file.stat()
    if how.startswith("replaced"):
        file.rename(tmp_path / "kept")
    file.write_bytes(b"after.")
    if how != "content":
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sha256_of(file) == hashlib.sha256(b"after.").hexdigest() != before


def test_a_file_that_has_only_just_changed_is_not_remembered(tmp_path, hashed):
    file = tmp_path / "weights"
    file.write_bytes(b"before")
    sha256_of(file)
    sha256_of(file)
    assert hashed == ["weights"] * 2


@pytest.mark.parametrize("note", ["", "{", "[]", '{"digest": "' + "0" * 64 + '"}', "\0"])
def test_a_damaged_note_is_made_anew(tmp_path, settled, monkeypatch, note):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    digest = sha256_of(file)
    (kept,) = cache_folder().iterdir()
    right = kept.read_text()
    kept.write_text(note)
    monkeypatch.setattr(hashing, "_in_memory", {})
    assert sha256_of(file) == digest
    assert kept.read_text() == right


def test_a_home_that_cannot_be_written_costs_a_reading_a_process(tmp_path, settled, hashed, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    assert sha256_of(file) == sha256_of(file) == hashlib.sha256(b"weights").hexdigest()
    assert hashed == ["weights"]


def test_a_user_without_a_home_is_no_obstacle(tmp_path, settled, monkeypatch):
    (tmp_path / "weights").write_bytes(b"weights")
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name/cache")
    monkeypatch.chdir(tmp_path)
    assert sha256_of(tmp_path / "weights") == hashlib.sha256(b"weights").hexdigest()


def test_what_changes_while_it_is_read_is_refused(tmp_path, settled, monkeypatch):
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    monkeypatch.setattr(hashing, "file_sha256", lambda path: str(path.write_bytes(b"longer than before")))
    with pytest.raises(ModelError, match="changed while it was read"):
        sha256_of(file)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="named pipe"):
        sha256_of(tmp_path / "pipe")
