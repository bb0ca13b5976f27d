# SPDX-License-Identifier: Apache-2.0
"""ConfigMaps in Kubernetes' protobuf encoding, in which Helm sends its releases.

Field numbers: k8s.io/api/core/v1/generated.proto and k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAGIC = b"k8s\x00"
_RAW = 2  # of runtime.Unknown
_METADATA, _DATA = 1, 2  # of ConfigMap
_NAME, _NAMESPACE, _RESOURCE_VERSION, _LABELS = 1, 3, 6, 11  # of ObjectMeta


def config_map(body: bytes) -> dict[str, Any]:
    """The ConfigMap in a request's body, with what of its metadata Helm uses."""
    raw = dict(_fields(body.removeprefix(MAGIC)))[_RAW]
    meta: dict[int, bytes] = {}
    labels, data = {}, {}
    for number, value in _fields(raw):
        if number == _METADATA:
            meta = dict(_fields(value))
            labels = dict(_entry(each) for field, each in _fields(value) if field == _LABELS)
        elif number == _DATA:
            key, text = _entry(value)
            data[key] = text
    known = {"name": meta[_NAME].decode(), "namespace": meta[_NAMESPACE].decode(), "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": known, "data": data}


def _entry(value: bytes) -> tuple[str, str]:
    """Key and value of a map."""
    pair = dict(_fields(value))
    return pair[1].decode(), pair.get(2, b"").decode()


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field that has a length; numbers, which are of no use here, are passed over."""
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        if tag & 7 == 0:
            _, at = _number(data, at)
            continue
        assert tag & 7 == 2, "ConfigMaps have no other fields"
        size, at = _number(data, at)
        yield tag >> 3, data[at : at + size]
        at += size


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
