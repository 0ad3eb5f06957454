"""Answer objects: one record an object, for single requests, written so that no later delivery spoils it."""

from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import parse_stored
from backburner_schemas import keys
from backburner_schemas.envelope import Address
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.result import ResultRecord

log = get_logger(__name__)


async def store_answer(storage: Storage, address: Address, data: bytes, *, ok: bool) -> bool:
    """Write the answer object; `ok` if it is a response.

    False if the object belongs to another index, or is too large for anybody to tell, so that the record must go
    elsewhere. A response replaces an error of the same index, which is small; nothing else replaces anything. Raises
    `StoreError`.
    """
    key = keys.answer(address.tenant, address.job, address.custom_id or str(address.index))
    while not await storage.create(key, data):
        try:
            # Whoever may write below the tenant may have put anything there, as often as there are requests.
            there = await storage.get(key)
            if there is None:
                continue
            found = parse_stored(ResultRecord, key, there.data)
        except StoredObjectBroken:
            return _elsewhere(address, key)
        if found.backburner.index != address.index:
            return _elsewhere(address, key)
        if found.ok or not ok or await storage.replace(key, data, there.etag):
            return True
    return True


def _elsewhere(address: Address, key: str) -> bool:
    log.warning(
        "answer object is another request's, or cannot be read; writing the record to a segment instead",
        tenant=address.tenant,
        job=address.job,
        index=address.index,
        key=key,
    )
    return False
