"""Flink's REST interface: what a cluster runs, how its checkpoints stand, and how a job is ended."""

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence

ENDED = frozenset({"FINISHED", "CANCELED", "FAILED"})


class FlinkError(Exception):
    """A cluster cannot be started, does not answer or refuses; one line says what, where and what to do."""


@dataclass(frozen=True)
class FlinkRest:
    """One cluster, asked over HTTP.

    Attributes:
      address: as in http://127.0.0.1:8081
    """

    address: str

    def ask(
        self, path: str, *, method: str = "GET", body: Optional[Mapping[str, Any]] = None, timeout: float = 10
    ) -> Any:
        """What a path answers, read as JSON; None where it answers nothing.

        Raises:
          FlinkError: no answer, or one that is no success. Its text is not shown: it may hold a stack trace.
        """
        if not self.address.startswith(("http://", "https://")):
            message = f"flink: {self.address}: need an address like http://127.0.0.1:8081"
            raise FlinkError(message)
        request = urllib.request.Request(  # noqa: S310 - the scheme was just judged
            self.address.rstrip("/") + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
                text = answer.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            message = f"flink: {self.address}{path} answers {error.code}; is it the right cluster and job?"
        except (OSError, ValueError, http.client.HTTPException):
            message = f"flink: {self.address}{path} does not answer; is the cluster up?"
        raise FlinkError(message) from None

    def overview(self) -> Mapping[str, Any]:
        """The cluster: `taskmanagers`, `slots-total`, `slots-available`, `jobs-running`, `flink-version`.

        Raises:
          FlinkError: no answer, or one that is not Flink's.
        """
        if isinstance(found := self.ask("/overview"), Mapping):
            return found
        message = f"flink: {self.address}/overview is no answer of Flink's; is it the address of its REST interface?"
        raise FlinkError(message)

    def jobs(self) -> Mapping[str, str]:
        """The state of each job that the JobManager knows, by id."""
        return {job["id"]: job["status"] for job in self.ask("/jobs")["jobs"]}

    def named_jobs(self) -> Mapping[str, tuple[str, str]]:
        """The name and the state of each, by id."""
        return {job["jid"]: (job["name"], job["state"]) for job in self.ask("/jobs/overview")["jobs"]}

    def job(self, job: str) -> Mapping[str, Any]:
        """One job: `state`, `name`, `vertices` (`id`, `name`, `parallelism`, `status`), `timestamps`."""
        return dict(self.ask(f"/jobs/{job}"))

    def vertices(self, job: str) -> Sequence[Mapping[str, Any]]:
        """The operators of a job, chained as they run."""
        return list(self.job(job)["vertices"])

    def checkpoints(self, job: str) -> Mapping[str, Any]:
        """How its checkpoints stand: `counts` (`completed`, `failed`, `restored`), `latest`, `history`."""
        return dict(self.ask(f"/jobs/{job}/checkpoints"))

    def checkpoint_settings(self, job: str) -> Mapping[str, Any]:
        """Its effective settings: `mode`, `interval` and `timeout` in ms, `externalization`, `state_backend`."""
        return dict(self.ask(f"/jobs/{job}/checkpoints/config"))

    def completed(self, job: str) -> int:
        """How many checkpoints of this run of the job are complete."""
        return int(self.checkpoints(job)["counts"]["completed"])

    def exceptions(self, job: str) -> Sequence[Mapping[str, Any]]:
        """Its failures, newest first: `exceptionName`, `timestamp` in ms, `stacktrace` (that may quote anything)."""
        return list(self.ask(f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"])

    def cancel(self, job: str) -> None:
        """End a job where it stands; retained checkpoints stay. Answers before the job has ended."""
        self.ask(f"/jobs/{job}?mode=cancel", method="PATCH")

    def stop_with_savepoint(self, job: str, directory: Optional[str] = None, *, seconds: float = 300) -> str:
        """End a job after a last savepoint, and wait for it. Never drains: a drained watermark has proved nothing.

        Args:
          directory: where savepoints lie; None takes the cluster's.

        Returns:
          The savepoint's address, for `--savepoint_path`.

        Raises:
          FlinkError: the savepoint failed, or was not there in time; the job then runs on.
        """
        body = {"drain": False, **({} if directory is None else {"targetDirectory": directory})}
        trigger = self.ask(f"/jobs/{job}/stop", method="POST", body=body)["request-id"]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.ask(f"/jobs/{job}/savepoints/{trigger}")
            if found["status"]["id"] == "COMPLETED":
                if address := found["operation"].get("location"):
                    return str(address)
                message = f"flink: job {job}: the savepoint failed; the job runs on, see the JobManager's log"
                raise FlinkError(message)
            time.sleep(0.2)
        message = f"flink: job {job}: no savepoint after {seconds:.0f} s; see the JobManager's log"
        raise FlinkError(message)

    def wait_for(self, job: str, *states: str, seconds: float = 60) -> str:
        """Wait until a job is in one of these states (none given: has ended), and say in which.

        Raises:
          FlinkError: not in time.
        """
        wanted = frozenset(states) or ENDED
        until = time.monotonic() + seconds
        while True:
            state = str(self.job(job)["state"])
            if state in wanted:
                return state
            if time.monotonic() > until:
                message = f"flink: job {job} is {state} after {seconds:.0f} s; see the JobManager's log"
                raise FlinkError(message)
            time.sleep(0.2)
