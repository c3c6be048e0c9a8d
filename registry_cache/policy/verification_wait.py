"""Should a part of a blob that is still arriving wait until all of it is verified?

A part ends before the blob does, so a client gets it complete before anybody knows whether it is right.
"""

from __future__ import annotations

from dataclasses import dataclass

# A client hardly notices so long, and most layers are here within it on a fast line.
NEAR_SECONDS = 1.0
# Bytes may stop arriving: a part waits no longer than this.
MAX_WAIT_SECONDS = 1.5
# Over less than this a speed says nothing: the first bytes are those that the kernel had collected.
MEASURE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ArrivalFacts:
    """``missing`` bytes are not here yet; of the others ``arrived`` came in the last ``seconds``."""

    missing: int
    arrived: int
    seconds: float


def seconds_to_wait(arrival: ArrivalFacts, waited: float) -> float:
    """Return how long to wait for the verdict before asking again; 0 where it is too far away.

    ``waited``: the seconds that this part has waited so far.
    """
    left = MAX_WAIT_SECONDS - waited
    if left <= 0:
        return 0.0
    if arrival.seconds < MEASURE_SECONDS:
        return min(left, MEASURE_SECONDS - arrival.seconds)
    is_near = arrival.missing * arrival.seconds <= arrival.arrived * NEAR_SECONDS
    return min(left, MEASURE_SECONDS) if is_near else 0.0
