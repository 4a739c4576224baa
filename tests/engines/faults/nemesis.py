"""What the nemesis can do to a running `carrel live`; each harm leaves a world that can go on."""

import os
import signal
import time

from tests.engines.faults.seen import see
from tests.engines.faults.world import MINUTE, World, lines, wait_for


def strike(world: World, name: str, how: object) -> None:
    """Do one harm of a plan.

    Args:
      how: seconds, minutes or a label, as the harm wants it.
    """
    _HARMS[name](world, how)


def _kill(world: World, after: object) -> None:
    world.start()
    time.sleep(float(str(after)))
    world.kill()


def _crash(world: World, point: object) -> None:
    world.kill()
    process = world.start(crash_at=str(point))
    process.join(30 if world.plan.is_command else 2.5)
    if process.exitcode is not None:
        assert process.exitcode == -signal.SIGKILL, (process.exitcode, world.journal.read_text()[-500:])
    world.kill()  # it may never come there: then it dies wherever it is


def _pause(world: World, seconds: object) -> None:
    world.start()
    world.broker.pause()
    try:
        time.sleep(float(str(seconds)))
    finally:
        world.broker.resume()


def _cut(world: World, seconds: object) -> None:
    world.start()
    world.door.cut()
    try:
        time.sleep(float(str(seconds)))
    finally:
        world.door.heal()


def _second(world: World, _: object) -> None:
    world.settle()
    _is_refused(world)


def _zombie(world: World, seconds: object) -> None:
    """Who stands still holds its store all the same, and goes on when it wakes."""
    process = world.settle()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        _is_refused(world)
        time.sleep(float(str(seconds)))
    finally:
        os.kill(process.pid, signal.SIGCONT)


def _is_refused(world: World) -> None:
    other = world.begun()
    other.join(60)
    code = other.exitcode
    other.kill()
    see(world.observed, "second", code=code)
    assert code == 75 or world.mutation, f"a second instance ended with {code}"


def _twin(world: World, _: object) -> None:
    """A second instance that nothing holds off: only where a mutation has taken lock and fence away."""
    world.settle()
    started = lines(world.journal, "live_started")
    world.twin = world.begun()
    wait_for(lambda: lines(world.journal, "live_started") > started)


def _twins_read(world: World, _: object) -> None:
    """Both have read what was published since."""
    assert world.twin is not None
    wait_for(lambda: world.read() > world.published)
    world.twin.kill()
    world.twin.join(30)


def _stop(world: World, _: object) -> None:
    world.stop()


def _clock(world: World, minutes: object) -> None:
    """Less than what a stamp may be ahead, and than the grace of a proof."""
    world.start()
    world.set_clock(world.now() + int(str(minutes)) * MINUTE)


_HARMS = {
    "kill": _kill, "crash": _crash, "pause": _pause, "cut": _cut, "second": _second, "zombie": _zombie, "stop": _stop,
    "clock": _clock, "twin": _twin, "twins read": _twins_read,
}  # fmt: skip
