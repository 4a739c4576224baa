"""What analysts get: the same lines in four formats, with honest margins."""

import csv
import io
import json
import math
from pathlib import Path

import pytest

from pipelines.counts_output import OutputError, arrange, margin_95, write_counts
from pipelines.counts_rows import CountRow


def _row(cell: str, value: int | None, *, table: str = "t", measure: str = "patrons", **more: str) -> CountRow:
    status = more.get("status", "published" if value is not None else "withheld")
    mechanism, start = more.get("mechanism", "geometric2/k11"), more.get("start", "2026-03-01")
    head = ("r", "example", table, start, "2026-04-01", "America/New_York")
    return CountRow(*head, cell, measure, value, status, mechanism, int(more.get("revision", "0")))


ROWS = [
    _row('{"branch":"B02"}', None),
    _row('{"branch":"B01"}', 57),
    _row('{"branch":"B01"}', 120, measure="acts", mechanism="geometric2/k11/C10"),
    _row('{"branch":"B03"}', 0, status="structural_zero"),
]


def test_margins_cover_95_percent_of_the_noise_and_no_less() -> None:
    for scale in range(1, 12):
        a = math.exp(-1 / scale)
        weights = [(1 - a) / (1 + a) * a ** abs(x) for x in range(-2000, 2001)]
        margin = margin_95(f"geometric{scale}/k11")
        assert sum(weights[2000 - margin : 2001 + margin]) >= 0.95
        assert sum(weights[2001 - margin : 2000 + margin]) < 0.95


def test_the_known_mechanisms_have_their_margins() -> None:
    assert [margin_95(m) for m in ("geometric2/k11/C10", "total/round10/k11", "plain/k11", "plain")] == [
        6,
        5,
        0,
        0,
    ]


@pytest.mark.parametrize("mechanism", ["", "geometric", "geometric0", "laplace2", "total", "plainest"])
def test_an_unknown_mechanism_has_no_guessed_margin(mechanism: str) -> None:
    with pytest.raises(OutputError, match="update carrel"):
        margin_95(mechanism)


def test_csv_is_sorted_and_a_withheld_value_is_empty() -> None:
    stream = io.StringIO()
    write_counts(arrange(ROWS), "csv", stream=stream)
    assert stream.getvalue().splitlines() == [
        "window_start,window_end,branch,measure,value,margin_95,status",
        "2026-03-01,2026-04-01,B01,acts,120,6,published",
        "2026-03-01,2026-04-01,B01,patrons,57,6,published",
        "2026-03-01,2026-04-01,B02,patrons,,,withheld",
        "2026-03-01,2026-04-01,B03,patrons,0,0,structural_zero",
    ]


def test_several_tables_share_the_union_of_their_dimensions() -> None:
    view = arrange([*ROWS, _row('{"action":"checkout","material":"book"}', 80, table="a"), _row("{}", 90, table="z")])
    assert view.columns[:6] == ("table_name", "window_start", "window_end", "action", "branch", "material")
    assert view.lines[0][:6] == ("a", "2026-03-01", "2026-04-01", "checkout", None, "book")
    assert view.lines[-1][3:7] == (None, None, None, "patrons")


def test_the_order_of_rows_given_does_not_matter() -> None:
    assert arrange(ROWS) == arrange(ROWS[::-1])


def test_labels_replace_codes_and_unlabelled_codes_stay() -> None:
    view = arrange(ROWS, {"branch": {"B01": "Zoo, [red]Main[/red]"}, "material": {"book": "Book"}})
    assert [line[2] for line in view.lines] == ["Zoo, [red]Main[/red]", "Zoo, [red]Main[/red]", "B02", "B03"]
    stream = io.StringIO()
    write_counts(view, "csv", stream=stream)
    assert next(iter(csv.DictReader(io.StringIO(stream.getvalue()))))["branch"] == "Zoo, [red]Main[/red]"


def test_the_last_revision_is_shown() -> None:
    view = arrange([_row("{}", 50, revision="1"), _row("{}", 40)])
    assert [line[3] for line in view.lines] == [50]


def test_json_has_null_for_withheld_and_is_valid_when_empty() -> None:
    stream, empty = io.StringIO(), io.StringIO()
    write_counts(arrange(ROWS), "json", stream=stream)
    write_counts(arrange([]), "json", stream=empty)
    assert json.loads(stream.getvalue())[2]["value"] is None
    assert json.loads(stream.getvalue())[1]["margin_95"] == 6
    assert json.loads(empty.getvalue()) == []


def test_the_terminal_table_shows_brackets_of_labels_as_they_are() -> None:
    stream = io.StringIO()
    write_counts(arrange(ROWS, {"branch": {"B01": "[red]M"}}), "table", stream=stream)
    assert "[red]M" in stream.getvalue()


@pytest.mark.parametrize("rows", [ROWS, []], ids=["rows", "empty"])
def test_parquet_has_integer_numbers_with_nulls(tmp_path: Path, rows: list[CountRow]) -> None:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    view = arrange(rows)
    write_counts(view, "parquet", tmp_path / "counts.parquet")
    table = pq.read_table(tmp_path / "counts.parquet")
    assert table.column_names == list(view.columns)
    assert str(table.schema.field("value").type) == "int64"
    assert [tuple(line.values()) for line in table.to_pylist()] == list(view.lines)


@pytest.mark.parametrize("style", ["csv", "json", "table", "parquet"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "counts.out"
    output.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space") as raised:
        write_counts(arrange(ROWS), style, output)
    assert "\n" not in str(raised.value)
    assert output.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["counts.out"]


def test_output_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_counts(arrange(ROWS), "csv", tmp_path / "nowhere" / "counts.csv")
    with pytest.raises(OutputError, match="--output"):
        write_counts(arrange(ROWS), "parquet")
    with pytest.raises(OutputError, match="unknown format"):
        write_counts(arrange(ROWS), "xlsx")
    with pytest.raises(OutputError, match="rename the group"):
        arrange([_row('{"status":"x"}', 50)])


def test_a_file_replaces_the_old_one(tmp_path: Path) -> None:
    output = tmp_path / "counts.csv"
    output.write_text("old")
    write_counts(arrange(ROWS), "csv", output)
    assert output.read_bytes().startswith(b"window_start,")
    assert b"\r" not in output.read_bytes()


def _shown(*rows: CountRow) -> list[str]:
    stream = io.StringIO()
    write_counts(arrange(rows), "table", stream=stream)
    return stream.getvalue().splitlines()


def test_for_the_eye_a_cell_is_a_line_and_a_measure_a_column() -> None:
    assert _shown(*ROWS) == [
        "t  2026-03",
        "  branch  acts  patrons",
        "  B01      120       57",
        "  B02                 -",
        "  B03                 x",
        "  95 % margin: acts ±6, patrons ±6",
        "  - withheld: too few people, or in a total one who stands out",
        "  x cannot be, by the policy",
    ]


def test_a_table_without_dimensions_has_a_line_for_each_window() -> None:
    assert _shown(_row("{}", 40), _row("{}", 50, start="2026-02-01")) == [
        "t",
        "  window                    patrons",
        "  2026-02-01 to 2026-03-31       50",
        "  2026-03                        40",
        "  95 % margin: patrons ±6",
    ]


def test_tables_and_windows_are_blocks_apart_with_their_own_dimensions() -> None:
    rows = [_row('{"branch":"B01"}', 40), _row('{"branch":"B01"}', 41, start="2026-02-01")]

    lines = _shown(*rows, _row('{"age":"0-12"}', 60, table="a", mechanism="plain/k11"))

    assert [line for line in lines if line and not line.startswith(" ")] == [
        "a  2026-03",
        "t  2026-02-01 to 2026-03-31",
        "t  2026-03",
    ]
    assert lines[1].split() == ["age", "patrons"]
    assert lines[3:5] == ["  95 % margin: patrons 0", ""]


def test_where_nothing_is_released_it_says_so() -> None:
    assert _shown() == ["nothing is released here; `carrel status` says what is held and until when"]
