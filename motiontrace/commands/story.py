"""motiontrace demo story: a model that learned cartoon physics, and how its clips are found, left out and outvoted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motiontrace.curation.comparison.differences import Difference
    from motiontrace.curation.evaluation.statistics import Interval
    from motiontrace.demo.story.findings import Findings, Share
    from motiontrace.demo.story.plan import Places, Step, StorySettings
    from motiontrace.demo.story.telling import Told


def story(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Folder that the story is worked out in.")] = Path(".story"),
) -> None:
    """A model trained on a corpus with cartoon physics in it: find the clips, leave them out, fine-tune, compare.

    Every step is a command of motiontrace, shown before it runs. Kill it whenever you like: started again it goes on
    where it stopped.
    """
    from motiontrace.demo.story.plan import ARMS, Places, StorySettings

    start = time.monotonic()
    console = Console(width=max(Console().width, 110) if not Console().is_terminal else None, highlight=False)
    run_story(context.find_root().command.main, Places(folder), StorySettings(), tuple(ARMS), console)
    console.print(
        f"\nfigures: {folder / 'story.json'}; pictures: {folder / 'story-*.png'}   ({time.monotonic() - start:.0f} s)",
        markup=False,
    )


def run_story(
    motiontrace: Callable[..., Any], places: Places, settings: StorySettings, arms: Sequence[str], console: Console
) -> Told:
    """Does what is not done yet of the story by `motiontrace`'s verbs, and prints what came out.

    `arms` are the fine-tunes to compare.
    """
    from motiontrace.demo.story import material, plan
    from motiontrace.demo.story.telling import tell

    _run(motiontrace, console, plan.corpus_step(places, settings))
    material.write_material(places, settings)
    _run(motiontrace, console, plan.spoiling_step(places, settings))
    for motion in material.GRAVITY:
        for step in plan.finding_steps(places, settings, motion):
            _run(motiontrace, console, step)
    material.write_manifests(places, settings)
    for arm in arms:
        material.share_videos(places, arm)
        for step in plan.tuning_steps(places, settings, arm):
            _run(motiontrace, console, step)
    told = tell(places, settings, arms, on_step=lambda what: console.print(what, style="dim"))
    print_told(console, told)
    return told


def _run(motiontrace: Callable[..., Any], console: Console, step: Step) -> None:
    """Runs a command as it would be typed, but in this process: importing torch again and again takes minutes."""
    console.print(f"\n# {step.why}\n$ {step.line}", markup=False, soft_wrap=True)
    if step.leaves is not None and step.leaves.exists():
        console.print(f"{step.leaves} is there already", markup=False)
        return
    code = motiontrace(list(step.arguments), prog_name="motiontrace", standalone_mode=False)
    if code:
        raise typer.Exit(code)


def print_told(console: Console, told: Told) -> None:
    """Prints what was found, and what the fine-tunes did."""
    for motion, found in told.findings.items():
        _print_findings(console, motion, found)
    for arm, kept in told.kept.items():
        console.print(f"{arm} has {', '.join(f'{shown} {count}' for shown, count in kept.items())}")
    _print_preferences(console, told)
    _print_outcomes(console, told)


def _print_findings(console: Console, motion: str, found: Findings) -> None:
    console.print(f"\nclips with the words of {motion}, the lowest scores first")
    ends = [(f"the {count} lowest scores", share) for count, share in found.ends.items()]
    for among, share in (*ends, (f"the {found.dropped.of} dropped", found.dropped)):
        console.print(f"  cartoon among {among}: {_share(share)}")
    for shown, share in found.motions.items():
        auc = f", AUC {found.auc[shown]:.2f} (by chance 0.50)" if shown in found.auc else ""
        console.print(f"  {shown}: {share.found} of {share.of} dropped{auc}")


def _share(share: Share) -> str:
    return f"{share.found} ({share.found / max(share.of, 1):.0%}; by chance {share.chance:.0%})"


def _print_preferences(console: Console, told: Told) -> None:
    from motiontrace.demo.story.plan import BEFORE
    from motiontrace.demo.story.telling import CONTROL

    console.print("\nhow the loss of held-out clips changed, and by how much more that of real ones fell")
    for motion in told.preference[BEFORE]:
        table = Table(box=None, pad_edge=False)
        for head in (f"words of {motion}", "real", "cartoon", "for real [95 %]", f"more than {CONTROL} [95 %]"):
            table.add_column(head, justify="left" if head.endswith(motion) else "right", no_wrap=True)
        for name, by_motion in told.preference.items():
            changed, other = by_motion[motion], told.preference_against_control.get(name)
            table.add_row(
                f"  {name}",
                f"{changed.real:+.2%}",
                f"{changed.cartoon:+.2%}",
                _interval(changed.for_real),
                "" if other is None else _interval(other[motion].for_real),
            )
        console.print(table)
        real, cartoon = changed.clips
        console.print(f"  of {real} real and {cartoon} cartoon clips")


def _interval(interval: Interval) -> str:
    return f"{interval.value:+.2%} [{interval.low:+.2%}, {interval.high:+.2%}]"


def _print_outcomes(console: Console, told: Told) -> None:
    from motiontrace.demo.story.outcomes import MEASURED
    from motiontrace.demo.story.plan import BEFORE
    from motiontrace.demo.story.telling import CONTROL

    for name, measured in MEASURED.items():
        table = Table(box=None, pad_edge=False)
        for head in (measured.title, "mean", f"less {BEFORE} [95 %]", f"less {CONTROL} [95 %]", "pairs"):
            table.add_column(head, justify="left" if head == measured.title else "right", no_wrap=True)
        for kind, means in told.rendered.items():
            if name in means:
                table.add_row(f"  {kind} clips themselves", _number(means[name]))
        table.add_row(f"  {BEFORE}", _number(told.before[name]))
        for arm, changes in told.changes.items():
            against = told.against_control.get(arm)
            change = changes[name]
            table.add_row(
                f"  {arm}",
                _number(change.tuned),
                _difference(change),
                "" if against is None else _difference(against[name]),
                str(change.pairs),
            )
        console.print()
        console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _difference(change: Difference) -> str:
    if change.difference is None:
        return "-"
    interval = "" if change.low is None else f" [{change.low:+.3f}, {change.high:+.3f}]"
    return f"{change.difference:+.3f}{interval}"
