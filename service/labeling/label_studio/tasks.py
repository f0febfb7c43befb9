"""A clip as a task: what reviewers see of it, and the link that its video plays from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from motiontrace.service.access.links import DAY_SECONDS, expiry
from motiontrace.service.labeling.label_studio.predictions import Timing, prediction
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from motiontrace.documents.chance import Chance
    from motiontrace.documents.label_studio import Motion
    from motiontrace.documents.queries import Hit
    from motiontrace.service.access.links import LinkSigner
    from motiontrace.service.labeling.label_studio.selection import Candidate
    from motiontrace.service.labeling.label_studio.setup import Setup

Json = dict[str, Any]
LIKE, UNLIKE = "realistic", "unrealistic"  # suggested for clips that teach a good motion, or fight it
SIGNS = {
    "video": {"teaches": "taught this motion", "fights": "fights this motion", "top": "most related, within chance",
              "bottom": "least related"},
    "clip": {"teaches": "moves like it", "fights": "moves against it", "top": "most alike, within chance",
             "bottom": "moves least like it"},
}  # fmt: skip


@dataclass(frozen=True)
class VideoLinks:
    """Links to clips' videos for reviewers' browsers.

    Attributes:
        signer: signs them.
        address: where browsers reach the service, without a closing slash.
        days: how long they are to work.
    """

    signer: LinkSigner
    address: str
    days: float

    def to(self, clip_id: str) -> str:
        """A link to the clip's video."""
        return self.address + self.signer.video(clip_id, expiry(self.days))

    def renewed(self, clip_id: str, link: object) -> str | None:
        """A new link in place of an old one of ours to the clip's video; None: it is none of ours, or still good.

        A link is good if it leads to the present address and has half of its life left.
        """
        if not isinstance(link, str):
            return None
        try:
            there = urlsplit(link)
        except ValueError:  # anybody may write something there that is no address
            return None
        if not there.path.endswith(urlsplit(self.signer.video(clip_id, 0)).path):
            return None
        parts = parse_qs(there.query)
        expires, signature = (parts.get(name, [""])[0] for name in ("expires", "signature"))
        try:
            left = self.signer.check_video(clip_id, expires, signature)
        except ProblemError:
            return self.to(clip_id)
        lasts = left >= self.days * DAY_SECONDS / 2 and link == self.address + self.signer.video(clip_id, int(expires))
        return None if lasts else self.to(clip_id)


def task(candidate: Candidate, links: VideoLinks, setup: Setup, motion: Motion | None) -> Json:
    """A task as Label Studio imports it.

    Args:
        candidate: the clip.
        links: makes the link to its video.
        setup: of the project.
        motion: what the motion of the queries' videos is; None: that is not known, and suggests nothing.
    """
    clip, hit, query = candidate.clip, candidate.hit, candidate.query
    assert clip.fps is not None
    data = {
        "video": links.to(clip.id),
        "file_name": hit.file_name or "",
        "caption": hit.caption or "",
        "query_prompt": query.prompt if query.clip_id is None else f"clips that move like {query.clip_id}",
        "query_id": query.id,
        "index": candidate.index,
        "clip_id": clip.id,
        "rank": hit.rank,
        "sign": SIGNS["video" if query.clip_id is None else "clip"][hit.stands_out or candidate.end],
        "score": round(hit.score, 4),
        "stands_out": hit.stands_out or "",
        "chance": _range(candidate.chance),
        "fps": clip.fps,
        "verdict": hit.verdict or "",
    }
    predicted = prediction(
        setup,
        Timing(clip.fps, clip.frames, clip.seconds),
        verdict=_suggested(hit, setup, motion),
        region=candidate.region,
        score=hit.score,
    )
    return {"data": data, "predictions": [] if predicted is None else [predicted]}


def _suggested(hit: Hit, setup: Setup, motion: Motion | None) -> str | None:
    """What reviewers said of the clip; else what it does to the motion, where that is known and it stands out."""
    if hit.verdict in setup.verdicts:
        return hit.verdict
    if motion is None or hit.stands_out is None:
        return None
    return LIKE if (motion == "good") == (hit.stands_out == "teaches") else UNLIKE


def _range(chance: Chance | None) -> str:
    """The scores that chance explains, for people."""
    if chance is None or chance.low is None or chance.high is None:
        return "not known: too few clips"
    return f"{chance.low:+.3f} to {chance.high:+.3f}"
