"""Two-sided geometric noise, drawn by a keyed function from an exact table.

P(z) = (1 - a) / (1 + a) * a^|z| with a = exp(-1 / scale), its distribution function quantised to 2^128.
No float is near a draw, and a draw is one look-up of constant work. The draw is a keyed function of
the coordinates *and the true value*: a retry draws the same, other data draw another.
Source: Ghosh, Roughgarden, Sundararajan 2009; docs/privacy-model.md.
"""

from bisect import bisect_right
from decimal import Decimal, localcontext
from typing import Sequence, Union

from blake3 import blake3

_BITS = 128
_DIGITS = 80
_CONTEXT = "carrel 2026-11-23 count noise v1"


class Geometric:
    """The noise of one scale.

    Args:
      scale: b; the noise of neighbouring counts differs by a factor of at most exp(1 / b). At least 1.

    Raises:
      ValueError: scale below 1.
    """

    def __init__(self, scale: int) -> None:
        if scale < 1:
            message = "noise scale: need at least 1"
            raise ValueError(message)
        self.scale = scale
        self.thresholds = _thresholds(scale)
        self.reach = len(self.thresholds) // 2  # noise lies within -reach .. reach

    def draw(self, key: bytes, coordinates: Sequence[Union[str, int]], true_value: int) -> int:
        """The noise of one number: pure in all arguments.

        Args:
          key: 32 bytes, the noise key of the window's month.
          coordinates: tenant, table, window start, canonical cell, measure, revision.
          true_value: the number that the noise is for.
        """
        parts = [str(part).encode() for part in (*coordinates, true_value)]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        subkey = blake3(key, derive_key_context=_CONTEXT).digest()
        point = int.from_bytes(blake3(message, key=subkey).digest(length=_BITS // 8), "big")
        return bisect_right(self.thresholds, point) - self.reach


def _thresholds(scale: int) -> list[int]:
    """The distribution function at -reach .. reach - 1, scaled to 2^128; the table is symmetric."""
    with localcontext() as context:
        context.prec = _DIGITS
        one = Decimal(1)
        ratio = (-one / scale).exp()
        whole = Decimal(1 << _BITS)
        below: list[int] = []
        # F(-z - 1) = a^(z + 1) / (1 + a): the mass strictly under -z. Stop where it rounds to nothing new.
        mass = ratio / (one + ratio)
        while 0 < (count := int((mass * whole).to_integral_value())) < (below[-1] if below else 1 << _BITS):
            below.append(count)
            mass *= ratio
    low = below[::-1]
    return [*low, *((1 << _BITS) - count for count in below)]
