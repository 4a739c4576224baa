"""Judges the options of Beam that `carrel stream` passes on: only those that are known, and none that would leak.

Beam and its runners keep an option that they do not know, in silence: a slip of the pen in `--checkpointing_interval`
is a job without checkpoints. So there are lists, one for each engine, and what is on none of them is refused.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Mapping, NamedTuple, Optional, Sequence

_FLAG = None
_TEXT = re.compile(r"\S.*", re.DOTALL)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/@]+):[0-9]{1,5}")
_Form = Optional[re.Pattern[str]]

_ANY: Mapping[str, _Form] = {"runner": _TEXT, "streaming": _FLAG, "no_save_main_session": _FLAG, "job_name": _TEXT}
_PORTABLE: Mapping[str, _Form] = {
    "job_endpoint": _ADDRESS,
    "artifact_endpoint": _ADDRESS,
    "job_server_timeout": _NUMBER,
    "environment_type": re.compile("EXTERNAL|PROCESS|DOCKER|LOOPBACK"),
    "environment_config": _TEXT,
    "sdk_worker_parallelism": _NUMBER,
    "artifacts_dir": _TEXT,
}
_FLINK: Mapping[str, _Form] = {
    "flink_master": re.compile(rf"\[local\]|\[auto\]|(https?://)?{_ADDRESS.pattern}"),
    "flink_version": re.compile(r"[12]\.[0-9]{1,2}"),
    "flink_submit_uber_jar": _FLAG,
    "flink_job_server_jar": _TEXT,
    "jar_cache_dir": _TEXT,
    "parallelism": _NUMBER,
    "max_parallelism": _NUMBER,
    "checkpointing_interval": _NUMBER,
    "checkpointing_mode": re.compile("EXACTLY_ONCE"),
    "checkpoint_timeout_millis": _NUMBER,
    "min_pause_between_checkpoints": _NUMBER,
    "externalized_checkpoints_enabled": _FLAG,
    "retain_externalized_checkpoints_on_cancellation": _FLAG,
    "state_backend": re.compile("filesystem|rocksdb"),
    "state_backend_storage_path": _TEXT,
    "savepoint_path": _TEXT,
    "number_of_execution_retries": _NUMBER,
    "execution_retry_delay": _NUMBER,
    "max_bundle_size": _NUMBER,
    "max_bundle_time_mills": _NUMBER,
    "finish_bundle_before_checkpointing": _FLAG,
    "object_reuse": _FLAG,
}
_PRISM: Mapping[str, _Form] = {
    "prism_location": _TEXT,
    "prism_log_level": re.compile("debug|info|warn|error"),
    "prism_log_kind": re.compile("dev|json|text|console"),
}
_DATAFLOW: Mapping[str, _Form] = {
    "project": _TEXT,
    "region": _TEXT,
    "temp_location": re.compile(r"gs://\S+"),
    "staging_location": re.compile(r"gs://\S+"),
    "template_location": re.compile(r"gs://\S+"),  # what starts a flex template asks for
    "service_account_email": re.compile(r"[^\s@]+@[^\s@]+"),
    "sdk_container_image": _TEXT,
    "sdk_location": re.compile("container"),
    "enable_streaming_engine": _FLAG,
    "num_workers": _NUMBER,
    "max_num_workers": _NUMBER,
    "autoscaling_algorithm": re.compile("NONE|THROUGHPUT_BASED"),
    "machine_type": _TEXT,
    "worker_machine_type": _TEXT,
    "network": _TEXT,
    "subnetwork": _TEXT,
    "no_use_public_ips": _FLAG,
    "dataflow_kms_key": _TEXT,
    "labels": _TEXT,
    "label": _TEXT,
    "update": _FLAG,
    "transform_name_mapping": _TEXT,
    "update_compatibility_version": re.compile(r"[0-9]+\.[0-9]+\.[0-9]+"),
    "dataflow_service_options": _TEXT,
    "dataflow_service_option": _TEXT,
    "gbek": _TEXT,
    "experiments": _TEXT,
    "experiment": _TEXT,
    "element_processing_timeout_minutes": _NUMBER,
    "max_cache_memory_usage_mb": _NUMBER,
    "dry_run": _FLAG,
    "dataflow_job_file": _TEXT,
}
_RUNNERS: Mapping[str, tuple[str, Mapping[str, _Form]]] = {
    "PortableRunner": ("flink", {**_ANY, **_PORTABLE, **_FLINK}),
    "FlinkRunner": ("flink", {**_ANY, **_PORTABLE, **_FLINK}),
    "PrismRunner": ("prism", {**_ANY, **_PORTABLE, **_PRISM}),
    "DataflowRunner": ("dataflow", {**_ANY, **_DATAFLOW}),
}
_NO_SAMPLING = "disable_always_on_exception_sampling"
_EXPERIMENTS = frozenset({_NO_SAMPLING, "use_runner_v2"})
_ENDLESS = "it cannot read a source that never ends; take `carrel live` on one machine, PrismRunner for a trial"
_REFUSED: Sequence[tuple[str, str]] = (
    ("save_main_session", "it would pickle whatever this process holds, keys too"),
    ("enable_data_sampling", "a sample is events in clear"),
    ("profile", "a profile shows what is in the workers' memory"),
    ("save_heap_dumps", "a heap dump holds keys and events"),
    ("enable_heap_dump", "a heap dump holds keys and events"),
    ("allow_non_deterministic_key_coders", "keys would be grouped wrongly"),
    ("auto_unique_labels", "labels are what a restored job is known by"),
    ("allow_unsafe_triggers", "a trigger may drop what it has not seen"),
    ("allow_non_restored_state", "state that does not fit would be dropped; start without a savepoint instead"),
    ("drain", "a drained watermark has proved nothing; stop with a savepoint"),
    ("fail_on_checkpointing_errors", "naming it switches it off"),
)
_SECRET = re.compile(
    r"""(?ix) (pass(word|wd|phrase)?|secret|token|credentials?|api[_-]?key|private[_-]?key|sasl[._-]\w+)["']?\s*[=:]
    | -----BEGIN | //[^/\s:@]+:[^/\s@]+@ | \b(AKIA|ASIA)[0-9A-Z]{16}\b | \bAIza[\w-]{30,} | \bya29\.
    | \beyJ[\w-]{10,}\.[\w-]{5,} | \bgh[pousr]_\w{20,}"""
)
_LOOPBACK = re.compile(r"(https?://)?(127\.[0-9.]+|localhost|\[::1\]):[0-9]+|\[local\]|\[auto\]")
_FEWEST, _MOST = 500, 600_000


class StreamOptionError(ValueError):
    """An option is refused; one line says which and why, and never quotes its value."""


@dataclass(frozen=True)
class StreamOptions:
    """Options that may be passed on.

    Attributes:
      engine: flink, prism or dataflow.
      words: all of them in Beam's form, with what a stream always needs.
      checkpoints: ms between two of Flink's checkpoints; None on other engines.
    """

    engine: str
    words: tuple[str, ...]
    checkpoints: Optional[int]


class _Given(NamedTuple):
    name: str
    value: Optional[str]  # None of a flag


def stream_options(words: Sequence[str]) -> StreamOptions:
    """Judge the options of a streaming job.

    Args:
      words: as `--name=value`, `--name value` or `--name`.

    Raises:
      StreamOptionError: the first that is refused, or one that is missing.
    """
    spoken = list(_spoken(words))
    found: dict[str, str] = {name: value or "" for name, value in spoken}
    runner = found.get("runner") or ""
    if runner not in _RUNNERS:
        raise _refusal("runner", _no_runner(runner))
    engine, known = _RUNNERS[runner]
    given = [_Given(name, _judged(name, value, known, runner)) for name, value in spoken]
    for name in {name for name, _ in given}:
        if name not in ("label", "labels", "experiment", "experiments") and [one.name for one in given].count(name) > 1:
            raise _refusal(name, "it is given twice")
    if engine == "flink":
        _need_flink(found, runner)
    elif engine == "dataflow":
        _need_dataflow(found)
        given.append(_Given("experiments", _NO_SAMPLING))
    given.extend(_Given(flag, None) for flag in ("streaming", "no_save_main_session") if flag not in found)
    said = tuple(dict.fromkeys(f"--{name}" if value is None else f"--{name}={value}" for name, value in given))
    return StreamOptions(engine, said, int(found["checkpointing_interval"]) if engine == "flink" else None)


def _spoken(words: Sequence[str]) -> Sequence[tuple[str, Optional[str]]]:
    """Name and value of each option; a value may be a word of its own."""
    spoken: list[tuple[str, Optional[str]]] = []
    waits = False
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            spoken.append((name.replace("-", "_"), value if equals else None))
            waits = not equals
        elif waits:
            spoken[-1] = (spoken[-1][0], word)
            waits = False
        else:
            message = "carrel stream: a word among the options is no option; they look like --name=value"
            raise StreamOptionError(message)
    return spoken


def _judged(name: str, value: Optional[str], known: Mapping[str, _Form], runner: str) -> Optional[str]:
    """The value as Beam takes it; refuses what may not be passed on."""
    if name in known:
        form = known[name]
        if form is _FLAG:
            if value not in (None, "true"):
                raise _refusal(name, "it is a switch: give it without a value, or leave it out")
            return None
        if value is None or not form.fullmatch(value):
            raise _refusal(name, "its value is missing or has another form")
        if _SECRET.search(value):
            raise _refusal(name, "its value looks like a secret, and engines show options; name a file")
        if name in ("experiment", "experiments") and not _EXPERIMENTS.issuperset(value.split(",")):
            raise _refusal(name, f"only {' and '.join(sorted(_EXPERIMENTS))} may be had")
        return value
    for start, why in _REFUSED:
        if name.startswith(start):
            raise _refusal(name, why)
    if any(name in names for _, names in _RUNNERS.values()):
        raise _refusal(name, f"{runner} has no such option")
    near = difflib.get_close_matches(name, known, n=1)
    raise _refusal(name if _is_name(name) else "?", f"no option that is known{f'; --{near[0]}?' if near else ''}")


def _is_name(name: str) -> bool:
    return re.fullmatch("[a-z][a-z0-9_]{0,60}", name) is not None


def _no_runner(runner: str) -> str:
    if not runner:
        return f"say which engine: {', '.join(sorted(_RUNNERS))}"
    if "Direct" in runner or "FnApi" in runner:
        return _ENDLESS
    return f"no engine for this job; take one of {', '.join(sorted(_RUNNERS))}"


def _need_flink(found: Mapping[str, str], runner: str) -> None:
    if "checkpointing_interval" not in found:
        raise _refusal("checkpointing_interval", "missing: without checkpoints nothing recovers; give ms, as in =30000")
    if not _FEWEST <= int(found["checkpointing_interval"]) <= _MOST:
        raise _refusal("checkpointing_interval", f"need {_FEWEST} to {_MOST} ms")
    if "finish_bundle_before_checkpointing" not in found:
        raise _refusal("finish_bundle_before_checkpointing", "missing: without it a job can start and never read")
    if runner == "PortableRunner" and "job_endpoint" not in found:
        raise _refusal("job_endpoint", "missing: where does the job server listen?")
    if "max_parallelism" in found and int(found["max_parallelism"]) < int(found.get("parallelism", 1)):
        raise _refusal("max_parallelism", "it is lower than --parallelism")
    if ("state_backend" in found) != ("state_backend_storage_path" in found):
        raise _refusal("state_backend", "it goes with --state_backend_storage_path; without both Flink's own holds")
    kind = found.get("environment_type")
    if kind is None and (runner == "PortableRunner" or not _is_here(found.get("flink_master", "[auto]"))):
        raise _refusal("environment_type", "missing: EXTERNAL, and a worker pool as --environment_config")
    if kind in ("EXTERNAL", "PROCESS") and "environment_config" not in found:
        raise _refusal("environment_config", f"missing: {kind} needs it")
    if kind == "LOOPBACK" and not all(_is_here(found.get(one, "[local]")) for one in ("flink_master", "job_endpoint")):
        raise _refusal("environment_type", "LOOPBACK runs all events through this process; take EXTERNAL on a cluster")


def _is_here(address: str) -> bool:
    return _LOOPBACK.fullmatch(address) is not None


def _need_dataflow(found: Mapping[str, str]) -> None:
    for name in ("project", "region", "temp_location"):
        if name not in found:
            raise _refusal(name, "missing: Dataflow needs it")


def _refusal(name: str, why: str) -> StreamOptionError:
    return StreamOptionError(f"carrel stream: --{name}: {why}")
