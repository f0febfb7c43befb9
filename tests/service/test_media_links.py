"""Links to clips' videos: who has one needs no key, nobody can make or change one, and their time ends."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stderr
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import assume, given
from hypothesis import strategies as st

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import SecretRecord
from motiontrace.catalog.repositories import ClipRepository, ClipRow
from motiontrace.service.access import links
from motiontrace.service.access.links import DAY_SECONDS, LinkSigner, expiry
from motiontrace.service.app import create_app
from motiontrace.service.observability.logs import configure_logging
from motiontrace.service.problem import ProblemError
from tests.service.asking import assert_problem
from tests.service.clip_rows import change
from tests.service.keys import make_key
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

BOTH_DATABASES = True
SITE = "http://labels.example.org:8080"
KEY = bytes(range(32))
SIGNER = LinkSigner(KEY)
IDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40)
MOMENTS = st.integers(int(time.time()) + 3600, 10**12 - 1)


def signed(client: TestClient, clip_id: str = "left-red", days: float = 30) -> str:
    """A link as the running service makes it."""
    signer: LinkSigner = client.app.state.context.links  # type: ignore[attr-defined]
    return signer.video(clip_id, expiry(days))


def parts(link: str) -> tuple[str, str]:
    """The values of expires and signature."""
    query = parse_qs(urlsplit(link).query)
    return query["expires"][0], query["signature"][0]


@pytest.fixture
def guarded(settings: ServiceSettings) -> Iterator[TestClient]:
    """The app of a catalog that has keys; its client brings none."""
    make_key(settings, "read")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def test_whoever_has_a_link_plays_the_clip_without_a_key(guarded: TestClient, corpus: Corpus) -> None:
    content = corpus.video("left-red").read_bytes()
    answer = guarded.get(signed(guarded))
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    sizes = guarded.head(signed(guarded))
    assert (sizes.status_code, sizes.content) == (200, b"")
    assert int(sizes.headers["content-length"]) == len(content)
    assert_problem(guarded.get("/v1/clips/left-red/video"), 401, "key_missing")


def test_players_can_seek_and_ask_again(guarded: TestClient, corpus: Corpus) -> None:
    content = corpus.video("left-red").read_bytes()
    link = signed(guarded)
    part = guarded.get(link, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    again = guarded.get(link, headers={"If-None-Match": part.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    beyond = guarded.get(link, headers={"Range": f"bytes={len(content)}-"})
    assert_problem(beyond, 416, "range_not_satisfiable")


@pytest.mark.parametrize(
    "clip_id", ["left blue", "day 1.mp4", "100%", "a?b=c&d#e", "été", "a;b+c", "\N{OLD ITALIC LETTER A}"]
)
def test_any_id_can_be_linked(client: TestClient, corpus: Corpus, clip_id: str) -> None:
    with client.app.state.context.database.writing() as session:  # type: ignore[attr-defined]
        video = corpus.video("up-red")
        ClipRepository(session).upsert([ClipRow(id=clip_id, path=str(video), caption="", codec="h264")])
    answer = client.get(signed(client, clip_id))
    assert (answer.status_code, answer.content) == (200, video.read_bytes())
    assert_problem(client.get(signed(client, clip_id).replace("/clips/", "/clips/x")), 403, "link_invalid")


def test_a_link_is_for_one_clip(guarded: TestClient) -> None:
    assert_problem(guarded.get(signed(guarded).replace("left-red", "up-red")), 403, "link_invalid")


def test_a_link_whose_time_is_over_says_when_that_was_and_what_to_do(
    guarded: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = signed(guarded, days=0.1)
    end = int(parts(link)[0])
    monkeypatch.setattr(links.time, "time", lambda: float(end - 1))
    assert guarded.get(link).status_code == 200
    monkeypatch.setattr(links.time, "time", lambda: float(end))
    problem = assert_problem(guarded.get(link), 403, "link_expired")
    assert f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC" in problem["detail"]
    assert "Push the clips" in problem["todo"]
    changed = link.replace("signature=", "signature=0")
    assert_problem(guarded.get(changed), 403, "link_invalid")  # of links that it did not make nothing more is told


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?expires={expires}",
        "?signature={signature}",
        "?expires=&signature=",
        "?expires={expires}&signature=",
        "?expires=0{expires}&signature={signature}",
        "?expires=%2B{expires}&signature={signature}",
        "?expires={expires}%20&signature={signature}",
        "?expires={expires}.0&signature={signature}",
        "?expires={expires}&signature={upper}",
        "?expires={expires}&signature={signature}%0A",
        "?expires={expires}&signature={signature}0",
        "?expires={expires}&signature=%C3%A9",
        "?expires=-1&signature={signature}",
        "?expires=1e12&signature={signature}",
        "?expires={arabic}&signature={signature}",
        "?expires={nines}&signature={signature}",
        "?expires={expires}&signature={signature}&expires=99999999999",
        "?expires[]={expires}&signature={signature}",
    ],
)
def test_what_is_not_written_as_a_link_is_is_refused(guarded: TestClient, query: str) -> None:
    expires, signature = parts(signed(guarded))
    arabic = "".join(chr(0x660 + int(digit)) for digit in expires)
    sent = query.format(
        expires=expires, signature=signature, upper=signature.upper(), arabic=arabic, nines="9" * 10_000
    )
    assert signature.upper() != signature
    assert_problem(guarded.get(f"/media/clips/left-red/video{sent}"), 403, "link_invalid")


def test_a_link_opens_nothing_but_its_video(guarded: TestClient) -> None:
    query = urlsplit(signed(guarded)).query
    for path in ("/v1/clips/left-red/video", "/v1/clips/left-red", "/v1/clips", "/media", "/media?x=/media/clips/"):
        assert guarded.get(f"{path}{'&' if '?' in path else '?'}{query}").status_code == 401, path
    for path in ("/media/", "/media/clips/left-red", "/media/clips/left-red/thumbnail", "/media/%2e%2e/v1/clips"):
        assert guarded.get(f"{path}?{query}").status_code in (401, 404), path
    for method in ("POST", "PUT", "DELETE"):
        assert guarded.request(method, signed(guarded)).status_code == 405


def test_a_clip_that_is_gone_or_no_video_is_told_to_whom_the_link_was_given(client: TestClient) -> None:
    assert_problem(client.get(signed(client, "none")), 404, "clip_not_found")
    assert_problem(client.get(signed(client, "broken")), 404, "no_video")
    assert_problem(client.get("/media/clips/none/video"), 403, "link_invalid")  # others do not learn what there is


def test_what_must_not_leave_the_machine_does_not_leave_it_by_a_link(
    settings: ServiceSettings, client: TestClient
) -> None:
    change(settings, "left-red", path=str(settings.home / "catalog.db"))
    assert_problem(client.get(signed(client)), 404, "outside_media_roots")


def test_pages_of_any_origin_may_show_a_linked_clip_and_no_other_answer(guarded: TestClient) -> None:
    """Label Studio's player asks with crossorigin="anonymous", and reads the type by fetch before."""
    link = signed(guarded)
    shown = [
        guarded.get(link, headers={"Origin": SITE}),
        guarded.get(link, headers={"Origin": SITE, "Range": "bytes=0-0"}),
    ]
    refused = [guarded.get(f"{link}0", headers={"Origin": SITE})]  # the player tells of it only if it may read it
    assert [answer.status_code for answer in shown + refused] == [200, 206, 403]
    for answer in shown + refused:
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
        assert answer.headers.get_list("cross-origin-resource-policy") == ["cross-origin"]
        assert "access-control-allow-credentials" not in answer.headers
    elsewhere = guarded.get("/v1/clips/left-red/video", headers={"Origin": SITE})
    assert "access-control-allow-origin" not in elsewhere.headers
    assert elsewhere.headers["cross-origin-resource-policy"] == "same-site"


def test_a_page_that_the_settings_name_may_show_it_too(settings: ServiceSettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"cors_origins": (SITE,)}))) as client:
        for origin, allowed in ((SITE, SITE), ("http://other.example.org", "*")):
            answer = client.get(signed(client), headers={"Origin": origin})
            assert answer.headers.get_list("access-control-allow-origin") == [allowed]


def test_browsers_keep_a_clip_for_themselves_and_not_beyond_the_links_end(
    guarded: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = signed(guarded)
    assert guarded.get(link).headers["cache-control"] == "private, max-age=3600"
    monkeypatch.setattr(links.time, "time", lambda: int(parts(link)[0]) - 90.5)
    assert guarded.get(link).headers["cache-control"] == "private, max-age=90"
    assert guarded.get(f"{link}0").headers["cache-control"] == "no-store"


def test_links_work_after_a_restart_and_in_every_process_until_their_key_is_deleted(settings: ServiceSettings) -> None:
    with TestClient(create_app(settings)) as first, TestClient(create_app(settings)) as second:
        link = signed(first)
        assert signed(second) == link
        assert second.get(link).status_code == 200
    database = Database.open(settings.url)
    with database.writing() as session:
        session.delete(session.get_one(SecretRecord, links.SECRET))
    database.close()
    with TestClient(create_app(settings)) as client:
        assert_problem(client.get(link), 403, "link_invalid")
        assert client.get(signed(client)).status_code == 200


def test_a_signature_is_in_no_log(settings: ServiceSettings) -> None:
    with redirect_stderr(io.StringIO()) as stream:
        configure_logging(settings.model_copy(update={"log_level": "debug"}))
        with serving(settings) as (server, url):
            link = server.config.app.state.context.links.video("left-red", expiry(1))  # type: ignore[union-attr]
            for sent in (link, f"{link}0", link.replace("/video", "/nothing"), link.replace("left", "%0Aleft")):
                httpx.get(url + sent)
            httpx.get(f"{url}{link}", headers={"Range": "bytes=999999-"})
    told = stream.getvalue()
    assert told.count("/media/clips/") == 5
    assert parts(link)[1][:16] not in told
    assert parts(link)[0] not in told


def test_links_of_one_day_are_the_same_and_work_for_so_many_days_at_least() -> None:
    morning = datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC).timestamp()
    evening = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC).timestamp()
    assert expiry(30, morning) == expiry(30, evening) == datetime(2026, 4, 1, tzinfo=UTC).timestamp()
    assert expiry(30, evening + 2) == expiry(30, morning) + DAY_SECONDS


@given(st.floats(0.001, 36_500), st.floats(0, 4e9))
def test_a_link_ends_at_the_end_of_a_day_within_a_day_of_its_time(days: float, moment: float) -> None:
    end = expiry(days, moment)
    assert end % DAY_SECONDS == 0
    assert -1e-3 <= end - (moment + days * DAY_SECONDS) < DAY_SECONDS + 1e-3


@given(IDS, MOMENTS)
def test_a_link_is_what_its_signer_takes(clip_id: str, moment: int) -> None:
    link = SIGNER.video(clip_id, moment)
    expires, signature = parts(link)
    assert SIGNER.check_video(clip_id, expires, signature) > 0
    assert "/" not in urlsplit(link).path.removeprefix("/media/clips/").removesuffix("/video")


@given(IDS, MOMENTS, IDS, st.text(max_size=80), st.data())
def test_any_change_to_id_expiry_or_signature_is_refused(
    clip_id: str, moment: int, other_id: str, text: str, data: st.DataObject
) -> None:
    expires, signature = parts(SIGNER.video(clip_id, moment))
    sent = data.draw(
        st.one_of(
            st.tuples(st.just(other_id), st.just(expires), st.just(signature)),
            st.tuples(st.just(clip_id), st.just(text) | MOMENTS.map(str), st.just(signature)),
            st.tuples(st.just(clip_id), edited(expires), st.just(signature)),
            st.tuples(st.just(clip_id), st.just(expires), st.just(text) | edited(signature)),
            # What is between id and moment belongs to one of them only.
            st.tuples(st.just(f"{clip_id}\n{expires[:1]}"), st.just(expires[1:]), st.just(signature)),
        )
    )
    assume(sent != (clip_id, expires, signature))
    with pytest.raises(ProblemError) as refusal:
        SIGNER.check_video(*sent)
    assert (refusal.value.status, refusal.value.code) == (403, "link_invalid")


@given(st.binary(min_size=32, max_size=32), IDS, MOMENTS)
def test_a_link_of_another_key_is_refused(key: bytes, clip_id: str, moment: int) -> None:
    assume(key != KEY)
    with pytest.raises(ProblemError):
        SIGNER.check_video(clip_id, *parts(LinkSigner(key).video(clip_id, moment)))


def edited(text: str) -> st.SearchStrategy[str]:
    """The text with one character changed, left out, doubled or put in."""
    places = st.integers(0, len(text) - 1)
    letters = st.sampled_from("0123456789abcdefABCDEF+- \n٣")
    return st.one_of(
        st.builds(lambda place, letter: text[:place] + letter + text[place + 1 :], places, letters),
        st.builds(lambda place: text[:place] + text[place + 1 :], places),
        st.builds(lambda place, letter: text[:place] + letter + text[place:], places, letters),
        st.just(text.upper()),
    )
