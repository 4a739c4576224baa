"""What the nemesis can do to a running `carrel live`; each harm leaves a world that can go on."""

import os
import signal
import time
from functools import partial
from typing import Any, Callable, Mapping

from tests.engines.faults import full_disk
from tests.engines.faults.checker import state_of
from tests.engines.faults.seen import see
from tests.engines.faults.world import MINUTE, PATIENCE, World, lines, put_down, wait_for


def strike(world: World, name: str, how: Any) -> None:
    """Do one harm of a plan.

    Args:
      how: seconds, minutes or a label, as the harm wants it.
    """
    _HARMS[name](world, how)


def _kill(world: World, after: float) -> None:
    world.start()
    time.sleep(after)
    world.kill()


def _crash(world: World, point: str, patience: float = 2.5) -> None:
    world.kill()
    process = world.start(crash_at=point)
    process.join(30 if world.plan.is_command else patience)
    if process.exitcode is not None:
        assert process.exitcode == -signal.SIGKILL, (process.exitcode, world.journal.read_text()[-500:])
    world.kill()  # it may never come there: then it dies wherever it is


def _pause(world: World, seconds: float) -> None:
    world.start()
    world.broker.pause()
    try:
        time.sleep(seconds)
    finally:
        world.broker.resume()


def _cut(world: World, seconds: float) -> None:
    world.start()
    world.door.cut()
    try:
        time.sleep(seconds)
    finally:
        world.door.heal()


def _second(world: World, _: Any) -> None:
    world.settle()
    _is_refused(world)


def _zombie(world: World, seconds: float) -> None:
    """Who stands still holds its store all the same, and goes on when it wakes."""
    process = world.settle()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        _is_refused(world)
        time.sleep(seconds)
    finally:
        os.kill(process.pid, signal.SIGCONT)


def _is_refused(world: World) -> None:
    other = world.begun()
    other.join(PATIENCE)
    code = other.exitcode
    put_down(other)
    see(world.observed, "second", code=code)
    assert code == 75 or world.mutation, f"a second instance ended with {code}"


def _twin(world: World, _: Any) -> None:
    """A second instance that nothing holds off: only where a mutation has taken lock and fence away."""
    world.settle()
    started = lines(world.journal, "live_started")
    world.twin = world.begun()
    wait_for(lambda: lines(world.journal, "live_started") > started)


def _twins_read(world: World, _: Any) -> None:
    """Both have read what was published since."""
    assert world.twin is not None
    wait_for(lambda: world.read() > world.published)
    put_down(world.twin)


def _stop(world: World, _: Any) -> None:
    world.stop()


def _clock(world: World, minutes: int) -> None:
    """A step of the machine's clock: forward by the grace of a proof at most, back once what is ahead of it is read."""
    stepped = world.published_at + minutes * MINUTE
    world.seal_before(stepped)
    world.settle()
    if minutes < -10:
        wait_for(world.is_read)
    world.set_clock(stepped)


def _full(world: World, how: tuple[str, int], patience: float = 1.2) -> None:
    """It ends where it cannot write, is started again in vain, and the next one goes on: there is room.

    One that comes to write nothing meanwhile is killed: it would not end by itself.
    """
    world.kill()
    full_disk.say(world.full, *how)
    try:
        for _ in range(2):
            process, until = world.start(), time.monotonic() + patience
            while process.exitcode is None and time.monotonic() < until:
                if how[0] != "counts" and world.is_written():  # a window may be due when all is read
                    break
                time.sleep(0.05)
            see(world.observed, "full", where=how[0], code=process.exitcode)
            assert process.exitcode in (None, 2), (process.exitcode, world.journal.read_text()[-500:])
    finally:
        world.full.unlink()
        world.kill()


def _again(world: World, _: Any) -> None:
    """All that was read since the last publishing is read again, as if no position of it had been kept."""
    world.set_clock(max(world.now(), world.published_at))  # what comes again is not ahead of it
    first = _read_to_the_end(world)
    world.work.put("positions", world.stood)
    see(world.observed, "put back", at=world.positions())
    see(world.observed, "again", first=first, second=_read_to_the_end(world))


def _read_to_the_end(world: World) -> dict[str, Any]:
    world.settle()
    wait_for(world.is_read)
    world.stop()
    return {"totals": world.totals(), "state": state_of(world.folder)}


def _server(world: World, how: tuple[str, float]) -> None:
    """Without the server of its store it ends, and cannot be started; what starts it again and again gets it back."""
    assert world.server is not None
    process, world.running = world.settle(), None
    (world.server.kill if how[0] == "kill" else world.server.stop)()
    try:
        process.join(PATIENCE)
        other = world.begun()
        other.join(PATIENCE)
        codes = (process.exitcode, other.exitcode)
        put_down(other)
        time.sleep(how[1])
    finally:
        put_down(process)
        world.server.start()
    see(world.observed, "server", codes=codes)
    assert codes == (75, 75), (codes, world.journal.read_text()[-500:])


def _usurp(world: World, seconds: float) -> None:
    """Who stands still loses its session, and with it the store, to another one: when it wakes it may only end."""
    assert world.server is not None
    old, world.running = world.settle(), None
    assert old.pid is not None
    os.kill(old.pid, signal.SIGSTOP)
    try:
        with world.server.connect() as session:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [world.database]
            )
        world.start()
        time.sleep(seconds)
    finally:
        os.kill(old.pid, signal.SIGCONT)
    world.settle()
    old.join(PATIENCE)
    code = old.exitcode
    put_down(old)
    see(world.observed, "usurped", code=code)
    assert code == 75, f"who has lost its store ended with {code}"


_HARMS: Mapping[str, Callable[[World, Any], None]] = {
    "kill": _kill, "crash": _crash, "pause": _pause, "cut": _cut, "second": _second, "zombie": _zombie, "stop": _stop,
    "clock": _clock, "twin": _twin, "twins read": _twins_read,
    "full": _full, "surely crash": partial(_crash, patience=PATIENCE), "surely full": partial(_full, patience=PATIENCE),
    "again": _again, "server": _server, "usurp": _usurp,
}  # fmt: skip
