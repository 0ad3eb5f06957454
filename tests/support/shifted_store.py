"""A real store whose clock seems to be wrong: an S3 server behind a proxy that shifts every date in its answers."""

import re
import time
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from refusing_store import RefusingStore

_LISTED = re.compile(rb"<LastModified>([^<]+)</LastModified>")


class ShiftedStore(RefusingStore):
    """Leads to the store at that endpoint; its clock is `shift_seconds` ahead of the true one. Refuses nothing."""

    def __init__(self, behind: str, shift_seconds: float = 0.0) -> None:
        super().__init__(behind)
        self.shift_seconds = shift_seconds

    def date(self) -> float:
        return time.time() + self.shift_seconds

    def amend(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        shift = timedelta(seconds=self.shift_seconds)
        for name, value in headers.items():
            if name.lower() == "last-modified":
                headers[name] = format_datetime(parsedate_to_datetime(value) + shift, usegmt=True)

        def later(found: re.Match[bytes]) -> bytes:
            at = datetime.fromisoformat(found[1].decode()) + shift
            return b"<LastModified>%b</LastModified>" % at.isoformat().replace("+00:00", "Z").encode()

        return headers, _LISTED.sub(later, body)
