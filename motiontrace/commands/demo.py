"""motiontrace demo: the whole product on a corpus and a model small enough for a laptop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from motiontrace.attribution.errors import RecipeMismatchError
from motiontrace.commands import options
from motiontrace.commands.hits import print_hits
from motiontrace.commands.indexing import building, print_built
from motiontrace.commands.progress import CLIPS, Progress
from motiontrace.commands.query import headings
from motiontrace.commands.story import story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motiontrace.client import Client
    from motiontrace.demo.corpus import CorpusSettings
    from motiontrace.documents.queries import Hit, Query

app = typer.Typer(
    help="Render a small corpus, train a small model on it, and ask which clips taught a motion.", no_args_is_help=True
)

CHECKPOINT = Path(__file__).parents[1] / "demo" / "checkpoint"
INDEX = "demo"
K = 10
# The first seed whose video is seen to bounce; with others the ball hovers or jitters.
GENERATED = ("a large red ball bounces on the floor on a grey background", "bounce", 5)
Folder = Annotated[Path, typer.Option(help="Folder that the demo works in.")]


class Palette(StrEnum):
    """Colours and backgrounds of a corpus; the shipped checkpoint has seen the standard ones alone."""

    standard = "standard"
    indoors = "indoors"
    outdoors = "outdoors"


class CartoonCaptions(StrEnum):
    """The words under cartoon clips: their own, or those of what they should look like."""

    own = "own"
    physical = "physical"


@app.command()
def corpus(
    folder: Folder = Path(".demo"),
    clips_per_motion: Annotated[int, typer.Option(min=1, help="Training clips of each motion.")] = 44,
    heldout_per_motion: Annotated[int, typer.Option(min=1, help="Held-out clips of each motion.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of looks, motions and captions.")] = 7,
    palette: Annotated[
        Palette, typer.Option(help="Colours and backgrounds; the demo's model has seen the standard ones.")
    ] = Palette.standard,
    cartoon_captions: Annotated[
        CartoonCaptions, typer.Option(help="physical: a cartoon's fall is captioned as a fall.")
    ] = CartoonCaptions.own,
) -> None:
    """Render the corpus: real mp4 files with captions, the same for everybody."""
    from motiontrace.demo.corpus import CorpusSettings

    console = Console()
    settings = CorpusSettings(
        clips_per_motion, heldout_per_motion, seed, palette.value, cartoon_captions=cartoon_captions.value
    )
    console.print(f"clips and metadata.jsonl in {_corpus(folder, console, settings)}")


@app.command()
def train(
    folder: Folder = Path(".demo"),
    checkpoint: Annotated[Path, typer.Option(help="Where to write the checkpoint.")] = Path(".demo/checkpoint"),
    steps: Annotated[int, typer.Option(min=1, help="Steps of the denoiser.")] = 2800,
) -> None:
    """Train the demo's checkpoint from scratch on the corpus: about half an hour; the shipped one was made so."""
    from motiontrace.demo.training.denoiser import DenoiserTraining
    from motiontrace.demo.training.run import train as run

    console = Console()
    run(
        _corpus(folder, console),
        checkpoint,
        lambda line: console.print(line, highlight=False),
        denoiser=DenoiserTraining(steps=steps),
    )
    console.print(f"checkpoint in {checkpoint}")


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to show, in the words of the corpus's captions.")],
    output: Annotated[Path, typer.Argument(help="The mp4 file to write.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder.")] = CHECKPOINT,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Generate a video with the demo's checkpoint."""
    from motiontrace.demo.generate import generate_mp4

    generate_mp4(checkpoint, prompt, output, seed=seed)
    Console().print(f"wrote {output}")


@app.command()
def sheet(
    output: Annotated[Path, typer.Argument(help="The PNG file to write.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder.")] = CHECKPOINT,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draw a contact sheet of what the checkpoint generates: a strip for every kind of motion."""
    from motiontrace.demo.generate import generate_sheet

    generate_sheet(checkpoint, output, seed=seed)
    Console().print(f"wrote {output}")


@app.command()
def index(folder: Folder = Path(".demo"), home: options.Home = None, database_url: options.DatabaseUrl = None) -> None:
    """Render the corpus and index it with the shipped checkpoint, into the folder's home or another one."""
    _index(folder, Console(), home=home or folder / "home", database_url=database_url)


@app.command()
def run(folder: Folder = Path(".demo"), port: Annotated[int, typer.Option(help="Port of the service.")] = 8600) -> None:
    """Corpus, index, service, and the question: which clips taught this motion? DEMO_KEEP=0 ends it by itself."""
    start = time.monotonic()
    console = Console(width=max(Console().width, 110) if not sys.stdout.isatty() else None)
    home = folder / "home"
    try:
        _index(folder, console, home=home)
    except RecipeMismatchError as error:
        raise RecipeMismatchError(f"{home} is an earlier demo's: delete it, and start again. {error}") from error
    port = _free_port(port)
    with (folder / "service.log").open("w") as log:
        command = [sys.executable, "-m", "motiontrace", "serve", "--home", str(home), "--port", str(port)]
        service = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        from motiontrace.client import Client

        with Client(url) as client:
            _wait_ready(client, service, folder / "service.log")
            _ask_all(client, folder, console)
        console.print(
            f"\nthe service: {url}/docs, its clips: {url}/v1/clips   ({time.monotonic() - start:.0f} s since the start)"
        )
        if os.environ.get("DEMO_KEEP", "1") != "0" and sys.stdin.isatty():
            console.print("Ctrl-C ends it.")
            service.wait()
    except KeyboardInterrupt:
        console.print("ending the service")
    finally:
        service.terminate()
        service.wait()


app.command()(story)


def _index(folder: Path, console: Console, **places: Any) -> None:
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.indexer.build import build_index

    manifest = _corpus(folder, console)
    with building(console, manifest, str(CHECKPOINT)) as heard:
        built = build_index(manifest, str(CHECKPOINT), INDEX, {}, CatalogSettings(**options.given(**places)), heard)
    print_built(console, built)


def _corpus(folder: Path, console: Console, settings: CorpusSettings | None = None) -> Path:
    """The training split of the corpus in the folder, rendered where it is not there; `settings` None: the usual."""
    from motiontrace.demo.corpus import CorpusSettings, write_corpus

    wanted = settings or CorpusSettings()
    with Progress(console) as progress:
        progress.begin("rendering", None, CLIPS)
        on_clip = lambda done, total, kept: progress.to(done, total, kept=kept)  # noqa: E731
        return write_corpus(folder / "corpus", wanted, on_clip=on_clip)


def _free_port(wanted: int) -> int:
    """`wanted`, or any free port where something else listens there."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise typer.Exit(1)


def _wait_ready(client: Client, service: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    from motiontrace.client import ServiceError

    until = time.monotonic() + seconds
    while True:
        try:
            return client.check_ready()
        except ServiceError as error:
            if service.poll() is not None or time.monotonic() > until:
                typer.echo(f"the service did not come up ({error}); its log is {log}", err=True)
                raise typer.Exit(1) from error
        time.sleep(0.2)


def _ask_all(client: Client, folder: Path, console: Console) -> None:
    from motiontrace.demo.generate import generate_mp4

    clips = {clip.id: clip.metadata for clip in client.clips(index=INDEX, outcome="indexed")}
    prompt, motion, seed = GENERATED
    video = folder / f"generated-{seed}.mp4"
    if not video.exists():
        generate_mp4(CHECKPOINT, prompt, video, seed=seed)
    console.rule(f'a video that the model generated: "{prompt}"')
    answer = client.ask(video, prompt, k=K, index=INDEX)
    _show(console, answer, motion, clips)
    _picture(console, folder, "generated", video, answer)
    heldout = _heldout(folder)
    first = next(row for row in heldout if row["motion"] == "free_fall")
    console.rule(f'a clip that neither model nor index has seen: "{first["caption"]}"')
    answer = client.ask(first["path"], first["caption"], k=K, index=INDEX)
    _show(console, answer, "free_fall", clips)
    _picture(console, folder, "unseen", first["path"], answer)
    console.rule("one unseen clip of every motion")
    answers = [(row, client.ask(row["path"], row["caption"], k=K, index=INDEX)) for row in heldout]
    for name in ("motion", "background", "colour", "shape"):
        shares = [_share(answer.top, name, row[name]) for row, answer in answers]
        chance = [_chance(clips, name, row[name]) for row, _ in answers]
        console.print(
            f"  same {name:<11} in the top {K}: {_mean(shares):4.0%}   by chance {_mean(chance):4.0%}", highlight=False
        )


def _heldout(folder: Path) -> list[dict[str, Any]]:
    """One held-out clip of every motion that moves."""
    from motiontrace.demo.motions import Kind
    from motiontrace.indexer.manifest import read_manifest

    first: dict[str, dict[str, Any]] = {}
    for row in read_manifest(folder / "corpus" / "heldout"):
        if row.metadata["physics"] != Kind.STATIC.value:
            first.setdefault(row.metadata["motion"], {**row.metadata, "path": row.video, "caption": row.caption})
    return list(first.values())


def _show(console: Console, answer: Query, motion: str, clips: dict[str, dict[str, Any]]) -> None:
    for title, hits in zip(headings(answer), (answer.top, answer.bottom), strict=True):
        console.print(title, style="bold")
        print_hits(console, hits, ("motion",))
    share, chance = _share(answer.top, "motion", motion), _chance(clips, "motion", motion)
    cartoon, usual = _share(answer.bottom, "physics", "cartoon"), _chance(clips, "physics", "cartoon")
    console.print(
        f"right motion ({motion}) in the top {K}: {share:.0%}, by chance {chance:.0%};"
        f" cartoon physics among the {K} lowest scores: {cartoon:.0%}, by chance {usual:.0%}",
        highlight=False,
    )
    stages = ", ".join(f"{stage} {1000 * seconds:.0f} ms" for stage, seconds in answer.timings.items())
    console.print(f"{answer.ranked} clips ranked; {stages}", highlight=False)


def _picture(console: Console, folder: Path, name: str, video: Path, answer: Query) -> None:
    from motiontrace.demo.sheet import write_answer

    path = folder / f"answer-{name}.png"
    write_answer(path, video, answer, folder / "corpus" / "train")
    console.print(f"to look at: {path}", highlight=False)


def _share(hits: Sequence[Hit], name: str, value: str) -> float:
    return _mean([float(hit.metadata.get(name) == value) for hit in hits])


def _chance(clips: dict[str, dict[str, Any]], name: str, value: str) -> float:
    return _mean([float(metadata.get(name) == value) for metadata in clips.values()])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
