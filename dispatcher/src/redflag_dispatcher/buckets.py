"""Puts values into the broker's key-value buckets: a key is a subject, the newest message is the value."""

import json

import nats.errors
from nats.aio.client import Client

from redflag_broker_config.subjects import bucket_subject
from redflag_dispatcher.errors import PublishError
from redflag_dispatcher.publish_rules import PubAck, parse_answer

PUT_DEADLINE_S = 5.0


async def put(nc: Client, bucket: str, key: str, value: bytes) -> int:
    """Store a value; return its place in the bucket's stream.

    Raises:
        PublishError: the broker did not take it.
    """
    try:
        answer = await nc.request(bucket_subject(bucket, key), value, timeout=PUT_DEADLINE_S)
    except (TimeoutError, nats.errors.Error) as error:
        raise PublishError(0, str(error) or type(error).__name__) from error
    result = parse_answer(answer.data, answer.headers)
    if isinstance(result, PubAck):
        return result.seq
    raise result


async def get(nc: Client, bucket: str, key: str) -> bytes | None:
    """Return the value of a key, None when it has none.

    Raises:
        PublishError: the broker did not answer.
    """
    body = json.dumps({"last_by_subj": bucket_subject(bucket, key)}).encode()
    try:
        answer = await nc.request(f"$JS.API.DIRECT.GET.KV_{bucket}", body, timeout=PUT_DEADLINE_S)
    except (TimeoutError, nats.errors.Error) as error:
        raise PublishError(0, str(error) or type(error).__name__) from error
    return None if "Status" in (answer.headers or {}) else answer.data
