"""Dead letters are kept once, sealed, and opening them leaves a trace."""

import base64
import json
import os
from pathlib import Path

import pytest
from blake3 import blake3

from pipelines.access_log import Access, AccessLog, AccessLogError
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.letter import DeadLetterError
from schemas.rejects import SealedReject

KEY = bytes(range(7, 39))
ACCESS = Access("officer", "2026-03-05T14Z", "open")


def _seal(clear: bytes, payload: bytes) -> bytes:
    """A stand-in with the one property needed here: it opens only with the clear part it was made for."""
    return blake3(clear + payload, key=KEY).digest() + payload


def _opener(private_key: bytes, clear: bytes, sealed: bytes) -> bytes:
    payload = sealed[32:]
    if blake3(clear + payload, key=private_key).digest() != sealed[:32]:
        message = "does not open: SECRET"
        raise ValueError(message)
    return payload


def _reject(payload: bytes, *, source: str = "ils", reason: str = "not_json", kept: bool = True) -> SealedReject:
    clear = json.dumps(
        {"fields": [], "reason": reason, "received_day": "2026-03-01", "source": source},
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    return SealedReject(source, reason, clear, _seal(clear, payload) if kept else b"", b"")


REJECTS = [_reject(b"\x00one\n"), _reject(b"two", reason="gap"), _reject(b"", reason="oversize", kept=False)]


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetterDirectory:
    return DeadLetterDirectory(tmp_path / "dead")


def _names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def test_a_batch_is_one_private_file_of_json_lines(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    letters.write("ils-7", "2026-03-01", REJECTS)
    file = tmp_path / "dead" / "2026-03-01_ils-7.jsonl"
    assert _names(tmp_path / "dead") == [file.name]
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["reason"] for line in lines] == ["not_json", "gap", "oversize"]
    assert base64.b64decode(lines[0]["sealed"]) == REJECTS[0].sealed


def test_the_same_batch_again_changes_nothing_even_after_midnight(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    letters.write("ils-7", "2026-03-01", REJECTS)
    letters.write("ils-7", "2026-03-01", REJECTS)
    letters.write("ils-7", "2026-03-02", REJECTS)
    assert _names(tmp_path / "dead") == ["2026-03-01_ils-7.jsonl"]


def test_other_rejects_under_the_same_name_are_kept_beside(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    for _ in range(2):
        letters.write("ils-7", "2026-03-01", REJECTS[:1])
        letters.write("ils-7", "2026-03-01", REJECTS[1:])
    assert _names(tmp_path / "dead") == ["2026-03-01_ils-7.jsonl", "2026-03-01_ils-7~2.jsonl"]
    assert sum(count.letters for count in letters.list()) == 3


def test_no_rejects_make_no_file(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    letters.write("ils-7", "2026-03-01", [])
    assert not (tmp_path / "dead").exists()
    assert letters.list() == ()
    assert letters.purge("2026-03-01") == 0


def test_a_kill_while_writing_leaves_nothing_that_counts(
    letters: DeadLetterDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dead").mkdir(mode=0o755)
    partial = tmp_path / "dead" / ".2026-03-01_ils-7.jsonl.partial"
    partial.write_text('{"half')
    assert letters.list() == ()
    letters.write("ils-7", "2026-03-01", REJECTS)
    assert _names(tmp_path / "dead") == ["2026-03-01_ils-7.jsonl"]
    assert (tmp_path / "dead").stat().st_mode & 0o777 == 0o700

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DeadLetterError, match="No space"):
        letters.write("ils-8", "2026-03-01", REJECTS)
    assert _names(tmp_path / "dead") == ["2026-03-01_ils-7.jsonl"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "a~2", "x" * 161, "a\n"])
def test_a_batch_name_cannot_leave_the_directory(letters: DeadLetterDirectory, name: str) -> None:
    with pytest.raises(DeadLetterError, match="batch name"):
        letters.write(name, "2026-03-01", REJECTS)


def test_a_day_is_an_iso_day(letters: DeadLetterDirectory) -> None:
    with pytest.raises(DeadLetterError, match="YYYY-MM-DD"):
        letters.write("b", "2026-3-1", REJECTS)
    with pytest.raises(DeadLetterError, match="YYYY-MM-DD"):
        letters.purge("now")


def test_a_clear_part_that_does_not_describe_its_reject_is_refused(letters: DeadLetterDirectory) -> None:
    first = REJECTS[0]
    with pytest.raises(DeadLetterError, match="report this"):
        letters.write("b", "2026-03-01", [SealedReject("crm", first.reason, first.clear, first.sealed, b"")])


def test_the_list_counts_by_day_source_and_reason(letters: DeadLetterDirectory) -> None:
    letters.write("b", "2026-03-02", REJECTS)
    letters.write("a", "2026-03-01", [REJECTS[0], REJECTS[0], _reject(b"x", source="crm")])
    assert [(c.day, c.source, c.reason, c.letters) for c in letters.list()] == [
        ("2026-03-01", "crm", "not_json", 1),
        ("2026-03-01", "ils", "not_json", 2),
        ("2026-03-02", "ils", "gap", 1),
        ("2026-03-02", "ils", "not_json", 1),
        ("2026-03-02", "ils", "oversize", 1),
    ]


def test_opening_gives_exact_bytes_and_is_logged_without_content(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    letters.write("a", "2026-03-01", REJECTS)
    for _ in range(2):
        opened = list(letters.open(KEY, _opener, ACCESS))
        assert [(letter.fields["reason"], payload) for letter, payload in opened] == [
            ("not_json", b"\x00one\n"),
            ("gap", b"two"),
        ]
        assert "sealed" not in opened[0][0].fields
    log = tmp_path / "dead" / "access.log"
    first, second = [json.loads(line) for line in log.read_text().splitlines()]
    assert first == {
        "hour": "2026-03-05T14Z", "who": "officer", "action": "open", "count": 2,
        "letters": [["ils", "gap", 1], ["ils", "not_json", 1]], "previous": "0" * 64,
    }  # fmt: skip
    assert second["previous"] == blake3(log.read_bytes().splitlines(keepends=True)[0]).hexdigest()
    assert log.stat().st_mode & 0o777 == 0o600
    assert len(AccessLog(tmp_path / "dead").check().entries) == 2


def test_the_access_is_logged_before_the_first_letter_is_seen(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    letters.write("a", "2026-03-01", REJECTS)
    opening = letters.open(KEY, _opener, ACCESS)
    next(opening)
    assert len(AccessLog(tmp_path / "dead").check().entries) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("edit", "chain is broken"),
        ("remove", "chain is broken"),
        ("tear", "chain is broken"),
        ("garbage", "chain is broken"),
        ("cut", "missing at its end"),
        ("empty", "missing at its end"),
        ("no note", "missing at its end"),
        ("bad note", "missing at its end"),
    ],
)
def test_an_altered_access_log_stops_opening(
    letters: DeadLetterDirectory, tmp_path: Path, change: str, said: str
) -> None:
    letters.write("a", "2026-03-01", REJECTS)
    for _ in range(3):
        list(letters.open(KEY, _opener, ACCESS))
    log, note = tmp_path / "dead" / "access.log", tmp_path / "dead" / "access.end"
    lines = log.read_bytes().splitlines(keepends=True)
    changed = {
        "edit": [lines[0].replace(b"05", b"04"), *lines[1:]],
        "remove": lines[1:],
        "tear": [*lines[:2], lines[2][:-1]],
        "garbage": [*lines, b"[]\n"],
        "cut": lines[:2],
        "empty": [],
    }.get(change, lines)
    log.write_bytes(b"".join(changed))
    if change == "no note":
        note.unlink()
    if change == "bad note":
        note.write_text("{}")
    with pytest.raises(AccessLogError, match=said):
        AccessLog(tmp_path / "dead").check()
    with pytest.raises(AccessLogError, match=said):
        next(letters.open(KEY, _opener, ACCESS))


def test_a_kill_between_entry_and_note_is_no_alteration(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    letters.write("a", "2026-03-01", REJECTS)
    note = tmp_path / "dead" / "access.end"
    list(letters.open(KEY, _opener, ACCESS))
    before = note.read_bytes()
    list(letters.open(KEY, _opener, ACCESS))
    note.write_bytes(before)
    list(letters.open(KEY, _opener, ACCESS))
    assert len(AccessLog(tmp_path / "dead").check().entries) == 3


def test_redriven_letters_are_marked_and_purged_with_their_file(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    letters.write("a", "2026-03-01", REJECTS)
    opened = [letter for letter, _ in letters.open(KEY, _opener, ACCESS)]
    for letter in opened:
        letters.mark_redriven([letter])
    assert [(one.reason, one.letters, one.redriven) for one in letters.list()] == [
        ("gap", 1, 1), ("not_json", 1, 1), ("oversize", 1, 0),
    ]  # fmt: skip
    assert list(letters.open(KEY, _opener, ACCESS, lambda letter: not letter.is_redriven)) == []
    assert letters.purge("2026-03-02") == 1
    assert _names(tmp_path / "dead") == ["access.end", "access.log"]


def test_a_line_whose_metadata_was_swapped_does_not_open(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    letters.write("a", "2026-03-01", REJECTS[:1])
    file = tmp_path / "dead" / "2026-03-01_a.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"source":"ils"', b'"source":"crm"'))
    with pytest.raises(DeadLetterError, match="does not open") as raised:
        list(letters.open(KEY, _opener, ACCESS))
    assert "\n" not in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_another_key_does_not_open(letters: DeadLetterDirectory) -> None:
    letters.write("a", "2026-03-01", REJECTS)
    with pytest.raises(DeadLetterError, match="wrong key"):
        list(letters.open(KEY[::-1], _opener, ACCESS))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"not json SECRET",
        b'{"source":"ils","reason":"gap"}',
        b'{"source":"ils","reason":"gap","sealed":"!!!"}',
        b'{"source":"ils","reason":"gap","sealed":"AA',
        b'{"source":1,"reason":"gap","sealed":""}',
        b'{"reason":"gap","sealed":""}',
        b"[" * 100_000,
        b'\xff,"sealed":""}',
    ],
)
def test_a_forged_line_is_refused_in_one_line(letters: DeadLetterDirectory, tmp_path: Path, line: bytes) -> None:
    letters.write("a", "2026-03-01", REJECTS)
    (tmp_path / "dead" / "2026-03-02_forged.jsonl").write_bytes(line + b"\n")
    for attempt in (letters.list, lambda: list(letters.open(KEY, _opener, ACCESS))):
        with pytest.raises(DeadLetterError, match="not a dead letter") as raised:
            attempt()
        assert "\n" not in str(raised.value)
        assert "SECRET" not in str(raised.value)


def test_purge_deletes_whole_old_files_and_nothing_else(letters: DeadLetterDirectory, tmp_path: Path) -> None:
    for day in ("2026-02-28", "2026-03-01", "2026-03-02"):
        letters.write("a", day, [_reject(day.encode())])
    list(letters.open(KEY, _opener, ACCESS))
    (tmp_path / "dead" / ".2026-02-27_b.jsonl.partial").write_text("{")
    (tmp_path / "dead" / "notes.txt").write_text("mine")
    assert letters.purge("2026-03-02") == 3
    assert _names(tmp_path / "dead") == ["2026-03-02_a.jsonl", "access.end", "access.log", "notes.txt"]
    assert letters.purge("2026-03-02") == 0


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "dead", tmp_path / "no" / "dead"):
        with pytest.raises(DeadLetterError, match="cannot be used") as raised:
            DeadLetterDirectory(path).write("a", "2026-03-01", REJECTS)
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_directory_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DeadLetterError, match="cannot be used"):
            DeadLetterDirectory(tmp_path / "dead").write("a", "2026-03-01", REJECTS)
    finally:
        tmp_path.chmod(0o700)
