"""Careful reading of a zip archive: members are read by name into memory, nothing is ever extracted to a path."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from ...errors import BadModelFile

SIGNATURE = b"PK\x03\x04"
MAX_MEMBERS = 10_000
#: a packed member may be this many times larger than its bytes in the archive …
MAX_EXPANSION = 1000
#: … or of any ratio below this size in bytes
SMALL = 1 << 24
#: what zipfile raises on a damaged archive
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError, RuntimeError, MemoryError)


class Archive:
    """A zip file whose directory has been checked; use it as a context manager.

    Raises
    ------
    BadModelFile
        Truncated, encrypted, or members that are too many, ambiguous or implausibly large.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except _FAULTS as error:
            raise BadModelFile(f"damaged zip archive: {error}") from error
        infos = self._zip.infolist()
        self._infos = {info.filename: info for info in infos}
        if len(infos) > MAX_MEMBERS:
            self.close()
            raise BadModelFile(f"zip archive with {len(infos)} members")
        if len(self._infos) != len(infos):
            self.close()
            raise BadModelFile("zip archive with two members of one name")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._zip.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in order."""
        return tuple(self._infos)

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The content of a member, of at most `limit` bytes."""
        info = self._infos.get(name)
        if info is None:
            found = ", ".join(self.names[:8]) or "nothing"
            raise BadModelFile(f"zip archive without a member {name!r}; it holds {found}")
        if info.flag_bits & 1:
            raise BadModelFile(f"zip member {name!r} is encrypted")
        size = info.file_size
        if limit is not None and size > limit:
            raise BadModelFile(f"zip member {name!r} declares {size} bytes; at most {limit} make sense")
        if size > SMALL and size > MAX_EXPANSION * info.compress_size:
            raise BadModelFile(f"zip member {name!r} declares {size} bytes but stores {info.compress_size}")
        try:
            with self._zip.open(info) as member:
                content = member.read(size)
        except _FAULTS as error:
            raise BadModelFile(f"damaged zip member {name!r}: {error}") from error
        if len(content) != size:
            raise BadModelFile(f"zip member {name!r} ends after {len(content)} of {size} bytes")
        return content
