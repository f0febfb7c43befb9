"""What the story does, as commands of motiontrace that anybody could type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BEFORE = "spoilt"
CHECKPOINT = Path("demo/checkpoint")
ARMS = {
    "selected": "without the half that fights real falling and bouncing",
    "best": "with what teaches real falling and bouncing best",
    "everything": "the same corpus again",
    "random": "as many clips as selected has, drawn at random",
    "real": "every cartoon clip known and left out",
}
"""What the spoilt model is fine-tuned on, each for the same number of steps: two selections and three controls."""


@dataclass(frozen=True)
class StorySettings:
    """Sizes of the story. The defaults are those of docs/results/story.md."""

    seed: int = 41  # of the corpus
    clips_per_motion: int = 24
    heldout_per_motion: int = 24
    queries_per_motion: int = 10  # of the held-out clips; losses are measured on the others
    batch: int = 8
    spoiling_steps: int = 480
    spoiling_rate: float = 3e-4
    tuning_steps: int = 360
    tuning_rate: float = 2e-4
    recipe: tuple[str, ...] = (  # options of motiontrace index
        "--recipe",
        "paper",
        "--timesteps",
        "600",
        "--timesteps",
        "751",
        "--timesteps",
        "900",
        "--contrast",
        "time_reversed",
    )
    worst: str = "50%"  # of the clips with the same words
    best: str = "30%"
    prompts_per_motion: int = 8
    generated_seeds: str = "0,1"
    sampler_steps: int = 20


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        why: what it is there for, a line.
        arguments: of motiontrace.
        leaves: what is there once it has run, where the command would not run twice; None: it goes on by itself.
    """

    why: str
    arguments: tuple[str, ...]
    leaves: Path | None = None

    @property
    def line(self) -> str:
        """As it is typed."""
        return " ".join(("motiontrace", *self.arguments))


@dataclass(frozen=True)
class Places:
    """Where the story keeps what."""

    folder: Path

    @property
    def train(self) -> Path:
        """The corpus that the model is spoilt with."""
        return self.folder / "corpus" / "train"

    @property
    def heldout(self) -> Path:
        """Clips that are never trained on."""
        return self.folder / "corpus" / "heldout"

    def queries(self, motion: str) -> Path:
        """Manifest of real clips of a motion, to ask by."""
        return self.folder / f"queries-{motion}.jsonl"

    def worded(self, motion: str) -> Path:
        """Manifest of all clips of the corpus whose captions speak of a motion."""
        return self.folder / f"worded-{motion}.jsonl"

    @property
    def prompts(self) -> Path:
        """What both models are asked for."""
        return self.folder / "prompts.jsonl"

    @property
    def before(self) -> Path:
        """The spoilt model."""
        return self.folder / BEFORE

    def selection(self, arm: str, motion: str) -> Path:
        """What an arm keeps of the clips with a motion's words."""
        return self.folder / f"{arm}-{motion}.parquet"

    def report(self, arm: str, motion: str) -> Path:
        """What became of every clip in that selection."""
        return self.folder / f"{arm}-{motion}-report.jsonl"

    def manifest(self, arm: str) -> Path:
        """What an arm is trained on."""
        return self.train if arm == "everything" else self.folder / f"{arm}.jsonl"

    def model(self, arm: str) -> Path:
        """What an arm has become."""
        return self.folder / f"tuned-{arm}"

    def comparison(self, arm: str) -> Path:
        """The spoilt model beside the arm's."""
        return self.folder / f"compared-{arm}"


def corpus_step(places: Places, settings: StorySettings) -> Step:
    """Renders the corpus in which a cartoon's fall is captioned as a fall."""
    return Step(
        "a corpus in which cartoon physics is mixed in, under ordinary words",
        (
            "demo",
            "corpus",
            "--folder",
            str(places.folder),
            "--clips-per-motion",
            str(settings.clips_per_motion),
            "--heldout-per-motion",
            str(settings.heldout_per_motion),
            "--seed",
            str(settings.seed),
            "--cartoon-captions",
            "physical",
        ),
    )


def spoiling_step(places: Places, settings: StorySettings) -> Step:
    """Trains the demo's model on all of it."""
    return _finetuning(
        "a model is trained on all of it",
        places,
        settings,
        places.train,
        str(CHECKPOINT),
        places.before,
        settings.spoiling_steps,
        settings.spoiling_rate,
        "encoded",
    )


def finding_steps(places: Places, settings: StorySettings, motion: str) -> list[Step]:
    """Indexes the clips with a motion's words by the spoilt model, and asks by real ones."""
    home = ("--home", str(places.folder / "home"))
    asked = ("select", "--queries", str(places.queries(motion)), "--index", motion, *home)
    return [
        Step(
            f"what did the model learn of {motion} from which clip?",
            (
                "index",
                str(places.worded(motion)),
                "--model",
                str(places.before),
                "--index",
                motion,
                *home,
                *settings.recipe,
            ),
        ),
        Step(
            f"which clips fight real {motion}? The others are kept",
            (*asked, "--drop-worst", settings.worst, "--percentile", "50", *_kept(places, "selected", motion)),
            places.selection("selected", motion),
        ),
        Step(
            "or: which clips teach it best?",
            (*asked, "--budget", settings.best, *_kept(places, "best", motion)),
            places.selection("best", motion),
        ),
    ]


def tuning_steps(places: Places, settings: StorySettings, arm: str) -> list[Step]:
    """Fine-tunes the spoilt model on what an arm has, and compares."""
    return [
        _finetuning(
            f"fine-tuned on {ARMS[arm]}",
            places,
            settings,
            places.manifest(arm),
            str(places.before),
            places.model(arm),
            settings.tuning_steps,
            settings.tuning_rate,
            "encoded-again",
        ),
        Step(
            "is the falling and bouncing closer to gravity?",
            (
                "compare",
                str(places.before),
                str(places.model(arm)),
                "--output",
                str(places.comparison(arm)),
                "--prompts",
                str(places.prompts),
                "--seeds",
                settings.generated_seeds,
                "--fps",
                "6",
                "--steps",
                str(settings.sampler_steps),
                "--guidance",
                "4",
            ),
        ),
    ]


def _kept(places: Places, arm: str, motion: str) -> tuple[str, ...]:
    written, report = places.selection(arm, motion), places.report(arm, motion)
    return "--format", "parquet", "--output", str(written), "--report", str(report)


def _finetuning(
    why: str,
    places: Places,
    settings: StorySettings,
    manifest: Path,
    model: str,
    output: Path,
    steps: int,
    rate: float,
    cache: str,
) -> Step:
    return Step(
        why,
        (
            "finetune",
            str(manifest),
            "--model",
            model,
            "--output",
            str(output),
            "--training-type",
            "full",
            "--train-steps",
            str(steps),
            "--batch-size",
            str(settings.batch),
            "--learning-rate",
            f"{rate:g}",
            "--lr-scheduler",
            "cosine",
            "--caption-dropout-p",
            "0.1",
            "--mixed-precision",
            "bf16",
            "--cache",
            str(places.folder / cache),
        ),
    )
