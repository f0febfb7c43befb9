"""Does a packet hold a picture? Encoders and cameras also write packets without one.

Such packets are delimiters, messages (SEI), parameter sets and filler of H.264 and HEVC; pictures that VP8 and VP9
never show; MPEG-4 pictures that are "not coded"; and comments after a GIF's last picture. A decoder fails on some of
them, but none is damage.
"""

from collections.abc import Iterator

START = b"\x00\x00\x01"
H264_EXTRAS = frozenset(range(6, 16))  # messages, parameter sets, delimiters, ends, filler
HEVC_EXTRAS = frozenset(range(32, 41))
MPEG12_PICTURE, MPEG4_PICTURE = START + b"\x00", START + b"\xb6"
GIF_EXTENSION, GIF_TRAILER = 0x21, 0x3B
MPEG4_DROPPED = 4  # bytes: what some writers put for a frame that they dropped
MPEG4_NOT_CODED = 19  # bytes, as FFmpeg has it: no larger packet is a picture that is "not coded"


def holds_picture(codec: str, header: bytes | None, packet: memoryview) -> bool:
    """Whether a packet holds a picture, whole or broken. It does unless this module knows that it holds none.

    Args:
        codec: FFmpeg's name.
        header: the container's description of the stream ("extradata").
        packet: its bytes, at least one.
    """
    match codec:
        case "h264":
            return any(unit & 0x1F not in H264_EXTRAS for unit in _units(packet, _length_bytes(header, 4)))
        case "hevc":
            return any(unit >> 1 & 0x3F not in HEVC_EXTRAS for unit in _units(packet, _length_bytes(header, 21)))
        case "mpeg1video" | "mpeg2video":
            return _marked(bytes(packet), MPEG12_PICTURE)
        case "mpeg4":
            return len(packet) > MPEG4_DROPPED and _marked(bytes(packet), MPEG4_PICTURE)
        case "gif":
            return _gif_pictures(packet)
        case "theora":
            return packet[0] & 0x80 == 0  # else a header, as each of several joined recordings begins with
    return True


def is_shown(codec: str, packet: memoryview) -> bool:
    """Whether a packet surely holds a picture that is shown, and not a hidden or repeated one."""
    match codec:
        case "mpeg4":
            return len(packet) > MPEG4_NOT_CODED
        case "vp8":
            return bool(packet[0] & 0x10)
        case "vp9":
            return _vp9_shows(packet)
    return True


def _marked(packet: bytes, mark: bytes) -> bool:
    """Whether a packet holds the start code `mark`; a packet without any is broken, and may be a picture."""
    return mark in packet or START not in packet


def _length_bytes(header: bytes | None, place: int) -> int:
    """How many bytes hold a unit's length, by the header's byte at `place`; 0: units begin with a start code."""
    return (header[place] & 3) + 1 if header and header[0] == 1 and len(header) > place else 0


def _units(packet: memoryview, length_bytes: int) -> Iterator[int]:
    """The first byte of each unit (NAL) of a packet, which has its type; 0, no valid type, for other bytes."""
    if not length_bytes:
        pieces = bytes(packet).split(START)[1:]
        yield from (piece[0] if piece else 0 for piece in pieces or [b""])
        return
    position = 0
    while position < len(packet):
        start = position + length_bytes
        length = int.from_bytes(packet[position:start])
        position = start + length
        yield packet[start] if length and position <= len(packet) else 0


def _gif_pictures(packet: memoryview) -> bool:
    """Whether a packet holds anything but extensions (comments, how to show the next picture)."""
    position = 0
    while position < len(packet) and packet[position] == GIF_EXTENSION:
        position += 2
        while position < len(packet) and packet[position]:  # pieces
            position += 1 + packet[position]
        position += 1
    return position < len(packet) and packet[position] != GIF_TRAILER


def _vp9_shows(packet: memoryview) -> bool:
    """Read the first bits: mark (2), profile (2, or 3 for profile 3), repeats an earlier picture, type, is shown."""
    if packet[-1] & 0xE0 == 0xC0:  # several pictures in one packet: its last is shown
        return True
    bits = f"{packet[0]:08b}"
    place = 5 if bits[2:4] == "11" else 4
    return bits[place] == "1" or bits[place + 2] == "1"
