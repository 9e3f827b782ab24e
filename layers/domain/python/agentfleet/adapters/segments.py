"""An index in S3 as immutable files and a manifest that says which of them count.

Whoever adds writes a new file, then replaces the manifest on the condition that it is still the one that was read, and tries
again if it is not: a reader sees all of a change or nothing of it. Many small files are joined to larger ones; what was
deleted is named in the manifest until its file is rewritten. Files are mapped from the function's disk.

Key rule: knowledge/tenant/domain/family/manifest.json and knowledge/tenant/domain/family/digest.bin.
"""

import hashlib
import json
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.adapters.arrays import dump_arrays, map_arrays
from agentfleet.adapters.backoff import Backoff
from agentfleet.domain.errors import KnowledgeUnavailable
from agentfleet.domain.knowledge import Space
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX: Final = "knowledge/"
MANY: Final = 8
"""Files that one search may have to look into before some are joined."""
QUICK: Final = 5_000
"""Chunks that may be joined while somebody waits for an addition."""
DEAD_SHARE: Final = 0.2
"""Of what is in the files, may be deleted before they are rewritten."""
GRACE: Final = timedelta(hours=1)
"""How long a file that no manifest names any more is kept for searches that read the manifest before."""
TRIES: Final = 20
"""Whoever loses a race for the manifest reads it again; each loss is another writer's success."""
DISK: Final = 400 * 1024 * 1024
"""Bytes of /tmp that files may take; Lambda has 512 MB if not told otherwise."""

_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_ABSENT: Final = frozenset({"NoSuchKey", "404", "AccessDenied", "403"})
"""A role that may not list the bucket is not told that an object is missing, only that it may not see it."""

Loaded = dict[str, Any]
"""A file's arrays by name."""


class Segment(Struct, frozen=True):
    """A file."""

    name: str
    count: int
    """Chunks in it, deleted ones too."""


class Manifest(Struct, frozen=True):
    """Which files count, and what in them does not."""

    segments: tuple[Segment, ...] = ()
    dead: frozenset[str] = frozenset()
    """Chunk keys."""
    retired: dict[str, float] = field(default_factory=dict)
    """Files that were replaced → when (epoch seconds)."""

    @property
    def count(self) -> int:
        """Chunks in all files, deleted ones too."""
        return sum(segment.count for segment in self.segments)


class Segments:
    """The files of one family of indexes (`words`, `vectors-minilm-384`) for every tenant and domain."""

    def __init__(
        self,
        s3: "S3Client",
        bucket: str,
        family: str,
        clock: Clock,
        join: Callable[[Sequence[Loaded], frozenset[str]], Loaded],
        *,
        folder: Path | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """`join` makes one file of several, without the dead; every file has an array `keys`."""
        self._s3 = s3
        self._bucket = bucket
        self._family = family
        self._clock = clock
        self._join = join
        self._folder = folder or Path(tempfile.gettempdir()) / "knowledge"
        self._backoff = backoff or Backoff(tries=TRIES)
        self._manifests: dict[Space, tuple[Manifest, str]] = {}
        self._open: OrderedDict[str, tuple[Loaded, int]] = OrderedDict()
        self._lock = RLock()

    def read(self, space: Space) -> tuple[Manifest, list[Loaded]]:
        """The manifest as it is now and its files. Raises KnowledgeUnavailable."""
        for _ in self._backoff.rounds():
            manifest, _tag = self._manifest(space)
            try:
                return manifest, [self._load(space, segment.name) for segment in manifest.segments]
            except FileNotFoundError:
                # The files were joined, and their grace has passed, between the two reads.
                continue
        raise KnowledgeUnavailable(f"the {self._family} of {space.domain} change faster than they can be read")

    def add(self, space: Space, arrays: Loaded, keys: Iterable[str]) -> None:
        """A new file, whose keys count again if they were deleted. Raises KnowledgeUnavailable."""
        alive = frozenset(keys)
        segment = self._write(space, arrays)

        def change(manifest: Manifest) -> Manifest:
            files = tuple(one for one in manifest.segments if one.name != segment.name)
            retired = {name: since for name, since in manifest.retired.items() if name != segment.name}
            return replace(manifest, segments=(*files, segment), dead=manifest.dead - alive, retired=retired)

        self._change(space, change)

    def remove(self, space: Space, keys: Iterable[str]) -> None:
        """These keys don't count any more. Raises KnowledgeUnavailable."""
        gone = frozenset(keys)
        self._change(space, lambda manifest: replace(manifest, dead=manifest.dead | gone) if manifest.segments else manifest)

    def compact(self, space: Space) -> None:
        """Join all files into one without what was deleted, however long it takes. Raises KnowledgeUnavailable."""

        def change(manifest: Manifest) -> Manifest:
            wanted = len(manifest.segments) > 1 or manifest.dead
            return self._joined(space, manifest, manifest.segments) if wanted else manifest

        self._change(space, change)

    def _change(self, space: Space, change: Callable[[Manifest], Manifest]) -> None:
        for _ in self._backoff.rounds():
            before, tag = self._manifest(space)
            after = self._tidied(space, change(before))
            if after == before:
                return
            body = {
                "segments": [[one.name, one.count] for one in after.segments],
                "dead": sorted(after.dead),
                "retired": after.retired,
            }
            condition: Any = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
            try:
                self._s3.put_object(
                    Bucket=self._bucket,
                    Key=self._key(space, "manifest.json"),
                    Body=json.dumps(body).encode(),
                    ContentType="application/json",
                    **condition,
                )
            except ClientError as error:
                if error.response["Error"]["Code"] in _TAKEN:
                    continue
                raise self._unavailable(space, error) from error
            except BotoCoreError as error:
                raise self._unavailable(space, error) from error
            self._sweep(space, set(before.retired) - set(after.retired) - {one.name for one in after.segments})
            return
        raise KnowledgeUnavailable(f"the {self._family} of {space.domain} were changed by others {self._backoff.tries} times")

    def _tidied(self, space: Space, manifest: Manifest) -> Manifest:
        """With small files joined, if there are many or many of their chunks are deleted; large ones wait for `compact`."""
        limit = self._clock().timestamp() - GRACE.total_seconds()
        manifest = replace(manifest, retired={name: since for name, since in manifest.retired.items() if since > limit})
        small: list[Segment] = []
        for segment in sorted(manifest.segments, key=lambda one: (one.count, one.name)):
            if sum(one.count for one in small) + segment.count <= QUICK:
                small.append(segment)
        rotten = len(manifest.dead) > max(100, DEAD_SHARE * manifest.count) and len(small) == len(manifest.segments)
        if small and ((len(manifest.segments) > MANY and len(small) > 1) or rotten):
            return self._joined(space, manifest, small)
        return manifest

    def _joined(self, space: Space, manifest: Manifest, chosen: Sequence[Segment]) -> Manifest:
        arrays = self._join([self._load(space, segment.name) for segment in chosen], manifest.dead)
        names = {segment.name for segment in chosen}
        kept = tuple(segment for segment in manifest.segments if segment.name not in names)
        new = () if not len(arrays["keys"]) else (self._write(space, arrays),)
        now = self._clock().timestamp()
        # What is dead may still be in the files that were not joined.
        dead = manifest.dead if kept else frozenset[str]()
        retired = {**manifest.retired, **dict.fromkeys(names - {one.name for one in new}, now)}
        return Manifest((*kept, *new), dead, retired)

    def _write(self, space: Space, arrays: Loaded) -> Segment:
        body = dump_arrays(arrays)
        name = hashlib.sha256(body).hexdigest()[:32]
        try:
            self._s3.put_object(Bucket=self._bucket, Key=self._key(space, f"{name}.bin"), Body=body)
        except (ClientError, BotoCoreError) as error:
            raise self._unavailable(space, error) from error
        return Segment(name, len(arrays["keys"]))

    def _manifest(self, space: Space) -> tuple[Manifest, str]:
        """The manifest and its ETag; an empty one without a tag if there is none yet."""
        known = self._manifests.get(space)
        condition: Any = {"IfNoneMatch": known[1]} if known else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key(space, "manifest.json"), **condition)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if known and code in {"304", "NotModified"}:
                return known
            if code in _ABSENT:
                self._manifests.pop(space, None)
                return Manifest(), ""
            raise self._unavailable(space, error) from error
        except BotoCoreError as error:
            raise self._unavailable(space, error) from error
        data = json.loads(answer["Body"].read())
        segments = tuple(Segment(name, count) for name, count in data["segments"])
        manifest = Manifest(segments, frozenset(data["dead"]), data["retired"])
        self._manifests[space] = manifest, answer["ETag"]
        return self._manifests[space]

    def _load(self, space: Space, name: str) -> Loaded:
        """A file's arrays. Raises FileNotFoundError if it is not there any more."""
        key = self._key(space, f"{name}.bin")
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key][0]
            path = self._folder / hashlib.sha256(f"{self._bucket}/{key}".encode()).hexdigest()[:32]
            if not path.exists():
                self._download(space, key, path)
            arrays = map_arrays(path)
            self._open[key] = arrays, path.stat().st_size
            while sum(size for _, size in self._open.values()) > DISK and len(self._open) > 1:
                oldest, _ = self._open.popitem(last=False)
                (self._folder / hashlib.sha256(f"{self._bucket}/{oldest}".encode()).hexdigest()[:32]).unlink(missing_ok=True)
            return arrays

    def _download(self, space: Space, key: str, path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"]
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as work:
                for part in body.iter_chunks(1 << 20):
                    work.write(part)
            Path(work.name).replace(path)
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                raise FileNotFoundError(key) from error
            raise self._unavailable(space, error) from error
        except (BotoCoreError, OSError) as error:
            raise self._unavailable(space, error) from error

    def _sweep(self, space: Space, names: Iterable[str]) -> None:
        """Delete files whose grace has passed."""
        for name in names:
            try:
                self._s3.delete_object(Bucket=self._bucket, Key=self._key(space, f"{name}.bin"))
            except (ClientError, BotoCoreError) as error:
                raise self._unavailable(space, error) from error

    def _key(self, space: Space, name: str) -> str:
        return f"{PREFIX}{space.tenant}/{space.domain}/{self._family}/{name}"

    def _unavailable(self, space: Space, error: Exception) -> KnowledgeUnavailable:
        return KnowledgeUnavailable(f"the {self._family} of {space.domain}: {error}")
