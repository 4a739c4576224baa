"""Raw messages: personal data that nothing prints; and how far they move their source's clock."""

from schemas.chunks import ArrivalSpan, RawChunk


def test_raw_messages_show_nothing_of_themselves():
    chunk = RawChunk("desk-7", b"patron_id\tbranch", (b"21234000000018\tB01",), "tsv", truncated=True)

    assert repr(chunk) == str(chunk) == f"{[chunk]}"[1:-1] == "RawChunk(<redacted>)"


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
