"""Every object key, built and parsed in one place. Keys are relative to the store's root."""

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from urllib.parse import quote

from backburner_schemas.names import is_index, is_name

POOLS = "pools/"
OPEN = "open/"
PENDING = "pending/"
"""Stored jobs that a dispatcher has not sent whole yet."""
CANCELLED = "markers/cancelled/"
PAUSED = "markers/paused/"
DELETED = "markers/deleted/"
SUSPECTS = "markers/suspects/"
DEAD = "dead/"
CACHE = "cache/"
"""Cached answers of all tenants: one prefix, so that one rule of the store can expire them."""

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_MAX_ANSWER_NAME_CHARACTERS = 200
"""Characters of a percent-encoded custom_id in a key; longer ones are hashed (S3 keys end at 1,024 bytes)."""
_HASHED = "sha256-"
_MAX_PART_CHARACTERS = 255
"""Between two slashes of a key that somebody else chose: file systems and MinIO take no more."""

_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


def _base32(number: int, length: int) -> str:
    """That many digits of it, which are an even number: two at a time, since the gateway makes an id on each call."""
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(5 * length - 10, -1, -10)])


def new_ulid(now: float | None = None) -> str:
    """26 lower-case characters that sort by the time of creation: 48 bits of milliseconds, 80 random bits."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    return _base32(milliseconds, 10) + _base32(secrets.randbits(80), 16)


def new_job_id(now: float | None = None) -> str:
    """A job id whose order in a listing is newest first: inverted milliseconds, then 80 random bits."""
    return f"batch_{_newest_first(now)}"


def _newest_first(now: float | None) -> str:
    return _inverted(time.time() if now is None else now) + _base32(secrets.randbits(80), 16)


def _inverted(unix_seconds: float) -> str:
    """A time as ten characters that sort the newest first."""
    return _base32((1 << 48) - 1 - int(unix_seconds * 1000), 10)


SINGLE = "single-"
"""How the job of one `enqueue` begins."""
STREAM = "stream-"
"""How the job of messages without an address begins."""


def has_manifest(name: str) -> bool:
    """Whether a job of that name can have a manifest; single requests and streams never do."""
    return not name.startswith((SINGLE, STREAM))


def new_single_job_id(now: float | None = None) -> str:
    """The job of one `enqueue`."""
    return f"{SINGLE}{new_ulid(now)}"


def keyed_single_job_id(idempotency_key: str) -> str:
    """The job of an `enqueue` that may be repeated under that key: the same for the same key."""
    return f"{SINGLE}key-{hashlib.sha256(idempotency_key.encode(errors='surrogatepass')).hexdigest()[:40]}"


_JOB_ID = re.compile(rf"batch_([{_CROCKFORD}]{{10}})[{_CROCKFORD}]{{16}}")
_SINGLE_ID = re.compile(rf"{SINGLE}([{_CROCKFORD}]{{10}})[{_CROCKFORD}]{{16}}")


def job_made_at(name: str) -> float | None:
    """When a job was created, in Unix seconds, from an id of `new_job_id`; None for other names."""
    found = _JOB_ID.fullmatch(name)
    return None if found is None else _time_of(found[1])


def _time_of(inverted: str) -> float:
    """The time that `_inverted` made these characters of, in Unix seconds."""
    return ((1 << 48) - 1 - _number(inverted)) / 1000


def single_made_at(name: str) -> float | None:
    """When the job of one `enqueue` was made, in Unix seconds, from its id; None for other jobs."""
    found = _SINGLE_ID.fullmatch(name)
    return None if found is None else _number(found[1]) / 1000


def _number(digits: str) -> int:
    found = 0
    for digit in digits:
        found = found * 32 + _CROCKFORD.index(digit)
    return found


# --- pools and workers ------------------------------------------------------------------------------------


def pool(name: str) -> str:
    """The pool's registration."""
    return f"{POOLS}{name}.json"


def workers(name: str) -> str:
    """Prefix of the announcements of a pool's workers."""
    return f"{POOLS}{name}/workers/"


def worker(pool_name: str, worker_name: str) -> str:
    """One worker's announcement."""
    return f"{workers(pool_name)}{quote(worker_name, safe='')}.json"


def pool_of(key: str) -> str | None:
    """The pool that a key under `pools/` registers, or None for other keys."""
    found = re.fullmatch(r"pools/([a-z0-9-]+)\.json", key)
    return found[1] if found else None


# --- markers and open jobs --------------------------------------------------------------------------------


def cancelled(tenant: str, job: str) -> str:
    """The marker of a cancelled job."""
    return f"{CANCELLED}{tenant}/{job}"


def paused(tenant: str, job: str) -> str:
    """The marker of a stored job that is paused."""
    return f"{PAUSED}{tenant}/{job}"


def deleted(tenant: str, job: str) -> str:
    """The marker of a deleted job, whose id is still taken."""
    return f"{DELETED}{tenant}/{job}"


def pending(tenant: str, job: str) -> str:
    """The marker of a stored job that is not sent whole yet."""
    return f"{PENDING}{tenant}/{job}"


def open_job(tenant: str, job: str) -> str:
    """The marker of a job that is not frozen yet."""
    return f"{OPEN}{tenant}/{job}"


def marked(key: str) -> tuple[str, str] | None:
    """Tenant and job of a key under `open/`, `pending/` or `markers/…/`; None for anything else."""
    found = _MARKED.fullmatch(key)
    return (found[1], found[2]) if found and is_name(found[1]) and is_name(found[2]) else None


_MARKED = re.compile(r"(?:open|pending|markers/[a-z]+)/([^/]+)/([^/]+)")


def is_of_tenant(key: str, tenant: str) -> bool:
    """Whether a key, or a prefix that ends with a slash, lies wholly within what belongs to that tenant."""
    found = _TENANTS_OWN.match(key)
    if found is None or found[1] != tenant:
        return False
    *folders, last = key.split("/")
    return last not in {".", ".."} and not {"", ".", ".."} & set(folders)


_TENANTS_OWN = re.compile(r"(?:tenants|open|pending|cache|markers/[a-z]+)/([^/]+)/")


# --- jobs -------------------------------------------------------------------------------------------------


def jobs(tenant: str) -> str:
    """Prefix of a tenant's jobs."""
    return f"tenants/{tenant}/jobs/"


def job(tenant: str, name: str) -> str:
    """Prefix of everything that belongs to a job."""
    return f"{jobs(tenant)}{name}/"


def manifest(tenant: str, name: str) -> str:
    """The manifest, written once."""
    return f"{job(tenant, name)}job.json"


def named_jobs(tenant: str) -> str:
    """Prefix of the list of a tenant's jobs whose ids do not tell when they were made, newest first."""
    return f"tenants/{tenant}/named/"


def named_job(tenant: str, name: str, made_at: float) -> str:
    """The entry of a job in that list; `made_at` is in Unix seconds."""
    return f"{named_jobs(tenant)}{_inverted(made_at)}-{name}"


def named_job_of(key: str) -> tuple[str, float] | None:
    """The job of such an entry's key, and when it was made, in Unix seconds; None for anything else."""
    found = _NAMED.fullmatch(key)
    return (found[2], _time_of(found[1])) if found and is_name(found[2]) else None


_NAMED = re.compile(rf"tenants/[^/]+/named/([{_CROCKFORD}]{{10}})-([^/]+)")


def cursor(tenant: str, name: str) -> str:
    """How far the producer got."""
    return f"{job(tenant, name)}cursor.json"


def sealed(tenant: str, name: str) -> str:
    """The total, written when the broker has every request."""
    return f"{job(tenant, name)}sealed.json"


def summary(tenant: str, name: str) -> str:
    """The frozen end."""
    return f"{job(tenant, name)}summary.json"


def stored_input(tenant: str, name: str) -> str:
    """The input file, where one was stored."""
    return f"{job(tenant, name)}input.jsonl"


def is_input_of(key: str, tenant: str, name: str) -> bool:
    """Whether a stored job may have that object as its input: its own input, or a file of its tenant."""
    if key == stored_input(tenant, name):
        return True
    prefix = contents(tenant)
    return key.startswith(prefix) and is_name(key[len(prefix) :])


def unrouted(tenant: str, name: str) -> str:
    """The models that had no pool when the job was submitted, so that lines which name them were skipped."""
    return f"{job(tenant, name)}unrouted.json"


def enqueued(tenant: str, name: str) -> str:
    """The mark that the request of an idempotency key is on the queue."""
    return f"{job(tenant, name)}enqueued.json"


def claimed(tenant: str, name: str) -> str:
    """Which request an idempotency key is of, whether it is on the queue or not."""
    return f"{job(tenant, name)}claimed.json"


def retried(tenant: str, name: str) -> str:
    """Which job retries the failed part of this one."""
    return f"{job(tenant, name)}retried.json"


def plan(tenant: str, name: str) -> str:
    """The order in which a stored job goes out."""
    return f"{job(tenant, name)}plan"


def segments(tenant: str, name: str) -> str:
    """Prefix of a job's segments."""
    return f"{job(tenant, name)}segments/"


def bodies(tenant: str, name: str) -> str:
    """Prefix of bodies that were too large for the broker."""
    return f"{job(tenant, name)}bodies/"


def body(tenant: str, name: str, index: int | str) -> str:
    """One body that was too large for the broker."""
    return f"{bodies(tenant, name)}{index}.json"


def is_body_of(key: str, tenant: str, name: str) -> bool:
    """Whether a claimed body key is under that job's own bodies, with a plain name as its last part."""
    prefix = bodies(tenant, name)
    last = key[len(prefix) :]
    # Stores take no part that is longer.
    return key.startswith(prefix) and len(last) <= _MAX_PART_CHARACTERS and is_name(last.removesuffix(".json"))


def answer(tenant: str, name: str, custom_id: str) -> str:
    """The object that answers a single request."""
    encoded = quote(custom_id, safe="")
    if len(encoded) > _MAX_ANSWER_NAME_CHARACTERS or encoded.startswith(_HASHED):
        encoded = _HASHED + hashlib.sha256(custom_id.encode()).hexdigest()
    return f"{job(tenant, name)}answers/{encoded}.json"


def cached_answer(tenant: str, pool_name: str, digest: str) -> str:
    """The answer of a pool to such a request of that tenant."""
    return f"{CACHE}{tenant}/{pool_name}/{digest}.json"


# --- what the gateway keeps of a tenant -------------------------------------------------------------------


def new_file_id(now: float | None = None) -> str:
    """A file's id, whose order in a listing is newest first."""
    return f"file-{_newest_first(now)}"


def new_upload_id(now: float | None = None) -> str:
    """The id of an upload in parts, whose order in a listing is newest first."""
    return f"upload_{_newest_first(now)}"


def files(tenant: str) -> str:
    """Prefix of what is known of a tenant's files."""
    return f"tenants/{tenant}/files/"


def file(tenant: str, file_id: str) -> str:
    """What is known of a file; the file exists once this does."""
    return f"{files(tenant)}{file_id}.json"


def contents(tenant: str) -> str:
    """Prefix of the contents of a tenant's files."""
    return f"tenants/{tenant}/contents/"


def content(tenant: str, file_id: str) -> str:
    """A file's bytes."""
    return f"{contents(tenant)}{file_id}"


def uploads(tenant: str) -> str:
    """Prefix of a tenant's uploads in parts."""
    return f"tenants/{tenant}/uploads/"


def upload(tenant: str, upload_id: str) -> str:
    """Prefix of everything that belongs to an upload in parts."""
    return f"{uploads(tenant)}{upload_id}/"


def upload_entry(tenant: str, upload_id: str) -> str:
    """What is known of an upload from its beginning."""
    return f"{upload(tenant, upload_id)}upload.json"


def upload_end(tenant: str, upload_id: str) -> str:
    """How an upload ended."""
    return f"{upload(tenant, upload_id)}end.json"


def upload_part(tenant: str, upload_id: str, part_id: str) -> str:
    """One part's bytes."""
    return f"{upload(tenant, upload_id)}parts/{part_id}"


def batches(tenant: str) -> str:
    """Prefix of the gateway's list of a tenant's jobs, newest first."""
    return f"tenants/{tenant}/batches/"


def batch(tenant: str, job_name: str) -> str:
    """The entry of a job in that list."""
    return f"{batches(tenant)}{job_name}"


def deleted_results(tenant: str, job_name: str, kind: str) -> str:
    """The mark that one of a job's result files was deleted at the gateway; `kind` is `output` or `errors`."""
    return f"tenants/{tenant}/deleted/{job_name}-{kind}"


def expiries(tenant: str) -> str:
    """Prefix of the gateway's notes of when a tenant's files expire, in the order of time."""
    return f"tenants/{tenant}/expiring/"


def expiry(tenant: str, at: float, file_id: str) -> str:
    """The note that the file expires at that time, in Unix seconds, or is seen to have expired by then."""
    return f"{expiries(tenant)}{int(at) + 1:012d}-{file_id}"


def expiry_of(key: str) -> tuple[int, str] | None:
    """Time, in Unix seconds, and file of such a note's key; None for anything else."""
    found = _EXPIRY.fullmatch(key)
    return (int(found[1]), found[2]) if found and is_name(found[2]) else None


_EXPIRY = re.compile(r"tenants/[^/]+/expiring/([0-9]{12})-([^/]+)")


def idempotency_records(tenant: str) -> str:
    """Prefix of what the gateway remembers of a tenant's calls."""
    return f"tenants/{tenant}/idempotency/"


def idempotency(tenant: str, digest: str) -> str:
    """What a create call with that idempotency key, or those arguments, answered; `digest` is hexadecimal."""
    return f"{idempotency_records(tenant)}{digest}.json"


def audit(tenant: str, day: str) -> str:
    """Prefix of a day's audit log; `day` is `2026-11-28`, in UTC."""
    return f"tenants/{tenant}/audit/{day}/"


API_KEYS = "keys/"
"""API keys of all tenants, by the hash of the key: a key is found before its tenant is known."""


def api_key(digest: str) -> str:
    """What is known of the API key with that SHA-256, in hexadecimal."""
    return f"{API_KEYS}{digest}.json"


CLOCK = "clock/"
"""Empty objects, written anew to learn from their dates what the store's clock says."""
_CLOCK_MARKS_COUNT = 256
"""Some stores take one write a second of the same object."""


def clock_mark() -> str:
    """One of them, by chance."""
    return f"{CLOCK}{secrets.randbelow(_CLOCK_MARKS_COUNT):02x}"


TRIALS = "doctor/"
"""Objects with which it is tried what a store can do; removed at once."""


def trial(name: str) -> str:
    """One of them."""
    return f"{TRIALS}{name}"


PROBE = "probe"
"""An empty object, which is written to learn whether a store that was away is back."""
GATEWAY_SIGNING_KEY = "gateway/signing-key"
"""What gateways sign the ids of single requests with: made once, shared by all replicas."""


# --- dead letters -----------------------------------------------------------------------------------------


def dead_letter(tenant: str, job_name: str, index: int | str) -> str:
    """The dead letter of an addressed request."""
    return f"tenants/{tenant}/dead/{job_name}/{index}.json"


def dead_letters(tenant: str, job_name: str | None = None) -> str:
    """Prefix of a tenant's dead letters, or of one job's."""
    return f"tenants/{tenant}/dead/" if job_name is None else f"tenants/{tenant}/dead/{job_name}/"


def unaddressed_letter(queue: str, position: str) -> str:
    """The dead letter of a message that has no address."""
    return f"{DEAD}{queue}/{position}"


def letter_of(key: str) -> tuple[str, str, int | str] | None:
    """Tenant, job and index of an addressed letter's key; None for anything else."""
    found = _LETTER.fullmatch(key)
    index = index_of(found[3]) if found else None
    if found is None or index is None or not (is_name(found[1]) and is_name(found[2])):
        return None
    return found[1], found[2], index


def unaddressed_of(key: str) -> tuple[str, str] | None:
    """Queue and position of an unaddressed letter's key; None for anything else."""
    found = _UNADDRESSED.fullmatch(key)
    return (found[1], found[2]) if found and not {".", ".."} & {found[1], found[2]} else None


def index_of(text: str) -> int | str | None:
    """The index in a key's last part: a number where it can be one. None if it is not an index."""
    if _DECIMAL.fullmatch(text) and is_index(number := int(text)):
        return number
    return text if is_index(text) else None


_LETTER = re.compile(r"tenants/([^/]+)/dead/([^/]+)/([^/]+)\.json")
_UNADDRESSED = re.compile(rf"{DEAD}([A-Za-z0-9._-]{{1,255}})/([A-Za-z0-9._-]{{1,255}})")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")


def redrives(tenant: str, job_name: str | None = None) -> str:
    """Prefix of what a redrive of a tenant's letters, or of one job's, has under way."""
    return f"tenants/{tenant}/redrives/" if job_name is None else f"tenants/{tenant}/redrives/{job_name}/"


def redrive_plan(tenant: str, job_name: str) -> str:
    """The plan of the new job that a job's letters go into."""
    return f"{redrives(tenant, job_name)}plan.json"


def redrive_batch(tenant: str, job_name: str, name: str) -> str:
    """Envelopes that are being sent again under their own address."""
    return f"{redrives(tenant, job_name)}{name}.jsonl"


def suspect(tenant: str, job_name: str, index: int | str) -> str:
    """The mark of a suspect that runs alone; where it still exists at the next delivery, the suspect killed again."""
    return f"{SUSPECTS}{tenant}/{job_name}/{index}"


# --- segments ---------------------------------------------------------------------------------------------

_NUMBER = r"([0-9]{1,18})"
_SEGMENT = re.compile(
    rf"([0-9a-z]{{26}})-{_NUMBER}-{_NUMBER}ok-{_NUMBER}err-{_NUMBER}in-{_NUMBER}out-{_NUMBER}ms\.jsonl"
)


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What a segment's key alone states: who wrote it, how many records, tokens and engine time it holds."""

    writer: str
    """New at each worker start, sorts by time."""
    sequence: int
    ok: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    engine_ms: int

    def __str__(self) -> str:
        """The last part of the segment's key."""
        return (
            f"{self.writer}-{self.sequence:08d}-{self.ok}ok-{self.failed}err"
            f"-{self.prompt_tokens}in-{self.completion_tokens}out-{self.engine_ms}ms.jsonl"
        )

    @classmethod
    def parse(cls, key: str) -> "SegmentName | None":
        """The name in a key, or None if the key is not a segment's."""
        found = _SEGMENT.fullmatch(key.rsplit("/", 1)[-1])
        return cls(found[1], *(int(number) for number in found.groups()[1:])) if found else None


def segment(tenant: str, name: str, segment_name: SegmentName) -> str:
    """The key of one segment."""
    return f"{segments(tenant, name)}{segment_name}"
