"""Which bytes a Range header asks for, by RFC 9110."""

from __future__ import annotations

import pytest

from haulout.client.errors import RangeOutOfBlob
from haulout.gateway.ranges import ByteRange, matches_etag, parse_range


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=2-5", (2, 5)),
        ("bytes=2-", (2, 9)),
        ("bytes=2-99", (2, 9)),
        ("bytes=2-18446744073709551615", (2, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-99", (0, 9)),
        ("BYTES=9-9", (9, 9)),
        (" bytes = 1 - 2 ", (1, 2)),
    ],
)
def test_one_range_is_clamped_to_the_blob(header, wanted) -> None:
    found = parse_range(header, 10)
    assert (found.start, found.end) == wanted
    assert found.length == wanted[1] - wanted[0] + 1


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=0-1,3-4",
        "items=0-1",
        "bytes=-1-2",
        "bytes=" + "9" * 65 + "-",
        "bytes=١-٢",  # digits, but Arabic ones
    ],
)
def test_what_does_not_read_means_the_whole_blob(header) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)]
)
def test_what_reads_and_is_not_in_the_blob_is_refused(header, size) -> None:
    with pytest.raises(RangeOutOfBlob):
        parse_range(header, size)


def test_content_range() -> None:
    assert ByteRange(2, 5).content_range(10) == "bytes 2-5/10"


@pytest.mark.parametrize(
    ("header", "does"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ("abc", True),
        ("*", True),
        ('"x", "abc"', True),
        ('"x"', False),
        ('"ABC"', False),
        ("", False),
        (None, False),
    ],
)
def test_etags(header, does) -> None:
    assert matches_etag(header, "abc") is does
