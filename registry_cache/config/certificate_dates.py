"""From when until when a certificate is valid (RFC 5280, section 4.1); Python's ssl tells that of authorities alone."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
# ASN.1's tags of what stands before the dates, if there is a version, and of the two forms of a date.
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
# Renewed in time it never has less than this part of its life left: certbot renews with a third left.
_LATE_PART = 6


@dataclass(frozen=True, slots=True)
class Validity:
    """Both ends are within."""

    begins: datetime
    ends: datetime

    def trouble(self, now: datetime) -> str:
        """Return what is wrong with the dates, and what to do, "" for nothing."""
        if now < self.begins:
            since = f"{self.begins:%Y-%m-%d %H:%M} UTC"
            return f"is valid from {since} on, and clients refuse it until then: is the clock right?"
        if now > self.ends:
            return f"has expired on {self.ends:%Y-%m-%d}, and clients refuse it: renew it; the new one is used at once"
        left: timedelta = self.ends - now
        if left * _LATE_PART > self.ends - self.begins:
            return ""
        return f"expires on {self.ends:%Y-%m-%d}, and clients refuse it then: see why nothing has renewed it yet"


def validity_of(pem: str) -> Validity:
    """Return the dates of the first certificate of a PEM file, which is the server's own. Raises ValueError."""
    start, end = pem.find(_BEGIN), pem.find(_END)
    try:
        return _validity(ssl.PEM_cert_to_DER_cert(pem[start : end + len(_END)]))
    except ValueError as error:
        raise ValueError("this is no certificate in PEM") from error


def _validity(der: bytes) -> Validity:
    _, certificate, _ = _take(der)
    _, rest, _ = _take(certificate)
    tag, _, after = _take(rest)
    # Then the serial number, unless it was that; the signature's algorithm; who issued it.
    for _ in range(3 if tag == _VERSION else 2):
        _, _, after = _take(after)
    _, dates, _ = _take(after)
    first, begins, dates = _take(dates)
    second, ends, _ = _take(dates)
    return Validity(_moment(first, begins), _moment(second, ends))


def _take(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag and the content of the first element, and what follows it. Raises ValueError."""
    if len(data) < 2:
        raise ValueError("cut short")
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("cut short")
    return tag, data[start : start + length], data[start + length :]


def _moment(tag: int, text: bytes) -> datetime:
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no date")
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of a year: from 50 on it is the last century's.
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    if len(digits) != len("20260131120000Z") or digits[-1] != "Z":
        raise ValueError("no date")
    month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(4, 14, 2))
    return datetime(int(digits[:4]), month, day, hour, minute, second, tzinfo=UTC)
