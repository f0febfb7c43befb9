"""Damaged and hostile video files, made from real ones; the same seed gives the same files."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# Container, encoder, pixel format: what each file is made of before it is damaged.
KINDS = (
    ("mp4", "libx264", "yuv420p"),
    ("mp4", "libx265", "yuv420p"),
    ("mp4", "mpeg4", "yuv420p"),
    ("mov", "prores_ks", "yuv422p10le"),
    ("mov", "png", "rgb24"),
    ("webm", "libvpx", "yuv420p"),
    ("webm", "libvpx-vp9", "yuv420p"),
    ("matroska", "ffv1", "yuv420p"),
    ("matroska", "mpeg2video", "yuv420p"),
    ("avi", "mpeg4", "yuv420p"),
    ("avi", "mjpeg", "yuvj420p"),
    ("avi", "huffyuv", "rgb24"),
    ("gif", "gif", "rgb8"),
    ("apng", "apng", "rgb24"),
    ("mpegts", "mpeg2video", "yuv420p"),
    ("asf", "wmv2", "yuv420p"),
    ("flv", "flv", "yuv420p"),
)
# What stands before numbers that say how long, how wide, how many: boxes of MP4 and MOV, elements of Matroska, chunks
# of AVI and PNG, blocks of GIF.
FIELDS = (
    b"mvhd",
    b"tkhd",
    b"mdhd",
    b"stts",
    b"ctts",
    b"stsc",
    b"stsz",
    b"stco",
    b"stss",
    b"stsd",
    b"avcC",
    b"hvcC",
    b"elst",
    b"moov",
    b"trak",
    b"mdat",
    b"ftyp",
    b"\x2a\xd7\xb1",
    b"\x44\x89",
    b"\xb0",
    b"\xba",
    b"\xe7",
    b"\xa3",
    b"\x1f\x43\xb6\x75",
    b"\x18\x53\x80\x67",
    b"\x16\x54\xae\x6b",
    b"avih",
    b"strh",
    b"strf",
    b"idx1",
    b"movi",
    b"LIST",
    b"IHDR",
    b"acTL",
    b"fcTL",
    b"GIF89a",
    b"\x21\xf9\x04",
    b"\x2c",
)
# x264 writes other bytes each time unless it looks ahead in the same thread; x265 prints what it does.
OPTIONS = {
    "libx264": {"x264-params": "threads=1:sync-lookahead=0:rc-lookahead=0:mbtree=0"},
    "libx265": {"x265-params": "log-level=none"},
}
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Damaged:
    """A file to send: `what` says how it came about."""

    what: str
    content: bytes


def originals(clips: Sequence[Path] = ()) -> dict[str, bytes]:
    """Whole files by name: a short film in every kind that this build of FFmpeg writes, and the clips."""
    made = {
        f"{codec}.{container}": _film(container, codec, pixels)
        for container, codec, pixels in KINDS
        if codec in av.codecs_available
    }
    return made | {clip.name: clip.read_bytes() for clip in clips}


def damaged(whole: dict[str, bytes], count: int, seed: int) -> Iterator[Damaged]:
    """`count` files: first each polyglot and oddity, then mutations of whole files picked at random, some twice."""
    chance = random.Random(seed)
    names = sorted(whole)
    oddities = list(_oddities(whole))
    for number in range(count):
        if number % 8 == 0 and oddities:
            yield oddities.pop(0)
            continue
        name = chance.choice(names)
        content, steps = whole[name], []
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            step = chance.choice(MUTATIONS)
            content = step(chance, content, whole[chance.choice(names)])
            steps.append(step.__name__.strip("_"))
        yield Damaged(f"{name}: {', '.join(steps)}", content)


def _film(container: str, codec: str, pixels: str) -> bytes:
    """A bright square that moves over noise, 64 x 64, 12 frames."""
    noise = np.random.default_rng(0).integers(60, 90, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    # Without random identifiers, so that the same seed gives the same files.
    with av.open(file, "w", format=container, options={"fflags": "bitexact"}) as output:
        stream = output.add_stream(codec, rate=12, options=OPTIONS.get(codec, {}))
        stream.width = stream.height = 64
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        for number in range(12):
            picture = noise.copy()
            picture[22:42, 2 * number : 2 * number + 20] = (220, 60, 40)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


def _flip_bits(chance: random.Random, content: bytes, other: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 8, 64, 512))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _flip_header_bits(chance: random.Random, content: bytes, other: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(16):
        if changed:
            changed[chance.randrange(min(len(changed), 512))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncate(chance: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _behead(chance: random.Random, content: bytes, other: bytes) -> bytes:
    return content[chance.randrange(len(content) + 1) :]


def _swap_chunks(chance: random.Random, content: bytes, other: bytes) -> bytes:
    a, b, c = sorted(chance.randrange(len(content) + 1) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _repeat_chunk(chance: random.Random, content: bytes, other: bytes) -> bytes:
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start:end] * chance.choice((1, 2, 16)) + content[end:]


def _zero_chunk(chance: random.Random, content: bytes, other: bytes) -> bytes:
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((4, 64, 4096)))
    return content[:start] + bytes(end - start) + content[end:]


def _splice(chance: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: chance.randrange(len(content) + 1)] + other[chance.randrange(len(other) + 1) :]


def _concatenate(chance: random.Random, content: bytes, other: bytes) -> bytes:
    return content + other


def _edit_field(chance: random.Random, content: bytes, other: bytes) -> bytes:
    """Put an extreme number near a field that says how long, how wide or how many."""
    places = [place for field in FIELDS if (place := content.find(field)) >= 0]
    if not places:
        return content
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 6))):
        place = max(0, chance.choice(places) + chance.choice((-4, *range(1, 40))))
        number = struct.pack(chance.choice(("<I", ">I")), chance.choice(EXTREMES))
        size = chance.choice((1, 2, 4))
        changed[place : place + size] = number[:size]
    return bytes(changed)


MUTATIONS: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _flip_bits,
    _flip_header_bits,
    _truncate,
    _behead,
    _swap_chunks,
    _repeat_chunk,
    _zero_chunk,
    _splice,
    _concatenate,
    _edit_field,
    _edit_field,
    _edit_field,
)


def _oddities(whole: dict[str, bytes]) -> Iterator[Damaged]:
    """Files that are no accident: other formats, playlists that name addresses and files, pictures that never end."""
    video, gif = whole["libx264.mp4"], whole["gif.gif"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        # A date of its own: by default the archive holds the time of day, and the same seed would give other files.
        file.writestr(zipfile.ZipInfo("zeros", (2000, 1, 1, 0, 0, 0)), bytes(10_000_000), zipfile.ZIP_DEFLATED)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s\n#EXT-X-ENDLIST\n"
    yield Damaged("empty", b"")
    yield Damaged("one byte", b"\0")
    yield Damaged("zeros", bytes(100_000))
    yield Damaged("zip", archive.getvalue())
    yield Damaged("mp4, then zip", video + archive.getvalue())
    yield Damaged("zip, then mp4", archive.getvalue() + video)
    yield Damaged("HLS of a file", playlist % b"file:///etc/passwd")
    yield Damaged("HLS of an address", playlist % b"http://127.0.0.1:9/x.ts")
    yield Damaged("HLS of itself", playlist % b"The upload")
    yield Damaged("HLS that is MPEG-TS further on", playlist % b"concat:/etc/passwd" + whole["mpeg2video.mpegts"])
    yield Damaged("concat list", b"ffconcat version 1.0\nfile /etc/passwd\nfile 'The upload'\n" * 100)
    yield Damaged("DASH", b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>')
    yield Damaged("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>')
    yield Damaged("HTML", b"<!doctype html><script>fetch('/')</script>" * 100)
    yield Damaged("SDP", b"v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n")
    yield Damaged("subtitles", b"1\n00:00:00,000 --> 99:00:00,000\nhello\n\n" * 1000)
    yield Damaged("no moov", video[: video.find(b"moov") - 4])
    yield Damaged("empty moov", video[: video.find(b"moov") - 4] + struct.pack(">I4s", 8, b"moov"))
    yield Damaged("moov in moov", video[: video.find(b"moov") - 4] + _nested(b"moov", 5000))
    yield Damaged("moof for ever", video + struct.pack(">I4s", 8, b"moof") * 50_000)
    yield Damaged("a million frames said", _number_behind(video, b"stsz", 8, 1_000_000))
    yield Damaged("a frame of 4 GB said", _number_behind(video, b"stsz", 12, 0xFFFFFFFF))
    yield Damaged("4 billion durations", _number_behind(video, b"stts", 8, 0xFFFFFFFF))
    for side in (8192, 16_384, 65_535):
        yield Damaged(f"GIF, {side} a side", gif[:6] + struct.pack("<HH", side, side) + gif[10:])
    head, frames = gif.partition(b"\x21\xf9\x04")[::2]
    yield Damaged("GIF of 2,400 frames", head + (b"\x21\xf9\x04" + frames[:-1]) * 200 + b";")
    yield Damaged("PNG, 2 billion a side", _number_behind(whole["apng.apng"], b"IHDR", 0, 0x7FFFFFFF))
    yield Damaged("APNG that loops for ever", _number_behind(whole["apng.apng"], b"acTL", 4, 0))
    yield Damaged("Y4M, a billion a side", b"YUV4MPEG2 W1000000000 H1000000000 F1:1\nFRAME\n")
    yield Damaged("PPM, a billion a side", b"P6 1000000000 1000000000 255\n")
    yield Damaged("NUT magic", b"nut/multimedia container\0" + bytes(range(256)) * 40)


def _nested(kind: bytes, depth: int) -> bytes:
    return b"".join(struct.pack(">I4s", 8 * left, kind) for left in range(depth, 0, -1))


def _number_behind(content: bytes, field: bytes, offset: int, number: int) -> bytes:
    place = content.find(field) + len(field) + offset
    return content[:place] + struct.pack(">I", number) + content[place + 4 :]
