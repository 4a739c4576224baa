"""When the keys of a streaming job end: with the last window of their month, and at their deadline whatever happened.

A job has no work store: what is settled is in the ledger, and a month whose windows are all there needs no token key.
"""

from dataclasses import dataclass
from typing import Iterator, Mapping

import numpy as np

from pipelines.configuration import Deployment
from pipelines.counts_store import CountsStore
from pipelines.iso_days import utc_day
from pipelines.key_life import month_deadline
from pipelines.keyring import NOISE_DAYS, KeyAge, Keyring
from schemas.counts import WindowKey
from schemas.policy import PrivacyPolicy
from transforms.privacy.times import DAY
from transforms.windows import day_number, number_at, window_key


@dataclass(frozen=True)
class StreamKeys:
    """The keys of one deployment.

    Attributes:
      begins: table -> civil day number from which its windows are published; those before it are not waited for.
    """

    deployment: Deployment
    policy: PrivacyPolicy
    begins: Mapping[str, int]

    def end(self, counts: CountsStore, now: int) -> list[str]:
        """Destroy what has reached its end at `now`, ms UTC; how those keys are called, as `token 2026-03`."""
        keyring = Keyring(self.deployment.keyring)
        ended = []
        for key in keyring.listing():
            if key.gone or not key.month or key.tenant != self.deployment.tenant:
                continue
            deadline = month_deadline(self.policy, key.month, key.made)
            if key.purpose == "token":
                waiting = self._waiting(counts, key.month)
                if waiting and now <= deadline:
                    continue
                for window, kind in waiting:
                    reason = "key destroyed at its deadline"
                    counts.void(self.deployment.tenant, kind, window, self.policy.digest, reason)
                keyring.destroy_token_key(key.tenant, key.month)
                _receipt(counts, key, "deadline" if waiting else "released", now)
            elif now > deadline + NOISE_DAYS * DAY:
                keyring.destroy_noise_key(key.tenant, key.month)
                _receipt(counts, key, "schedule", now)
            else:
                continue
            ended.append(f"{key.purpose} {key.month}")
        return ended

    def _waiting(self, counts: CountsStore, month: str) -> list[tuple[WindowKey, str]]:
        """The month's windows that are neither published nor void, and their event kinds."""
        ledger = counts.ledger(self.deployment.tenant)
        return [
            (window, kind)
            for window, kind in self._windows(month)
            if (row := ledger.get((window.table, window.start))) is None or row.state == "sealing"
        ]

    def _windows(self, month: str) -> Iterator[tuple[WindowKey, str]]:
        first = day_number(f"{month}-01")
        after = int((np.datetime64(month, "M") + 1).astype("datetime64[D]").astype(np.int64))
        for table in self.policy.tables:
            for number in range(number_at(table, first), number_at(table, after - 1) + 1):
                window = window_key(table, number)
                if day_number(window.end) > self.begins.get(table.name, 0):
                    yield window, table.kind


def _receipt(counts: CountsStore, key: KeyAge, why: str, now: int) -> None:
    counts.record_receipt(key.tenant, key.purpose, key.month, why, utc_day(now).isoformat())
