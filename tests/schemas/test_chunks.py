"""Raw messages: personal data that nothing prints; and how far they move their source's clock."""

from schemas.chunks import ArrivalSpan, RawChunk


def test_raw_messages_show_nothing_of_themselves():
    chunk = RawChunk("desk-7", b"patron_id\tbranch", (b"21234000000018\tB01",), "tsv", truncated=True)

    assert repr(chunk) == str(chunk) == f"{[chunk]}"[1:-1] == "RawChunk(<redacted>)"


def test_the_span_of_several_reaches_from_the_first_arrival_to_the_last_and_to_the_last_event():
    spans = [ArrivalSpan("ils", 20, 30, 5), ArrivalSpan("ils", 10, 25, 29), ArrivalSpan("ils", 21, 40, 7)]

    assert ArrivalSpan.of(spans) == ArrivalSpan("ils", 10, 40, 29)
    assert ArrivalSpan.of(spans[:1]) == spans[0]
    assert ArrivalSpan.of([]) is None
