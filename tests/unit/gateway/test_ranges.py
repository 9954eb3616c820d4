"""Byte ranges and entity tags as RFC 9110 has them."""

from __future__ import annotations

import pytest

from haulout.client.errors import RangeOutOfBlob
from haulout.gateway.ranges import ByteRange, matches_etag, parse_range


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=10-19", 10, 19),
        ("bytes=10-", 10, 99),
        ("bytes=10-4000", 10, 99),
        ("bytes=-1", 99, 99),
        ("bytes=-100", 0, 99),
        ("bytes=-4000", 0, 99),
        ("Bytes = 5 - 6 ", 5, 6),
    ],
)
def test_single_ranges(header, start, end) -> None:
    part = parse_range(header, 100)
    assert part == ByteRange(start, end)
    assert part.length == end - start + 1
    assert part.content_range(100) == f"bytes {start}-{end}/100"


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=0--1",
     "bytes=0-" + "9" * 30, "bytes=١-٢"],
)  # fmt: skip
def test_what_does_not_read_is_ignored(header) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100),
                                              ("bytes=0-", 0), ("bytes=-5", 0), ("bytes=0-0", 0)])  # fmt: skip
def test_refuses_what_is_not_in_the_blob(header, size) -> None:
    with pytest.raises(RangeOutOfBlob):
        parse_range(header, size)


@pytest.mark.parametrize("header", ['"tag"', "tag", 'W/"tag"', '"other", "tag"', "*", ' "a" , W/"tag" '])
def test_tags_that_match(header) -> None:
    assert matches_etag(header, "tag")


@pytest.mark.parametrize("header", [None, "", '"other"', '"tags"', "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_tags_that_do_not_match(header) -> None:
    assert not matches_etag(header, "tag")
