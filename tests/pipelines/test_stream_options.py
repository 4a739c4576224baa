"""Options of a streaming job: what is passed on, and each refusal in one line that quotes no value."""

import re

import pytest

from pipelines.stream_options import StreamOptionError, stream_options

FLINK = (
    "--runner=PortableRunner",
    "--job_endpoint=127.0.0.1:8099",
    "--environment_type=EXTERNAL",
    "--environment_config=127.0.0.1:50000",
    "--checkpointing_interval=30000",
    "--finish_bundle_before_checkpointing",
)
DATAFLOW = (
    "--runner=DataflowRunner",
    "--project=library",
    "--region=europe-west3",
    "--temp_location=gs://library/temp",
)
ALWAYS = ("--streaming", "--no_save_main_session")


def without(words, name):
    return [word for word in words if not word.startswith(f"--{name}")]


def refusal(*words):
    with pytest.raises(StreamOptionError) as caught:
        stream_options(words)
    text = str(caught.value)
    assert re.fullmatch(r"carrel stream: [^\n]+", text)
    return text


def test_a_job_for_flink_is_passed_on_with_what_a_stream_needs():
    judged = stream_options(FLINK)

    assert (judged.engine, judged.checkpoints) == ("flink", 30_000)
    assert judged.words == (*FLINK, *ALWAYS)


def test_flink_embedded_in_this_process_needs_no_environment():
    words = ("--runner=FlinkRunner", "--checkpointing_interval=30000", "--finish_bundle_before_checkpointing")

    assert stream_options(words).words == (*words, *ALWAYS)
    assert stream_options((*words, "--flink_master=[local]", "--environment_type=LOOPBACK")).engine == "flink"


def test_prism_needs_nothing_but_its_name():
    judged = stream_options(["--runner=PrismRunner", "--prism_location=bin/prism"])

    assert (judged.engine, judged.checkpoints) == ("prism", None)
    assert judged.words == ("--runner=PrismRunner", "--prism_location=bin/prism", *ALWAYS)


def test_dataflow_never_samples_exceptions():
    judged = stream_options(DATAFLOW)

    assert judged.words == (*DATAFLOW, "--experiments=disable_always_on_exception_sampling", *ALWAYS)
    assert stream_options(judged.words).words == judged.words


def test_names_and_values_may_stand_apart_and_switches_say_true():
    apart = [part for word in FLINK for part in word.split("=")]

    assert stream_options([*apart, "--streaming=true", "--no-save-main-session"]).words == (*FLINK, *ALWAYS)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--checkpointing_intreval=30000", "known; --checkpointing_interval?"),
        ("--zzz=1", "no option that is known"),
        ("--Ümlaut=1", "carrel stream: --?: no option that is known"),
        ("--prism_location=bin/prism", "PortableRunner has no such option"),
        ("--project=library", "PortableRunner has no such option"),
        ("--save_main_session", "pickle whatever this process holds"),
        ("--enable_data_sampling", "a sample is events in clear"),
        ("--profile_cpu", "a profile shows"),
        ("--profiler_agent=x", "a profile shows"),
        ("--save_heap_dumps", "a heap dump holds keys"),
        ("--enable_heap_dump", "a heap dump holds keys"),
        ("--allow_non_deterministic_key_coders", "grouped wrongly"),
        ("--auto_unique_labels", "labels are what"),
        ("--allow_unsafe_triggers", "a trigger may drop"),
        ("--allow_non_restored_state", "state that does not fit"),
        ("--drain", "stop with a savepoint"),
        ("--fail_on_checkpointing_errors", "naming it switches it off"),
        ("--streaming=false", "it is a switch"),
        ("--object_reuse=1", "it is a switch"),
        ("--parallelism=0", "its value is missing or has another form"),
        ("--parallelism=many", "its value is missing or has another form"),
        ("--job_name", "its value is missing or has another form"),
        ("--job_name=", "its value is missing or has another form"),
        ("--checkpointing_mode=AT_LEAST_ONCE", "its value is missing or has another form"),
        ("--runner=PortableRunner", "it is given twice"),
        ("--tolerable_checkpoint_failure_number=3", "no option that is known"),
        ("--state_backend=rocksdb", "it goes with --state_backend_storage_path"),
        ("--state_backend_storage_path=file:///state", "it goes with --state_backend_storage_path"),
        ("--state_backend=hashmap", "its value is missing or has another form"),
        ("--max_parallelism=1 --parallelism=2", "it is lower than --parallelism"),
    ],
)
def test_what_is_not_known_or_would_leak_is_refused(word, said):
    assert said in refusal(*FLINK, *word.split(" "))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--runner: say which engine: DataflowRunner, FlinkRunner, PortableRunner, PrismRunner"),
        (("--runner=SparkRunner",), "--runner: no engine for this job"),
        (("--runner=DirectRunner",), "--runner: it cannot read a source that never ends"),
        (("--runner=BundleBasedDirectRunner",), "--runner: it cannot read a source that never ends"),
        (without(FLINK, "checkpointing_interval"), "--checkpointing_interval: missing"),
        (without(FLINK, "finish_bundle"), "--finish_bundle_before_checkpointing: missing"),
        (without(FLINK, "job_endpoint"), "--job_endpoint: missing"),
        (without(FLINK, "environment_type"), "--environment_type: missing"),
        (without(FLINK, "environment_config"), "--environment_config: missing"),
        (("--runner=FlinkRunner", "--flink_master=flink:8081", *FLINK[4:]), "--environment_type: missing"),
        ((*without(FLINK, "checkpointing"), "--checkpointing_interval=499"), "need 500 to 600000 ms"),
        ((*without(FLINK, "checkpointing"), "--checkpointing_interval=600001"), "need 500 to 600000 ms"),
        ((*without(FLINK, "checkpointing"), "--checkpointing_interval=-1"), "has another form"),
        (without(DATAFLOW, "project"), "--project: missing"),
        (without(DATAFLOW, "region"), "--region: missing"),
        (without(DATAFLOW, "temp_location"), "--temp_location: missing"),
        ((*DATAFLOW, "--experiments=enable_data_sampling"), "only disable_always_on_exception_sampling and"),
        ((*DATAFLOW, "--checkpointing_interval=30000"), "DataflowRunner has no such option"),
        (("word", *FLINK), "a word among the options is no option"),
        ((*FLINK, "--parallelism=2", "2"), "a word among the options is no option"),
    ],
)
def test_what_a_job_cannot_do_without_is_asked_for(words, said):
    assert said in refusal(*words)


@pytest.mark.parametrize("address", ["flink:8099", "10.0.0.7:8099", "127.example.org:8099"])
def test_workers_in_this_process_are_for_a_cluster_on_this_machine(address):
    here = [*without(FLINK, "environment"), "--environment_type=LOOPBACK"]
    there = [*without(here, "job_endpoint"), f"--job_endpoint={address}"]

    assert stream_options(here).engine == "flink"
    assert "LOOPBACK runs all events through this process" in refusal(*there)


@pytest.mark.parametrize(
    "secret",
    [
        "password=hunter2",
        '{"env": {"PGPASSWORD": "hunter2"}}',
        "api_key:hunter2",
        "sasl.password=hunter2",
        "https://me:hunter2@flink.example.org",
        "-----BEGIN PRIVATE KEY-----hunter2",
        "AKIAABCDEFGHIJKLMNOP",
        "ya29.hunter2",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi",
    ],
)
def test_a_value_that_looks_like_a_secret_is_refused_and_not_repeated(secret):
    said = refusal(*without(FLINK, "environment_config"), f"--environment_config={secret}")

    assert "--environment_config: its value looks like a secret" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "word", ["--runner=hunter2", "--hunter2hunter2=1 ", "--parallelism=hunter2", "--job_endpoint=hunter2"]
)
def test_a_refusal_repeats_no_value(word):
    assert "hunter2" not in refusal(*without(FLINK, word[2:].partition("=")[0]), word).replace("--hunter2hunter2", "")
