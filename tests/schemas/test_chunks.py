"""Raw messages: personal data that nothing prints; and how far they move their source's clock."""

import pytest

from schemas.chunks import ArrivalSpan, RawChunk, Wrapping

WRAPPING = Wrapping(
    "loans",
    (10, 20, 30),
    (b"21234000000018", None, b"\xff1"),
    ((("Trace", b"1"), ("empty", None)), (), (("note", b"\xfe"),)),
)


def test_raw_messages_show_nothing_of_themselves():
    chunk = RawChunk("desk-7", b"patron_id\tbranch", (b"21234000000018\tB01",), "tsv", truncated=True)

    assert repr(chunk) == str(chunk) == f"{[chunk]}"[1:-1] == "RawChunk(<redacted>)"


def test_what_a_bus_wrapped_around_messages_shows_nothing_of_itself():
    chunk = RawChunk("ils", b"", (b"{}", b"{}", b"{}"), "bus", wrapping=WRAPPING)

    assert repr(WRAPPING) == str(WRAPPING) == f"{[WRAPPING]}"[1:-1] == "Wrapping(<redacted>)"
    assert "loans" not in repr(chunk)


def test_keys_and_headers_are_text_and_bytes_that_are_none_are_escapes():
    assert [WRAPPING.key(at) for at in range(3)] == ["21234000000018", None, "\\xff1"]
    assert [WRAPPING.header(at) for at in range(3)] == [
        (("Trace", "1"), ("empty", None)),
        (),
        (("note", "\\xfe"),),
    ]


def test_messages_without_keys_and_headers_have_none():
    bare = Wrapping("loans", (10, 20))

    assert [(bare.key(at), bare.header(at)) for at in range(2)] == [(None, ())] * 2
    assert bare.part(1, 2) == Wrapping("loans", (20,))


@pytest.mark.parametrize(("start", "end"), [(0, 3), (1, 3), (0, 1), (2, 2)])
def test_a_part_keeps_what_belongs_to_each_of_its_messages(start, end):
    part = WRAPPING.part(start, end)
    wrapped = [(WRAPPING.stamps[at], WRAPPING.key(at), WRAPPING.header(at)) for at in range(3)]

    assert part.topic == "loans"
    assert [(stamp, part.key(at), part.header(at)) for at, stamp in enumerate(part.stamps)] == wrapped[start:end]


def test_the_span_of_several_reaches_from_the_first_arrival_to_the_last_and_to_the_last_event():
    spans = [ArrivalSpan("ils", 20, 30, 5), ArrivalSpan("ils", 10, 25, 29), ArrivalSpan("ils", 21, 40, 7)]

    assert ArrivalSpan.of(spans) == ArrivalSpan("ils", 10, 40, 29, in_order=False)
    assert ArrivalSpan.of(spans[:1]) == spans[0]
    assert ArrivalSpan.of([]) is None


def test_several_spans_are_in_order_when_each_is_and_none_begins_before_the_one_above_it_ends():
    first, second = ArrivalSpan("ils", 10, 20, 5), ArrivalSpan("ils", 20, 25, 29)

    assert ArrivalSpan.of([first, second]) == ArrivalSpan("ils", 10, 25, 29)
    assert ArrivalSpan.of([second, first]) == ArrivalSpan("ils", 10, 25, 29, in_order=False)
    assert ArrivalSpan.of([first, ArrivalSpan("ils", 20, 25, 29, in_order=False)]) == ArrivalSpan(
        "ils", 10, 25, 29, in_order=False
    )
