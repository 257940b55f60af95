"""Frames survive every way a pipe can cut them; what is not a frame is refused, early and without much memory."""

from __future__ import annotations

import os
import struct
import threading
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.wire import (
    HEADER,
    KIND_NAMES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    RESULT,
    Frame,
    FrameParser,
    ProtocolError,
    encode_frame,
    frame_bytes,
    parse_header,
    read_frame,
    write_all,
)

quick = settings(max_examples=60, deadline=None)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
MESSAGES = st.dictionaries(st.text(), VALUES, max_size=4)
KINDS = st.sampled_from(sorted(KIND_NAMES))
FRAMES = st.lists(st.tuples(KINDS, MESSAGES), max_size=5)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def parse_all(chunks: list[bytes]) -> list[Frame]:
    parser = FrameParser()
    found: list[Frame] = []
    for chunk in chunks:
        parser.feed(chunk)
        found += parser.frames()
    parser.finish()
    return found


@quick
@given(FRAMES, st.lists(st.integers(0, 10_000), max_size=12))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    messages: list[tuple[int, dict[str, Any]]], cuts: list[int]
) -> None:
    data = b"".join(encode_frame(kind, message) for kind, message in messages)
    assert [(frame.kind, frame.decode()) for frame in parse_all(pieces(data, cuts))] == messages


@quick
@given(FRAMES.filter(bool), st.integers(1, 10_000))
def test_a_stream_cut_short_is_never_taken_for_whole(messages: list[tuple[int, dict[str, Any]]], cut: int) -> None:
    frames = [encode_frame(kind, message) for kind, message in messages]
    shortened = b"".join(frames)[: -(1 + cut % len(frames[-1]))]
    parser = FrameParser()
    parser.feed(shortened)
    assert len(list(parser.frames())) == len(frames) - 1
    if shortened != b"".join(frames[:-1]):
        with pytest.raises(ProtocolError, match="ended inside a frame"):
            parser.finish()


@quick
@given(st.binary(min_size=1))
def test_garbage_is_refused_or_waited_for_but_never_accepted(data: bytes) -> None:
    parser = FrameParser()
    parser.feed(data)
    if MAGIC.startswith(data[:4]) or data.startswith(MAGIC):
        return
    with pytest.raises(ProtocolError, match="not a frame"):
        list(parser.frames())


@quick
@given(FRAMES, st.binary(min_size=4).filter(lambda tail: tail[:4] != MAGIC))
def test_good_frames_before_garbage_are_not_lost(messages: list[tuple[int, dict[str, Any]]], tail: bytes) -> None:
    parser = FrameParser()
    parser.feed(b"".join(encode_frame(kind, message) for kind, message in messages) + tail)
    frames = parser.frames()
    found = [next(frames) for _ in messages]
    with pytest.raises(ProtocolError):
        next(frames)
    assert [(frame.kind, frame.decode()) for frame in found] == messages


@quick
@given(st.binary(min_size=HEADER.size, max_size=HEADER.size))
def test_a_header_is_taken_only_if_every_part_is_right(header: bytes) -> None:
    magic, kind, length = struct.unpack(">4sBI", header)
    if magic == MAGIC and kind in KIND_NAMES and length <= MAX_PAYLOAD_BYTES:
        assert parse_header(header) == (kind, length)
    else:
        with pytest.raises(ProtocolError):
            parse_header(header)


def test_an_oversize_frame_is_refused_at_its_header() -> None:
    parser = FrameParser()
    tracemalloc.start()
    parser.feed(HEADER.pack(MAGIC, RESULT, 50 << 20) + b" " * 1000)
    with pytest.raises(ProtocolError, match="frame of 52428800 bytes is over the limit of 16777216"):
        list(parser.frames())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_have_are_not_sent(number: float) -> None:
    with pytest.raises(ProtocolError, match="result frame"):
        encode_frame(RESULT, {"inference_time": number})


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="over the limit"):
        frame_bytes(RESULT, b" " * (MAX_PAYLOAD_BYTES + 1))


@pytest.mark.parametrize("payload", [b"[]", b"3", b"{", b"\xff"])
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="result frame is not"):
        Frame(RESULT, payload).decode()


def test_a_frame_larger_than_a_pipe_goes_through_one() -> None:
    message = {"text": "x" * 1_000_000}
    read_fd, write_fd = os.pipe()
    writer = threading.Thread(target=write_all, args=(write_fd, encode_frame(RESULT, message)))
    writer.start()
    frame = read_frame(lambda size: os.read(read_fd, size))
    writer.join()
    os.close(write_fd)
    assert frame is not None
    assert frame.decode() == message
    assert read_frame(lambda size: os.read(read_fd, size)) is None
    os.close(read_fd)


@quick
@given(st.integers(1, 40))
def test_a_reader_says_when_the_stream_ends_inside_a_frame(missing: int) -> None:
    data = encode_frame(RESULT, {"sample_token": "0123456789012345678901234567"})[:-missing]
    stream = iter([data[start : start + 7] for start in range(0, len(data), 7)])
    with pytest.raises(ProtocolError, match="the stream ended"):
        read_frame(lambda _size: next(stream, b""))
