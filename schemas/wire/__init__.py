"""Wire formats of source systems; one adapter each, one line each."""

from typing import Dict

from schemas.wire import evergreen, folio, salesforce
from schemas.wire.adapter import Adapter

ADAPTERS: Dict[str, Adapter] = {
    "folio": folio.ADAPTER,
    "evergreen": evergreen.ADAPTER,
    "salesforce": salesforce.ADAPTER,
}
