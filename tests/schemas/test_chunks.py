"""Raw messages: personal data that nothing prints."""

from schemas.chunks import RawChunk


def test_raw_messages_show_nothing_of_themselves():
    chunk = RawChunk("desk-7", b"patron_id\tbranch", (b"21234000000018\tB01",), "tsv", truncated=True)

    assert repr(chunk) == str(chunk) == f"{[chunk]}"[1:-1] == "RawChunk(<redacted>)"
