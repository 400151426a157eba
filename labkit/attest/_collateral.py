"""Collateral: what a verifier needs besides the quote, as the nine fields of Intel's QuoteCollateralV3."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from dcap_qvl import QuoteCollateralV3

from labkit.errors import MalformedEvidence
from labkit.measure.wrapping import plain_text

_REMEDY = "Fetch it again for this platform's FMSPC, for example with dcap-qvl, and keep its texts unchanged."
_LIMIT = 4 << 20


@dataclass(frozen=True)
class Collateral:
    """Collateral as its JSON text, kept exactly: the signatures inside are over the text."""

    text: str

    @cached_property
    def native(self) -> Any:
        """The library's object; made once, since the same collateral serves many quotes."""
        try:
            return QuoteCollateralV3.from_json(self.text)
        except ValueError as error:
            raise MalformedEvidence(f"The collateral does not parse: {error}.", _REMEDY) from error

    @cached_property
    def tcb_info(self) -> dict[str, Any]:
        """The TCB info document; not verified here."""
        return _document(self.native.tcb_info)

    @cached_property
    def qe_identity(self) -> dict[str, Any]:
        """The QE identity document; not verified here."""
        return _document(self.native.qe_identity)

    @property
    def fmspc(self) -> str:
        """The platform family it is for, as hex in capitals."""
        return str(self.tcb_info.get("fmspc", "")).upper()

    @property
    def window(self) -> tuple[datetime, datetime]:
        """From when to when TCB info and QE identity are both current; CRLs may end it earlier.

        Raises:
            MalformedEvidence: a date is missing or is none.
        """
        try:
            issued = [_date(part, "issueDate") for part in (self.tcb_info, self.qe_identity)]
            next_update = [_date(part, "nextUpdate") for part in (self.tcb_info, self.qe_identity)]
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEvidence(
                "The collateral has no valid dates: issueDate and nextUpdate, with a time zone.", _REMEDY
            ) from error
        return max(issued), min(next_update)

    def __repr__(self) -> str:
        return f"Collateral(fmspc={self.fmspc})"

    def __getstate__(self) -> dict[str, str]:
        return {"text": self.text}


def parse_collateral(data: bytes | str) -> Collateral:
    """Read collateral from JSON.

    Raises:
        MalformedEvidence: it is not collateral.
    """
    if len(data) > _LIMIT:
        raise MalformedEvidence(f"The collateral has {len(data)} bytes, far too many.", _REMEDY)
    try:
        text = data if isinstance(data, str) else plain_text(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedEvidence("The collateral is not text.", _REMEDY) from error
    collateral = Collateral(text)
    _ = collateral.native
    return collateral


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedEvidence("A document inside the collateral is not JSON.", _REMEDY) from error
    if not isinstance(document, dict):
        raise MalformedEvidence("A document inside the collateral is not a JSON object.", _REMEDY)
    return document


def _date(document: dict[str, Any], key: str) -> datetime:
    moment = datetime.fromisoformat(document[key])
    if moment.tzinfo is None:
        raise ValueError(f"{key} has no time zone")
    return moment
