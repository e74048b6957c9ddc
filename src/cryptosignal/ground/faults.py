"""The error tree, split by whose fault it is and what to do next.

Fault
├── EdgeFault        the network or the host: retry as the supervisor decides
│   ├── TimedOut     no answer in time: for an order this means *unknown*, never *failed*
│   └── Unreachable  refused, DNS, TLS: nothing was delivered
├── VenueFault       the exchange answered with an error
│   ├── RateLimited  429/418; `retry_after_ms` is obeyed to the millisecond
│   ├── Refused      a request that the venue rejected (`code`, `message`)
│   └── SequenceGap  a diff stream lost a link: rebuild from a snapshot
├── UserFault        bad input or configuration: one line for a person, exit code 2
└── ContractFault    our own bug: crash; protective stops already rest at the venue
"""

from __future__ import annotations


class Fault(Exception):
    """Base of every error that the program raises on purpose."""

    is_retryable = False


class EdgeFault(Fault):
    """The network or the host failed; nothing is known of the other side."""

    is_retryable = True


class TimedOut(EdgeFault):
    """No answer within the deadline. A request that changes state is then UNKNOWN."""


class Unreachable(EdgeFault):
    """No connection could be made: name resolution, refusal, TLS, proxy."""


class VenueFault(Fault):
    """The venue answered, and the answer is an error."""


class RateLimited(VenueFault):
    """HTTP 429 or 418: silent until `retry_after_ms` (exchange time, epoch ms) has passed."""

    is_retryable = True

    def __init__(self, status: int, until_ms: int, message: str = "") -> None:
        super().__init__(f"HTTP {status}: rate limited until {until_ms}: {message}")
        self.status = status
        self.until_ms = until_ms


class Refused(VenueFault):
    """The venue rejected a request: `code` is Binance's (negative), `status` the HTTP status."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class MarketHalted(VenueFault):
    """Everything that could be traded is halted at the venue: it passes, there is nothing to mend."""

    is_retryable = True


class SequenceGap(VenueFault):
    """A diff stream's chain is broken; the book must be rebuilt from a snapshot."""

    is_retryable = True


class UserFault(Fault):
    """Bad input or configuration. The text is one line: what was wrong, where, what is allowed."""


class ContractFault(Fault):
    """An invariant of our own does not hold: the process ends, start-up reconciles."""
