"""Every bound of the wire, with its unit. Whatever a peer can inflate is held by one of these.

Changing one changes what old and new programs accept from each other: raise the reader first, then the writer.
"""

from typing import Final

# Envelopes (docs/protocol.md 2)
ENVELOPE_MAX_BYTES: Final = 262_144  # bytes of one envelope as it travels
ENVELOPE_MAX_SIGNATURES: Final = 16  # signatures on one envelope; a manifest has the roots of two versions
ENVELOPE_JSON_MAX_DEPTH: Final = 4  # levels of nesting in the envelope itself
ENVELOPE_JSON_MAX_KEYS: Final = 64  # object members in the envelope itself
KEYID_MAX_BYTES: Final = 128  # bytes of the keyid hint
PAYLOAD_TYPE_MAX_BYTES: Final = 128  # bytes of a payload type
VERIFY_MAX_KEYS: Final = (
    64  # candidate keys tried on one envelope; with 16 signatures under 0.1 s at the worst
)

# JSON (docs/protocol.md 2)
JSON_MAX_BYTES: Final = 8 * 1024 * 1024  # bytes of one document, the largest body there is
JSON_MAX_DEPTH: Final = 16  # levels of nesting
JSON_MAX_KEYS: Final = 20_000  # object members in one document
INVENTORY_JSON_MAX_KEYS: Final = 200_000  # the same for inventories
JSON_ITEMS_PER_KEY: Final = 4  # containers and commas allowed per allowed member; bounds lists too
JSON_QUOTES_PER_KEY: Final = 10  # quotation marks allowed per allowed member; bounds the scan for strings
STRING_MAX_BYTES: Final = 65_536  # bytes of one string as written, quotes not counted
NUMBER_MAX_CHARS: Final = 32  # characters of one number; 2**53 has 16 digits
INTEGER_LIMIT: Final = 2**53  # integers hold |n| < this, so that every JSON reader agrees on them

# Texts in payloads
NAME_MAX_BYTES: Final = 256  # bytes of names: packages, versions, hosts, operators
LINE_MAX_BYTES: Final = 2_048  # bytes of one line for people: problems, event messages
OUTPUT_KEEP_BYTES: Final = 65_536  # bytes kept of the start of a program's output, and as many of its end
OUTPUT_MAX_BYTES: Final = 2 * OUTPUT_KEEP_BYTES + 256  # both ends and the marker between them

# Lists in payloads
PACKAGES_MAX: Final = 4_000  # packages in one command, and available updates of one host
PLAN_ITEMS_MAX: Final = 20_000  # items of a plan, dependencies included
UPDATES_MAX: Final = 20_000  # rows of one inventory
PROBLEMS_MAX: Final = 256  # problems named in one body
TARGETS_MAX: Final = 4_000  # agents of one intent; more do not fit an envelope
APPROVERS_MAX: Final = 16  # names in `by`, approvals in an intent
ARTIFACTS_MAX: Final = 16  # files one command names
STOPS_MAX: Final = 256  # stop scopes in a beacon
FACTS_MAX_KEYS: Final = 64  # members of free-form facts and event data
CAPABILITIES_MAX: Final = 32  # package managers of one host
TOP_PROCESSES_MAX: Final = 20  # processes named in one look at a host
VOLUMES_MAX: Final = 256  # volumes, and disks, of one host

# Reports and bodies (docs/protocol.md 6)
REPORTS_MAX_BYTES: Final = 2 * 1024 * 1024  # bytes of one framed batch
REPORTS_MAX_COUNT: Final = 1_024  # reports in one batch
BODY_MAX_COMPRESSED: Final = 1024 * 1024  # bytes of one body as it travels
BODY_MAX_DECODED: Final = 8 * 1024 * 1024  # bytes of one body opened

# Keys and manifests (docs/protocol.md 4)
MANIFEST_MAX_STEPS: Final = 32  # versions taken in one update
MANIFEST_MAX_ROOTS: Final = 8  # root keys of one manifest
MANIFEST_MAX_KEYS: Final = 64  # keys of one manifest
KEY_FILE_MAX_CHARS: Final = 256  # characters of a key file

# Requests and tokens (docs/protocol.md 8)
LONG_POLL_MAX_S: Final = 55  # seconds the gateway holds a poll
SIGNATURE_HEADER_MAX_BYTES: Final = 1_024  # bytes of Signature-Input and of Signature
COMPONENT_MAX_BYTES: Final = 8_192  # bytes of one signed request component
