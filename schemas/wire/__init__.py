"""Wire formats of source systems; one adapter each, one line each."""

from typing import Dict

from schemas.wire import carrel_event, evergreen, folio, salesforce
from schemas.wire.adapter import Adapter

ADAPTERS: Dict[str, Adapter] = {
    "carrel-event": carrel_event.ADAPTER,
    "folio": folio.ADAPTER,
    "evergreen": evergreen.ADAPTER,
    "salesforce": salesforce.ADAPTER,
}
