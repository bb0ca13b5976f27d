# SPDX-License-Identifier: Apache-2.0
"""The encoding of a text table, told from its first bytes, and its content as UTF-8.

Excel writes UTF-8 with a byte-order mark, UTF-16, or the code page of its Windows: cp1256 where that is Arabic.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import Any, BinaryIO, cast

from tadrib.training.data.readers.locations import Location

SAMPLE_BYTES = 64 * 1024
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WORD = re.compile(r"[\w\u064b-\u0652]+")
_ARABIC = re.compile(r"[\u0600-\u06ff]+")
_LEAST_WORDS = 3
_LEAST_SHARE = 0.9


def encoding_of(sample: bytes) -> str:
    """The encoding of a text that begins with ``sample``. Where none is certain it is UTF-8, whose reader then refuses
    the lines that are not."""
    for bom, name in _BOMS.items():
        if sample.startswith(bom):
            return name
    if b"\0" in sample:
        likely = [name for name in ("utf-16-le", "utf-16-be") if _is_plausible(sample, name)]
        return likely[0] if len(likely) == 1 else "utf-8"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return "cp1256" if _is_arabic_of_windows(sample) else "utf-8"
    return "utf-8"


def _is_plausible(sample: bytes, encoding: str) -> bool:
    """Whether nearly all of the text is ASCII or Arabic; in the other byte order it is neither."""
    text = sample[: len(sample) // 2 * 2].decode(encoding, "replace")
    usual = sum((char.isascii() and char != "\0") or bool(_ARABIC.match(char)) for char in text)
    return usual >= _LEAST_SHARE * len(text)


def _is_arabic_of_windows(sample: bytes) -> bool:
    """Whether the words that are not ASCII are Arabic throughout. In text of other code pages, these bytes are letters
    with accents as well: in ISO-8859-6 those of ya, ha and waw."""
    words = [word for word in _WORD.findall(sample.decode("cp1256")) if not word.isascii()]
    arabic = sum(bool(_ARABIC.fullmatch(word)) for word in words)
    return len(words) >= _LEAST_WORDS and arabic >= _LEAST_SHARE * len(words)


def open_text(location: Location) -> tuple[BinaryIO, str]:
    """The file's content as UTF-8, and the beginning of its text. Reading raises OSError where the content does not go
    on in the encoding of its beginning."""
    with location.open() as stream:
        sample = stream.read(SAMPLE_BYTES)
    encoding = encoding_of(sample)
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)("replace")
    stream = location.open()
    return stream if encoding == "utf-8" else _as_utf8(stream, encoding), decoder.decode(sample)


def _as_utf8(stream: BinaryIO, encoding: str) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_AsUtf8(stream, encoding), buffer_size=1024 * 1024))


class _AsUtf8(io.RawIOBase):
    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream, self._encoding, self._ready = stream, encoding, b""
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = b"more"
        while block and not self._ready:
            block = self._stream.read(len(buffer))
            try:
                self._ready = self._decoder.decode(block, final=not block).encode()
            except UnicodeError as error:
                raise OSError(f"it begins as {self._encoding}, but does not go on so: {error}") from error
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
