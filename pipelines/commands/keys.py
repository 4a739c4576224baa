"""`carrel keys list, rotate, shred`: the keyring; no byte of a key is ever shown."""

from pipelines.counts_opening import open_counts
from pipelines.counts_store import CountsStore
from pipelines.invocation import DONE, Invocation, UsageError, need_month
from pipelines.key_ages import key_ages, print_keys
from pipelines.keyring import Keyring
from pipelines.terminal import say, say_json

_REASON = "key shredded by hand"


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
    deployment = run.deployment()
    keyring = Keyring(deployment.keyring)
    wanted = (deployment.tenant, purpose, month)
    if not any((key.tenant, key.purpose, key.month) == wanted and not key.gone for key in keyring.listing()):
        say(f"there is no {purpose} key of {month}: nothing was destroyed")
        return DONE
    needs_key = purpose == "token" or run.policy(deployment).noise_scale is not None
    with open_counts(deployment.counts_store) as store:
        voided = _void_open_windows(run, store, month) if needs_key else 0
        if purpose == "noise":
            keyring.destroy_noise_key(deployment.tenant, month)
        else:
            keyring.destroy_token_key(deployment.tenant, month)
        store.record_receipt(deployment.tenant, purpose, month, "by hand", run.day)
    say(f"{purpose} key of {month} is destroyed; the receipt is in the counts store; {voided} open windows are void")
    return DONE


def _void_open_windows(run: Invocation, counts: CountsStore, month: str) -> int:
    """What can no longer be read, or drawn noise for, is never published: the ledger says so before the key goes."""
    from pipelines.work_store import WorkStore  # noqa: PLC0415 - the engine takes seconds to import
    from pipelines.work_values import OPEN  # noqa: PLC0415

    deployment = run.deployment()
    policy = run.policy(deployment)
    kinds = {table.name: table.kind for table in policy.tables}
    with WorkStore(deployment.work_store) as work:
        windows = {window: acts for window, acts in work.stored(OPEN).items() if window.month == month}
        for window, acts in windows.items():
            if acts and window.table in kinds:  # a table that left the policy has no kind to enter into the ledger
                counts.void(deployment.tenant, kinds[window.table], window, policy.digest, _REASON)
            with work.transaction() as transaction:
                transaction.drop_window(OPEN, window)
    return sum(acts > 0 for acts in windows.values())
