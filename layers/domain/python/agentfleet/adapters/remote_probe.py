"""Whether a remote agent answers over HTTP."""

import http.client
import urllib.error
import urllib.request
from typing import Any, Final

SECONDS: Final = 3.0
"""For each step of a connection."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An agent is where fleet.toml says: following it elsewhere would let it choose what we ask."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


class HttpProbe:
    """A RemoteProbe: a GET that must be answered by a 2xx; certificates are checked, redirects not followed."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(_NoRedirect)

    def is_well(self, url: str) -> bool:
        """Did it answer in time that it is well?"""
        try:
            # The address is the deployer's own, from fleet.toml, which admits http and https only.
            with self._opener.open(urllib.request.Request(url), timeout=SECONDS) as answer:  # noqa: S310
                return 200 <= int(answer.status) < 300
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            return False
