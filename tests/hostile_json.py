"""Bodies that are sent as JSON and are wrong: too deep, too large, or no JSON at all."""

from __future__ import annotations

import gzip

DEEP = 10_000
JSON_BODIES: dict[str, bytes] = {
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a deep filter": b'{"product_id":"p0001","filter":' + b'{"must":[' * DEEP + b"]}" * DEEP + b"}",
    "a deep attribute": b'{"product_id":"p","category":"c","attributes":{"brand":' + b"[" * 900 + b"]" * 900 + b"}}",
    "a number of 5,000 digits": b'{"product_id":"p0001","k":1' + b"0" * 5_000 + b"}",
    "beyond a float": b'{"product_id":"p0001","min_score":1e400}',
    "NaN": b'{"vector":[NaN]}',
    "Infinity": b'{"product_id":"p0001","filter":{"must":[{"field":"price","gt":Infinity}]}}',
    "beyond all numbers": b'{"product_id":"p0001","filter":{"must":[{"field":"stock","gt":1' + b"0" * 400 + b"}]}}",
    "half a surrogate": b'{"product_id":"\\ud800"}',
    "NUL": b'{"product_id":"a\\u0000b","category":"c","image":"QUJD"}',
    "UTF-16": '{"product_id":"p0001"}'.encode("utf-16"),
    "not UTF-8": b'{"product_id":"\xff"}',
    "a long id": b'{"product_id":"' + b"x" * 5_000 + b'","category":"c","image":"QUJD"}',
    "null": b"null",
    "nothing": b"",
    "many products": b'{"products":[' + b",".join([b"{}"] * 1_001) + b"]}",
    "base64 that is none": b'{"product_id":"p","category":"c","image":"\xc3\xa4===="}',
    "gzip": gzip.compress(b'{"product_id":"p0001"}'),
}
