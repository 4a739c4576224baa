"""Reading archives: every message once, from any place where reading stood, in chunks of any size."""

import base64
import gzip
import json
import os

import fastavro
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipelines import inputs
from pipelines.inputs import InputError, batches, refuse_unfit, refuse_unreadable, standing
from pipelines.work_values import Position
from schemas.wire import ADAPTERS
from schemas.wire.envelopes import open_pubsub
from transforms.messages import lines_of

KEY = bytes(range(32))
# No marks of other forms: what begins as gzip, Avro or with a byte-order mark is read as such.
LINES = st.lists(st.lists(st.sampled_from(b'ab{}" \r\xff\x00'), max_size=12).map(bytes), max_size=12)
EVENT = {"type": "record", "name": "Event", "fields": [{"name": "n", "type": "long"}]}


def position(path, end, *, done):
    return Position(str(path), end.at, end.head, done)


def read(path, start=None, envelope="json", **more):
    """All batches from a place on."""
    return list(batches(path, "ils", envelope, start or standing(path, None, KEY), **more))


def lines(found):
    return [line for batch in found for chunk in batch.chunks for block in chunk.blocks for line in lines_of(block)]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(b'{"n": %d}\n' % at for at in range(100)))
    return path


@pytest.mark.parametrize("packed", [False, True])
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=LINES, ends_with_newline=st.booleans(), chunk=st.integers(1, 40), header=st.booleans())
def test_reading_on_from_any_batch_gives_the_lines_that_are_left(
    tmp_path, monkeypatch, packed, written, ends_with_newline, chunk, header
):
    monkeypatch.setattr(inputs, "CHUNK", chunk)
    path, form = tmp_path / "log", "tsv" if header else "json"
    content = b"\n".join([*([b"a\tb"] if header else []), *written]) + (b"\n" if ends_with_newline else b"")
    assume(content.split()[:1] != [b"{"])  # one document over several lines is refused
    path.write_bytes(gzip.compress(content) if packed else content)

    whole = read(path, envelope=form, size=1)

    assert lines(whole) == [line for line in written if line.strip()]
    for at, batch in enumerate(whole[:-1]):
        again = standing(path, position(path, batch.end, done=False), KEY)
        assert again.at == batch.end.at
        assert lines(read(path, again, envelope=form, size=1)) == lines(whole[at + 1 :])


@pytest.mark.parametrize("packed", [False, True])
def test_reading_an_avro_container_on_gives_the_blocks_that_are_left(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(inputs, "CHUNK", 60)
    path = tmp_path / "log.avro"
    with path.open("wb") as stream:
        fastavro.writer(stream, EVENT, ({"n": at} for at in range(400)), sync_interval=50)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))

    whole = read(path, size=1)

    assert len(whole) > 3
    for at, batch in enumerate(whole[:-1]):
        again = standing(path, position(path, batch.end, done=False), KEY)
        rest = [block for later in read(path, again, size=1) for chunk in later.chunks for block in chunk.blocks]
        assert rest == [block for later in whole[at + 1 :] for chunk in later.chunks for block in chunk.blocks]


def test_a_file_that_was_read_and_is_as_it_was_is_not_read_again(log):
    known = position(log, read(log)[-1].end, done=True)

    assert standing(log, known, KEY) is None
    os.utime(log, (1, 1))
    assert standing(log, known, KEY) is None


def test_a_file_that_has_grown_is_read_from_where_it_was_read_to(log):
    known = position(log, read(log)[-1].end, done=True)
    with log.open("ab") as stream:
        stream.write(b'{"n": 100}\n')

    assert lines(read(log, standing(log, known, KEY))) == [b'{"n": 100}']


def test_a_packed_file_that_has_grown_by_a_member_is_read_on(tmp_path):
    log = tmp_path / "log.gz"
    log.write_bytes(gzip.compress(b"{}\n" * 1000))
    known = position(log, read(log)[-1].end, done=True)
    with log.open("ab") as stream:
        stream.write(gzip.compress(b"second\n"))

    assert lines(read(log, standing(log, known, KEY))) == [b"second"]


def test_the_line_at_which_a_file_ends_is_read_again_when_the_file_has_grown(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"whole\nhal")
    found = read(log)
    log.write_bytes(b"whole\nhalf no more\n")

    assert lines(found) == [b"whole", b"hal"]
    assert lines(read(log, standing(log, position(log, found[-1].end, done=True), KEY))) == [b"half no more"]


@pytest.mark.parametrize("change", ["replaced", "shorter", "mended"])
def test_another_file_under_the_same_name_is_read_from_its_beginning(log, change):
    known = position(log, read(log)[-1].end, done=True)
    content = log.read_bytes()
    late = content.rindex(b"9")
    log.write_bytes(
        {
            "replaced": b"x" * len(content),
            "shorter": content[:-20],
            "mended": content[:late] + b"8" + content[late + 1 :] + b"\n",
        }[change]
    )
    os.utime(log, (1, 1))

    assert standing(log, known, KEY).at == 0


def test_a_file_is_known_by_a_keyed_tag_alone(log):
    known = position(log, read(log)[-1].end, done=False)

    assert standing(log, known, KEY).at == log.stat().st_size
    assert standing(log, known, bytes(32)).at == 0


# What is no file to read.


@pytest.fixture
def no_file(tmp_path):
    def made(what):
        path = tmp_path / what
        if what == "folder":
            path.mkdir()
        elif what == "pipe":
            os.mkfifo(path)
        elif what == "loop":
            path.symlink_to(path)
        elif what == "forbidden":
            path.touch()
            path.chmod(0)
        return path

    return made


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "cannot be read (No such file or directory); check the path and its rights"),
        ("folder", "is a directory; name the files in it"),
        ("pipe", "is a pipe or a device, which cannot be read again; write it to a file first"),
        ("loop", "cannot be read (Too many levels of symbolic links); check the path and its rights"),
        pytest.param(
            "forbidden",
            "cannot be read (Permission denied); check the path and its rights",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything"),
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(no_file, what, said):
    path = no_file(what)

    with pytest.raises(InputError) as refused:
        refuse_unreadable(path)

    assert str(refused.value) == f"{path}: {said}"


def test_an_empty_file_is_one_batch_of_nothing(tmp_path):
    path = tmp_path / "empty"
    path.touch()

    (batch,) = read(path)

    assert (lines([batch]), batch.end.at, batch.done) == ([], 0, True)


# How messages are wrapped.


def message(at):
    data = base64.b64encode(b'{"kind":"circulation","event_id":"e%d"}' % at).decode()
    return {"data": data, "attributes": {"a": "b"}, "messageId": str(at), "publishTime": "2026-03-01T10:00:00Z"}


RECEIVED = [{"ackId": f"a{at}", "message": message(at)} for at in range(5)]
SPREAD = "is one JSON document, not a message a line; write each on a line of its own, such as with `jq -c`"
ARRAY = "is a JSON array, not a message a line; write each on a line of its own, such as with `jq -c .[]`"
NO_LOG = "none of its first 20 lines is a JSON object; check that it is a log of this source"


def opened(found):
    """What is in the messages of batches, as the decoder opens them."""
    assert {chunk.form for batch in found for chunk in batch.chunks} == {"pubsub"}
    return [open_pubsub(line) for line in lines(found)]


@pytest.mark.parametrize("head", [b"", b"\n", b"\xef\xbb\xbf"], ids=str)
@pytest.mark.parametrize("packed", [False, True])
def test_messages_of_pubsub_are_the_same_alone_received_and_pulled(tmp_path, head, packed):
    log = tmp_path / "log"
    pulls = [{"receivedMessages": RECEIVED[:3]}, {}, {"receivedMessages": []}, {"receivedMessages": RECEIVED[3:]}]
    wanted = [open_pubsub(json.dumps(one).encode()) for one in RECEIVED]

    for written in (RECEIVED, [message(at) for at in range(5)], pulls):
        content = head + "".join(json.dumps(one) + "\n" for one in written).encode()
        log.write_bytes(gzip.compress(content) if packed else content)
        assert opened(read(log, envelope="kcat")) == wanted


def test_pulls_are_read_on_from_any_place_and_a_pull_is_no_message_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "CHUNK", 3000)
    log = tmp_path / "log"
    log.write_text("".join(json.dumps({"receivedMessages": RECEIVED * 40}) + "\n" for _ in range(4)))

    whole = read(log, size=1)

    assert len(opened(whole)) == 4 * 40 * 5
    assert len(whole) > 2
    for at, batch in enumerate(whole[:-1]):
        again = standing(log, position(log, batch.end, done=False), KEY)
        assert lines(read(log, again, size=1)) == lines(whole[at + 1 :])


def test_what_is_no_answer_of_a_pull_is_left_for_the_decoder_to_refuse(tmp_path):
    log = tmp_path / "log"
    odd = [b'{"receivedMessages":7}', b'{"receivedMessages":[],"x":1}', b'{"receivedMessages":[', b"[1]", b"\xff"]
    log.write_bytes(b'{"receivedMessages":[5]}\n' + b"\n".join(odd))

    assert lines(read(log)) == [b"5", *odd]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(RECEIVED), ARRAY),
        ("\ufeff " + json.dumps(RECEIVED), ARRAY),
        ("[ " + json.dumps(RECEIVED)[1:], ARRAY),
        (json.dumps(RECEIVED, indent=2), SPREAD),
        ("[\n" + ",\n".join(map(json.dumps, RECEIVED)) + "\n]\n", SPREAD),
        (json.dumps({"receivedMessages": RECEIVED}, indent=2), SPREAD),
        ("id,branch\n" * 20, NO_LOG),
        ("\n\n" + "7\n\n" * 20, NO_LOG),
    ],
)
def test_a_file_that_is_no_message_a_line_is_one_line_and_no_reject(tmp_path, content, said):
    log = tmp_path / "log"
    log.write_text(content)

    for refuse in (lambda: read(log), lambda: refuse_unfit(log, "kcat", frozenset())):
        with pytest.raises(InputError) as refused:
            refuse()
        assert str(refused.value) == f"log: {said}"


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("7\n" * 19, "lines"),
        ("null\n" * 40, "lines"),
        ("x\n" * 19 + "{}\n", "lines"),
        ('[{"a": 1}]\n{"a": 1}\n', "lines"),
        ('{"data": {"id": 1}, "type": "CREATED"}', "lines"),
        ('{"data": {"id": 1}}', "lines"),
        ('x\n{"topic": "t", "partition": 0, "offset": 1}', "kcat"),
        ('{"message": {}, "subscription": "s"}', "pubsub"),
        ('x\n{}\nnull\n{"receivedMessages": []}', "pubsub"),
    ],
)
def test_some_broken_lines_do_not_make_a_file_no_log(tmp_path, content, form):
    log = tmp_path / "log"
    log.write_text(content)

    assert {chunk.form for batch in read(log) for chunk in batch.chunks} == {form}
    refuse_unfit(log, "json", frozenset())


@pytest.mark.parametrize("content", ["1\t7\t\\N\tf\tf\n", "1\t7\n2\t8\n", "usr_id\tID\n"])
def test_a_table_without_header_is_one_line_and_no_reject(tmp_path, content):
    log = tmp_path / "log.tsv"
    log.write_text(content)

    with pytest.raises(InputError, match=r"^log\.tsv: its first line names no column of this source; export it again"):
        refuse_unfit(log, "tsv", ADAPTERS["evergreen"].columns)


@pytest.mark.parametrize("content", ["", "\n", "\ufeffid\r\n", "note\tusr\n1\t2\n"])
def test_a_table_that_names_a_known_column_or_has_no_line_is_read(tmp_path, content):
    log = tmp_path / "log.tsv"
    log.write_text(content)

    refuse_unfit(log, "tsv", ADAPTERS["evergreen"].columns)
