"""`carrel stream` before an engine has the job: what is refused, where reading begins, what becomes of a submission."""

import subprocess
import sys

import pytest

from pipelines import stream_starts
from pipelines.bus import BusError
from pipelines.commands import streaming
from pipelines.configuration import ConfigurationError, capabilities, load
from pipelines.counts_opening import open_counts
from pipelines.flink_checks import FlinkCheckError
from pipelines.flink_rest import FlinkError
from pipelines.invocation import Invocation, UsageError
from pipelines.kafka_bus_questions import Retention
from pipelines.kafka_first import First
from pipelines.retention import RetentionError
from pipelines.stream_options import StreamOptionError
from schemas.policy_compiler import compile_policy
from tests.support.replaying import at, deployment, edit

FLINK = (
    "--runner=PortableRunner", "--job_endpoint=127.0.0.1:8099", "--environment_type=EXTERNAL",
    "--environment_config=127.0.0.1:50000", "--checkpointing_interval=2000", "--finish_bundle_before_checkpointing",
)  # fmt: skip
PRISM = ("--runner=PrismRunner", "--prism_location=bin/prism")
BUS = 'bus = { kind = "kafka", topics = ["loans"], settings = "kafka.properties" }'
FOR_EVER = Retention(None, None, compacted=False)
DAY = 86_400_000
NOW = at("2026-04-10", 9)


class Brokers:
    """What the brokers say of a topic; a test changes it."""

    def __init__(self):
        self.first = First(at("2026-03-03", 7), truncated=False)
        self.kept = FOR_EVER

    def retention(self, topic):
        return self.kept

    def close(self):
        pass


@pytest.fixture
def brokers(monkeypatch):
    told = Brokers()
    monkeypatch.setattr(stream_starts, "first_messages", lambda topics, settings: told.first)
    monkeypatch.setattr(stream_starts, "Questions", lambda settings, heard: told)
    return told


@pytest.fixture
def directory(tmp_path):
    made = deployment(tmp_path / "library")
    (made / "kafka.properties").write_text("bootstrap.servers=localhost:1\n")
    edit(made / "carrel.toml", 'adapter = "carrel-event"\n', f'adapter = "carrel-event"\n{BUS}\n')
    return made


def starts(directory, *, is_restored=False):
    found = load(directory / "carrel.toml")
    policy = compile_policy(found.policy_text, capabilities(found))
    with open_counts(found.counts_store) as counts:
        return stream_starts.starts_of(found, policy, counts, now=NOW, is_restored=is_restored)["carrel-event"]


def day_number(day):
    return (at(day) - at("1970-01-01")) // DAY


def test_a_source_begins_with_the_day_of_its_first_message(directory, brokers):
    start = starts(directory)

    assert (start.begins.day, start.begins.by_default) == (day_number("2026-03-03"), True)
    assert start.since == at("2026-03-01") - 15 * 60_000


def test_a_declared_day_stands(directory, brokers):
    edit(directory / "carrel.toml", BUS, f'{BUS}\ncomplete_from = "2026-03-01"')

    assert (starts(directory).begins.day, starts(directory).begins.by_default) == (day_number("2026-03-01"), False)


def test_an_empty_bus_tells_no_beginning(directory, brokers):
    brokers.first = First(None, truncated=False)

    with pytest.raises(ConfigurationError, match=r"no message yet.*complete_from"):
        starts(directory)


def test_what_the_bus_has_forgotten_is_not_complete(directory, brokers):
    edit(directory / "carrel.toml", BUS, f'{BUS}\ncomplete_from = "2026-03-01"')
    brokers.first = First(at("2026-03-20", 5), truncated=True)

    assert starts(directory).begins.day == day_number("2026-03-21")


def test_a_restored_job_has_what_the_bus_has_forgotten(directory, brokers):
    brokers.first = First(at("2026-03-20", 5), truncated=True)
    with pytest.raises(ConfigurationError, match="complete_from"):
        starts(directory, is_restored=True)

    edit(directory / "carrel.toml", BUS, f'{BUS}\ncomplete_from = "2026-03-01"')

    assert starts(directory, is_restored=True).begins.day == day_number("2026-03-01")


@pytest.mark.parametrize("kept", [Retention(7 * DAY, None, compacted=False), Retention(None, 1, compacted=False)])
def test_a_bus_that_forgets_too_early_is_refused(directory, brokers, kept):
    brokers.kept = kept

    with pytest.raises(RetentionError, match="open windows need"):
        starts(directory)

    edit(directory / "carrel.toml", BUS, f"{BUS}\nstate_is_only_copy = true")
    starts(directory)


def test_a_source_that_tables_wait_for_needs_a_bus_or_has_ended(directory, brokers):
    edit(directory / "carrel.toml", BUS, "")

    with pytest.raises(ConfigurationError, match="carrel-event has no bus"):
        starts(directory)


SUBSCRIPTION = 'bus = { kind = "pubsub", subscription = "projects/p/subscriptions/s" }'
ONLY_COPY = f"{SUBSCRIPTION}\nstate_is_only_copy = true"


@pytest.fixture
def subscribed(directory, monkeypatch):
    """The deployment reads a subscription that is there."""
    monkeypatch.setattr(stream_starts, "_ask_for", lambda *_: None)
    edit(directory / "carrel.toml", BUS, ONLY_COPY)
    return directory


@pytest.mark.parametrize(
    ("declared", "begins"),
    [("", ("2026-04-11", True)), ("2026-03-01", ("2026-04-11", True)), ("2026-05-01", ("2026-05-01", False))],
)
def test_a_clean_start_on_pubsub_begins_with_the_day_after_it_at_the_earliest(subscribed, declared, begins):
    if declared:
        edit(subscribed / "carrel.toml", ONLY_COPY, f'{ONLY_COPY}\ncomplete_from = "{declared}"')

    start = starts(subscribed).begins

    assert (start.day, start.by_default) == (day_number(begins[0]), begins[1])


def test_a_restored_job_on_pubsub_needs_the_day_that_it_had_all_from(subscribed):
    with pytest.raises(ConfigurationError, match="complete_from"):
        starts(subscribed, is_restored=True)

    edit(subscribed / "carrel.toml", ONLY_COPY, f'{ONLY_COPY}\ncomplete_from = "2026-03-01"')

    assert starts(subscribed, is_restored=True).begins.day == day_number("2026-03-01")


def test_on_pubsub_the_engines_state_is_the_only_copy_and_must_be_said_to_be(directory):
    edit(directory / "carrel.toml", BUS, SUBSCRIPTION)

    with pytest.raises(RetentionError, match="state_is_only_copy"):
        starts(directory)


def test_brokers_that_do_not_answer_are_named_by_their_source(directory, brokers, monkeypatch):
    def away(topics, settings):
        text = "kafka: the brokers do not answer"
        raise BusError(text)

    monkeypatch.setattr(stream_starts, "first_messages", away)

    with pytest.raises(BusError, match="carrel-event: kafka: the brokers do not answer"):
        starts(directory)


class Job:
    """In place of a pipeline: notes what is done with it."""

    def __init__(self, done):
        self.done = done

    def run(self):
        self.done.append("run")
        return self

    def wait_until_finish(self):
        self.done.append("waited")


@pytest.fixture
def submitted(directory, monkeypatch):
    """Submits a job that is none; gives what was done, in order."""
    done = []

    def build(deployment, policy, words, **given):
        done.append((tuple(words), given["readers"], given["is_restored"]))
        return Job(done)

    monkeypatch.setattr(streaming, "build", build)

    def need_no_job(rest, name):
        done.append(("alone", rest.address, name))
        return {"ended-before"}

    def check_job(rest, name, ms, *, before):
        done.append(("checked", name, ms, *before))
        return "job-id"

    monkeypatch.setattr(streaming, "need_no_job", need_no_job)
    monkeypatch.setattr(streaming, "check_job", check_job)

    def submit(*words, flink=None):
        run = Invocation(directory / "carrel.toml", now=0)
        assert streaming.stream(run, words, readers=3, flink=flink) == 0
        return done

    return submit


PATIENT = "--job_server_timeout=31536000"
ALWAYS = ("--streaming", "--no_save_main_session", "--job_name=carrel-example")


def test_a_job_for_flink_is_held_against_what_was_asked_and_left_alone(submitted, capsys):
    assert submitted(*FLINK, flink="http://127.0.0.1:8081") == [
        ((*FLINK, *ALWAYS), 3, False),
        ("alone", "http://127.0.0.1:8081", "carrel-example"),
        "run",
        ("checked", "carrel-example", 2000, "ended-before"),
    ]
    assert capsys.readouterr().out == "carrel-example runs on Flink as job job-id\n"


def test_without_flinks_address_it_says_that_nobody_has_looked(submitted, capsys):
    assert submitted(*FLINK)[1:] == ["run", "waited"]
    assert "--flink URL" in capsys.readouterr().err


def test_a_job_has_its_own_name_and_may_go_on_from_a_savepoint(submitted):
    words = (*FLINK, "--job_name=mine", "--savepoint_path=file:///s")

    given, _, is_restored = submitted(*words)[0]

    assert set(given) == {*words, *ALWAYS[:2], PATIENT}
    assert is_restored


def test_on_prism_it_waits(submitted):
    assert submitted(*PRISM) == [((*PRISM, *ALWAYS, PATIENT), 3, False), "run", "waited"]


def test_how_long_it_waits_may_be_said(submitted):
    given, *_ = submitted(*PRISM, "--job_server_timeout=90")[0]

    assert [word for word in given if "timeout" in word] == ["--job_server_timeout=90"]


@pytest.mark.parametrize(
    ("words", "flink", "said"),
    [
        ((), None, "--runner"),
        (("--runner=DirectRunner",), None, "never ends"),
        ((*FLINK, "--checkpointing_intreval=1"), None, "--checkpointing_interval"),
        (FLINK[:-1], None, "finish_bundle_before_checkpointing"),
        (PRISM, "http://127.0.0.1:8081", "--flink"),
    ],
)
def test_wrong_words_are_one_line_and_nothing_is_built(submitted, words, flink, said):
    with pytest.raises((StreamOptionError, UsageError), match=said):
        submitted(*words, flink=flink)


def test_an_engine_that_does_not_take_the_job_is_one_line_without_its_text(submitted, monkeypatch):
    def refused(self):
        text = "patron p7 at 10.0.0.1"
        raise RuntimeError(text)

    monkeypatch.setattr(Job, "run", refused)

    with pytest.raises(UsageError, match=r"did not take the job \(RuntimeError\)") as told:
        submitted(*PRISM)
    assert "p7" not in str(told.value)
    assert told.value.__suppress_context__


@pytest.mark.parametrize("error", [FlinkError("flink: does not answer"), FlinkCheckError("flink: runs already")])
def test_a_cluster_that_is_away_or_has_the_job_is_told_before_it_is_submitted(submitted, monkeypatch, error):
    def refused(rest, name):
        raise error

    monkeypatch.setattr(streaming, "need_no_job", refused)
    monkeypatch.setattr(Job, "run", lambda self: pytest.fail("it was submitted"))

    with pytest.raises(ValueError, match=str(error)):
        submitted(*FLINK, flink="http://127.0.0.1:1")


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.stream", "--", "--runner=DirectRunner"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "it cannot read a source that never ends" in done.stderr
