"""The pool of Python workers: on loopback, and no worker outlives it."""

import subprocess
import sys
import time

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from pipelines.processes import child_ids, is_alive
from tests.conftest import ROOT
from tests.support.child_process import DIES_WITH_PARENT, free_port
from tests.support.listening import listening

POOL = (*DIES_WITH_PARENT, sys.executable, "-m", "pipelines.worker_pool")


def wait_for(holds, seconds=120):
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


@pytest.fixture
def pool():
    port = free_port()
    process = subprocess.Popen([*POOL, str(port)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
            yield process, beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
    finally:
        process.kill()
        process.wait()


def start(stub, name):
    request = beam_fn_api_pb2.StartWorkerRequest(worker_id=name)
    request.control_endpoint.url = f"127.0.0.1:{free_port()}"  # nobody listens there: the worker waits
    assert not stub.StartWorker(request, timeout=60).error


def test_a_worker_runs_until_it_is_stopped_or_the_pool_dies(pool):
    process, stub = pool
    start(stub, "1-1")
    (first,) = wait_for(lambda: child_ids(process.pid))
    assert all(listening(process.pid).values())
    stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"), timeout=60)
    assert not is_alive(first)
    stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="never"), timeout=60)

    start(stub, "1-2")
    (second,) = wait_for(lambda: child_ids(process.pid))
    process.kill()
    wait_for(lambda: not is_alive(second))


def test_wrong_words_are_one_line():
    done = subprocess.run([*POOL, "port"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (2, "worker pool: need the port to listen on\n")


def test_a_port_that_is_taken_is_told(pool):
    process, _ = pool
    (port,) = listening(process.pid)
    done = subprocess.run([*POOL, str(port)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"worker pool: port {port} is taken; name another"
