"""What can go wrong with bytes at rest: the disk refused, a file is damaged, a format is too new.

Every text is one line that names the file, where in it, and what is allowed.
"""

from __future__ import annotations

from cryptosignal.ground.faults import EdgeFault, UserFault


class DiskFault(EdgeFault):
    """The host's disk refused a write or a sync (`ENOSPC`, `EIO`, …) or could not keep up.

    Not retryable: after a failed fsync nobody knows what the file holds. The process ends and
    start-up reads what is there.
    """

    is_retryable = False

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.name = name


class DamagedFile(UserFault):
    """A file fails its checksum in the middle: valid data follow the damage, so it is no torn tail."""

    def __init__(self, name: str, offset: int, what: str) -> None:
        super().__init__(f"{name}: damaged at byte {offset}: {what}")
        self.name = name
        self.offset = offset


class NewerFormat(UserFault):
    """A file was written by a newer program."""

    def __init__(self, name: str, found: int, allowed: int) -> None:
        super().__init__(
            f"{name}: format {found} is newer than this program reads (up to {allowed})"
        )
        self.name = name
