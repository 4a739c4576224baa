"""`carrel keys list, rotate, shred`: the keyring; no byte of a key is ever shown."""

from pipelines.counts_opening import open_counts
from pipelines.invocation import DONE, Invocation, UsageError, need_month
from pipelines.key_ages import key_ages, print_keys
from pipelines.keyring import Keyring
from pipelines.terminal import say, say_json


def list_keys(run: Invocation, *, as_json: bool) -> int:
    """Show purpose, month and age of every key."""
    found = key_ages(run.deployment(), now=run.now)
    if as_json:
        say_json(found)
    elif found:
        print_keys(found)
    else:
        say("no keys yet: the first replay makes them")
    return DONE


def rotate(run: Invocation, month: str) -> int:
    """Make the keys of a month ahead."""
    need_month("--month", month)
    deployment = run.deployment()
    with open_counts(deployment.counts_store) as store:
        keyring = Keyring(deployment.keyring)
        keyring.token_key(deployment.tenant, month, now_ms=run.now)
        keyring.noise_key(deployment.tenant, month, store.store_id, create=True, now_ms=run.now)
    say(f"keys of {month} are there")
    return DONE


def shred(run: Invocation, month: str, purpose: str, *, yes: bool) -> int:
    """Destroy a month's key, with a receipt; its open windows become void."""
    need_month("--month", month)
    if purpose not in ("token", "noise"):
        message = "--purpose: need token or noise"
        raise UsageError(message)
    if not yes:
        message = "keys shred: this cannot be undone; add --yes"
        raise UsageError(message)
    from pipelines.key_life import KeyLife  # noqa: PLC0415 - the engine takes seconds to import
    from pipelines.work_store import WorkStore  # noqa: PLC0415

    deployment = run.deployment()
    policy = run.policy(deployment)
    with WorkStore(deployment.work_store) as work, open_counts(deployment.counts_store) as counts:
        void = KeyLife(deployment, policy, work, counts, run.now).shred(purpose, month)
    if void is None:
        say(f"there is no {purpose} key of {month}: nothing was destroyed")
        return DONE
    say(f"{purpose} key of {month} is destroyed; the receipt is in the counts store; {len(void)} open windows are void")
    return DONE
