"""Starts the Python processes in which an engine runs Carrel's transforms, on loopback only.

Beam's own pool listens on all addresses, does not ask who calls, and starts whatever it is told to. This one answers
the same calls on 127.0.0.1; whoever may connect there can run code as this user, so that the machine must be shared
with nobody.

python -m pipelines.worker_pool PORT
"""

import ctypes
import os
import queue
import resource
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

import grpc  # type: ignore[import-untyped]
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

USAGE = 2
_DIES_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG
_ENDING = 10.0  # seconds that a worker has to end in order


class _Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Hands each call to the main thread: the kernel ends a worker with the *thread* that started it."""

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Future[None], Any]] = queue.Queue()
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - gRPC's names
        return self._answer(request, beam_fn_api_pb2.StartWorkerResponse)

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - gRPC's names
        return self._answer(request, beam_fn_api_pb2.StopWorkerResponse)

    def _answer(self, request: Any, response: Any) -> Any:
        done: Future[None] = Future()
        self._calls.put((done, request))
        try:
            done.result()
        except OSError as error:
            return response(error=f"worker pool: {error.strerror}")
        return response()

    def work(self) -> NoReturn:
        """Start and end workers as called, until this process is ended."""
        while True:
            try:
                done, request = self._calls.get(timeout=1)
            except queue.Empty:
                self._reap()
                continue
            try:
                if isinstance(request, beam_fn_api_pb2.StartWorkerRequest):
                    self._start(request.control_endpoint.url, request.worker_id)
                else:
                    self._stop(request.worker_id)
                done.set_result(None)
            except OSError as error:
                done.set_exception(error)

    def _start(self, control: str, name: str) -> None:
        self._workers[name] = subprocess.Popen(  # noqa: S603 - the words are passed as they are
            [sys.executable, "-m", "pipelines.worker_pool", control, name, str(os.getpid())], stdin=subprocess.DEVNULL
        )

    def _stop(self, name: str) -> None:
        worker = self._workers.pop(name, None)
        if worker is not None:
            _end(worker)

    def _reap(self) -> None:
        self._workers = {name: worker for name, worker in self._workers.items() if worker.poll() is None}

    def end(self) -> None:
        """End all workers."""
        with ThreadPoolExecutor(max_workers=len(self._workers) or 1) as several:
            list(several.map(_end, self._workers.values()))


def _end(worker: "subprocess.Popen[bytes]") -> None:
    worker.terminate()
    try:
        worker.wait(timeout=_ENDING)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def serve(port: int) -> NoReturn:
    """Start workers for whoever asks on this machine, until this process is ended."""
    server = grpc.server(
        ThreadPoolExecutor(max_workers=4),
        options=[
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.so_reuseport", 0),
        ],
    )
    pool = _Pool()
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError:
        sys.stderr.write(f"worker pool: port {port} is taken; name another\n")
        sys.exit(USAGE)
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        pool.work()
    finally:
        pool.end()


def work(control: str, name: str, pool: int) -> None:
    """Run one worker until the engine closes its connection; it ends with its pool."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != pool:  # it has ended already
        return
    from apache_beam.runners.worker.sdk_worker import SdkHarness  # noqa: PLC0415 - the pool need not load it

    SdkHarness(control, worker_id=name).run()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # keys and events are in a worker's memory
    match sys.argv[1:]:
        case [port] if port.isdecimal():
            serve(int(port))
        case [control, name, pool] if pool.isdecimal():
            work(control, name, int(pool))
        case _:
            sys.stderr.write("worker pool: need the port to listen on\n")
            sys.exit(USAGE)
