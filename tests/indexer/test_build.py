"""`build_index`, as a program calls it: what it gives, who it calls, and whom it waits for."""

from collections import Counter

import pytest

from motiontrace.catalog.errors import StoreLockedError
from motiontrace.catalog.publishing import claim
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.indexer import build
from motiontrace.indexer.build import Silent, build_index
from tests.indexer.runs import write_manifest

SETTINGS = {"latent_normalisation": "channels", "gradient_normalisation": "tensors"}
MADE = {"indexed": 4, "no_motion": 1, "failed": 2}


class Noting(Silent):
    """Notes its calls."""

    def __init__(self):
        self.calls = []

    def planned(self, clips, refused):
        self.calls.append(("planned", clips, len(refused)))

    def loaded(self, recipe):
        self.calls.append(("loaded", recipe.gradient_scales))

    def begin(self, part, clips):
        self.calls.append(("begin", part, clips))

    def step(self, done, total, kept):
        self.calls.append(("step", done, total, kept))

    def measured(self, part, scales):
        self.calls.append(("measured", part, len(scales) > 0))

    def learned(self, calibrated, least):
        self.calls.append(("learned", calibrated.clips, least))

    def indexed(self, result, kept):
        self.calls.append(("indexed", result, kept))


def made(clips, model, home, listener=None, settings=SETTINGS, **options):
    places = CatalogSettings(home=home)
    return build_index(clips, str(model), "test", settings, places, listener or Silent(), device="cpu", **options)


def test_a_build_calls_its_listener_in_order_and_prints_nothing(clips, model, tmp_path, capfd):
    heard = Noting()
    built = made(clips, model, tmp_path / "home", heard)
    assert capfd.readouterr() == ("", "")
    assert (built.name, built.clips, built.basis, list(built.refused)) == ("test", 7, None, [])
    assert built.summary.results == MADE
    assert built.recipe.channel_scales and built.recipe.gradient_scales
    steps = [call for call in heard.calls if call[0] == "step"]
    assert [step for step in steps if step[2] == 7][:4] == [("step", done, 7, 0) for done in (1, 2, 3, 4)]
    rows = [call for call in heard.calls if call[0] == "indexed"]
    assert Counter(result for _, result, _ in rows) == MADE
    assert [call for call in heard.calls if call not in steps and call not in rows] == [
        ("planned", 7, 0),
        ("loaded", None),
        ("begin", "channels", 7),
        ("measured", "channels", True),
        ("begin", "gradients", 7),
        ("measured", "gradients", True),
        ("begin", "basis", 7),
        ("learned", 4, 64),
        ("begin", "clips", 7),
    ]
    again = Noting()
    assert made(clips, model, tmp_path / "home", again, {}).summary.results["unchanged"] == 5
    assert ("indexed", "unchanged", True) in again.calls
    assert [call[1] for call in again.calls if call[0] == "begin"] == ["clips"]


def test_the_index_is_looked_for_once_no_other_run_can_make_it(clips, model, tmp_path, monkeypatch):
    """The other run ends between this one's start and its lock: it must find that run's index, with its scales."""
    home, heard = tmp_path / "home", Noting()

    def claimed_late(places, name):
        monkeypatch.undo()
        write_manifest(clips, ["right", "left"])
        made(clips, model, home)
        return claim(places, name)

    monkeypatch.setattr(build, "claim", claimed_late)
    built = made(clips, model, home, heard, {})
    assert built.summary.results["unchanged"] == 2
    assert not [call for call in heard.calls if call[0] == "measured"]


def test_what_is_refused_early_leaves_no_lock(clips, model, tmp_path):
    places = CatalogSettings(home=tmp_path / "home")
    with pytest.raises(ValueError, match="there is no recipe 'papr': there are paper and default"):
        made(clips, model, places.home, preset="papr")
    with pytest.raises(ValueError, match="from 1 to 8192 clips"):
        made(clips, model, places.home, basis_clips=9000)
    lock = claim(places, "test")
    with pytest.raises(StoreLockedError):
        made(clips, model, places.home)
    lock.release()
    assert not (places.index_directory / "test").exists()
