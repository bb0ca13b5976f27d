# SPDX-License-Identifier: Apache-2.0
"""Redaction: recognize credentials by their name or format, and remove them from text.

The patterns use only syntax common to Python's ``re`` and Go's RE2: ``python -m tools.chart_schema`` writes them into
the charts, which refuse the same credentials.
"""

from __future__ import annotations

import os
import re
from typing import Any

HIDDEN = "<hidden>"

_NAME = (
    r"(?:(?:[\w.\-]*[_\-.])?(?:pwd|pat|sig|sas|auth|creds?)"
    r"|[\w.\-]*(?:token|secret|passwd|password|passphrase|signature|authorization|bearer|credentials?"
    r"|(?:api|secret|access|account|storage|private|encryption|signing)[_\-]?key(?:[_\-]?id)?"
    r"|connection[_\-]?string))"
)
SECRET_NAME = rf"(?i)^{_NAME}$"
"""A key, a query parameter or an environment variable that holds a credential."""
ORDINARY_NAME = (
    r"(?i)(?:^|[_\-.])(?:pad|eos|bos|unk|sep|cls|mask|stop|start|begin|end|image|special|added|per|next|first|last"
    r"|prompt|response|system|user|assistant|instruction)[_\-]?token$"
)
"""Names that look like one but belong to tokenizers."""
_KNOWN_LOOKS = (
    r"\bhf_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS access key id
    r"|\bAIza[\w\-]{30,}|\bya29\.[\w\-]{20,}"  # Google
    r"|\b(?:ghp|gho|ghs|ghu|ghr)_[A-Za-z0-9]{30,}|\bgithub_pat_\w{20,}|\bglpat-[\w\-]{16,}"
    r"|\bsk-[A-Za-z0-9_\-]{20,}"
    r"|\beyJ[\w\-]{10,}\.eyJ[\w\-]{10,}\.[\w\-]*"  # JSON web token, RFC 7519
    r"|(?i:\bbearer)\s+[\w\-.~+/]{16,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# The password in a URL may contain slashes, as object stores' keys do; digits up to a slash are a port. Some schemes
# (abfs, sftp, hdfs) have a container or user before the @: there, only what follows a colon is secret.
# Lengths are bounded, because a long text full of colons would otherwise take minutes.
_USERINFO = (
    r"[\w+.\-]{0,40}://[^/\s:@?#\[\"']*:(?:\d+|\d*[^\d\s@/?#\"'][^\s\"']{0,500})@"
    r"|\b(?:s3a?|gs|gcs)://[^/\s@\"']{0,200}:[^\s\"'@]{1,500}@"
    r"|\b(?:https?|s3a?|gs|gcs)://[^/\s?#\"']{1,500}@"
)
# `$X`, `<key>` and `...` are placeholders, not values.
_ASSIGNMENT = rf"(?i:(?:^|[?&;#,\s\"']){_NAME}\s*=\s*)[\"']?[^\s&;,\"'$<{{.][^\s&;,\"']*"
SECRET_TEXT = f"{_KNOWN_LOOKS}|{_USERINFO}|{_ASSIGNMENT}"
"""Text with a credential: a token in a known format, a URL's user and password, or ``name=value`` by its name."""

_IS_SECRET_TEXT = re.compile(SECRET_TEXT)
_JSON_MEMBER = re.compile(rf"(\"{_NAME}\"\s*:\s*)(?:\"[^\"]*\"|[\d.]+)", re.IGNORECASE)
_MIN_LENGTH = 8  # characters; a shorter environment value could be an ordinary word


def is_secret_name(name: str) -> bool:
    """Whether ``name`` is the name of a credential: ``hub_token`` is, ``pad_token`` is not."""
    return re.search(SECRET_NAME, name) is not None and re.search(ORDINARY_NAME, name) is None


def has_secret(text: str) -> bool:
    """Whether some part of ``text`` looks like a credential."""
    return _IS_SECRET_TEXT.search(text) is not None


def redact(text: str) -> str:
    """``text`` with ``<hidden>`` for everything that looks like a credential, and for those in the environment."""
    for value in _secrets_of_environment():
        text = text.replace(value, HIDDEN)
    return _JSON_MEMBER.sub(_keep_name, _IS_SECRET_TEXT.sub(_keep_frame, text))


def _keep_frame(match: re.Match[str]) -> str:
    """Keep what surrounds the credential: a URL's scheme and @, or the name before an equals sign."""
    found = match[0]
    if found.endswith("@"):
        return f"{found.partition('://')[0]}://{HIDDEN}@"
    name, equals, _ = found.partition("=")
    return f"{name}={HIDDEN}" if equals and is_secret_name(name.strip("?&;#,\"' \t\n")) else HIDDEN


def _keep_name(match: re.Match[str]) -> str:
    is_ordinary = re.search(ORDINARY_NAME, match[1].split('"')[1])
    return match[0] if is_ordinary else f'{match[1]}"{HIDDEN}"'


def _secrets_of_environment() -> list[str]:
    found: dict[str, Any] = {
        value: None
        for name, value in os.environ.items()
        if len(value) >= _MIN_LENGTH and name != "PWD" and is_secret_name(name)
    }
    return sorted(found, key=len, reverse=True)
