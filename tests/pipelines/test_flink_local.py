"""Starting and ending a cluster: what is missing is told in one line, and only processes of its own are ended."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.flink_cluster import FlinkCluster
from pipelines.flink_local import main
from pipelines.processes import child_ids, is_alive, started_at
from tests.support.child_process import free_port

VERSION = '#!/bin/sh\n[ "$1" = -version ] && { echo \'openjdk version "%s"\' >&2; exit; }\n'


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder that is the whole PATH, a JDK 17 in it; parts are jars that are there already."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pipelines.flink_local.jars_of", lambda pom: tmp_path)

    def tool(name, text):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    tool("java", VERSION % "17.0.15" + "exit 1\n")
    tool("javac", "#!/bin/sh\necho javac 17.0.15\n")
    return tool


def refused(capsys, *words):
    assert main(list(map(str, words))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("flink: ")
    return err


@pytest.mark.parametrize(
    ("tool", "text", "said"),
    [
        ("java", VERSION % "25.0.1", "need a JDK 17, the java on the path is 25; put it first in PATH"),
        ("java", VERSION % "1.8.0_402", "need a JDK 17, the java on the path is 1; put it first in PATH"),
        ("java", "#!/bin/sh\nexit 1\n", "need a JDK 17, no java is on the path"),
        ("javac", "#!/bin/sh\necho javac 21\n", "need a JDK 17, the javac on the path is 21"),
        ("javac", '#!/bin/sh\n[ "$1" = -version ] && echo javac 17 && exit\nexit 1\n', "loopback cannot be compiled"),
    ],
)
def test_a_java_that_does_not_fit_is_told(tools, capsys, tmp_path, tool, text, said):
    tools(tool, text)

    assert said in refused(capsys, "up", tmp_path / "flink")


def test_a_port_that_is_taken_is_told(tools, capsys, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refused(capsys, "up", tmp_path / "flink", "--rest-port", port)

    assert f"port {port} (rest) is taken; end what listens there or choose another" in said


def test_a_part_that_ends_at_once_is_told_and_nothing_is_left(tools, capsys, tmp_path):
    before = child_ids(os.getpid())
    said = refused(capsys, "up", tmp_path / "flink", "--pool-port", free_port())

    assert "has ended; see" in said
    assert child_ids(os.getpid()) == before
    assert not FlinkCluster.is_known(tmp_path / "flink")


@pytest.mark.parametrize(("tool", "said"), [("java", "java is not installed"), ("mvn", "mvn is not installed")])
def test_parts_that_cannot_be_had_are_told(tools, capsys, tmp_path, monkeypatch, tool, said):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin" / tool).unlink(missing_ok=True)

    assert said in refused(capsys, "up", tmp_path / "flink")


def test_maven_that_reaches_nothing_is_told(tools, capsys, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    tools("mvn", "#!/bin/sh\necho 'a long story'\nexit 1\n")

    assert "Maven cannot resolve deploy/flink/pom.xml; run `mvn " in refused(capsys, "up", tmp_path / "flink")


def test_one_cluster_a_folder(tools, capsys, tmp_path):
    assert "no cluster was started in" in refused(capsys, "down", tmp_path)
    (tmp_path / "cluster.json").write_text("{}")
    assert "end it first: make flink-down" in refused(capsys, "up", tmp_path)


@pytest.mark.parametrize(
    "words", [("sideways", "x"), ("up",), ("up", "x", "--slots", "0"), ("up", "x", "--rest-port", "y")]
)
def test_wrong_words_are_one_line(capsys, words):
    with pytest.raises(SystemExit) as caught:
        main(words)

    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_down_ends_each_part_with_its_children_and_no_other_process(capsys, tmp_path):
    parts = ["import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print(1, flush=True); time.sleep(600)"]
    part = subprocess.Popen([sys.executable, "-c", *parts], start_new_session=True, stdout=subprocess.PIPE)
    part.stdout.readline()
    (child,) = child_ids(part.pid)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    pids = {"pool": part.pid, "jobserver": other.pid, "jobmanager": 2**22 + 1}
    started = {"pool": started_at(part.pid), "jobserver": started_at(other.pid) - 1, "jobmanager": 1}
    known = {"slots": 1, "backend": "hashmap", "survives": False, "ports": {}, "pids": pids, "started": started}
    (tmp_path / "cluster.json").write_text(json.dumps(known))
    try:
        assert main(["down", str(tmp_path)]) == 0
        assert not is_alive(part.pid)
        assert not is_alive(child)
        assert is_alive(other.pid)  # its id was another process's once
        assert not Path(tmp_path, "cluster.json").exists()
    finally:
        other.kill()
        other.wait()
        part.wait()
