"""Files, versions and folders, and how the API shows them."""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from urllib.parse import quote

from simulator.json_value import Json
from simulator.library.units import iso

URL_ENDPOINT = "https://ik.imagekit.io/simulator"
DAY_MS = 86_400_000
_HEX = re.compile("[0-9a-f]{24}")

FOLDERS = ("/", "/incoming/", "/products/", "/products/shoes/", "/drafts/", "/old stuff/", "/größen/")
_TAGS: tuple[tuple[str, ...] | None, ...] = (
    None,
    ("product",),
    (),
    ("expired",),
    ("sale", "Summer 2026"),
    None,
    ("expired", "keep"),
)
_FORMATS = (("jpg", "image/jpeg"), ("png", "image/png"), ("pdf", "application/pdf"), ("webp", "image/webp"))
_ODD_NAMES = ("with space", 'quo"te', "per%20cent", "plus+and&", "日本", "café", "semi;colon'")


@dataclass(frozen=True, slots=True)
class Record:
    """One object of the library.

    `type`: file, file-version or folder. `folder`: the path of its folder, with a slash at each end. `created`,
    `updated`: ms since 1970. `size`: bytes. `versions`: how many versions a file has; `version`: the number of an older
    one, 0 for the current one. `extra`: fields that replace those of the object in responses.
    """

    type: str
    id: str
    name: str
    folder: str
    created: int
    updated: int
    size: int = 0
    tags: tuple[str, ...] | None = None
    ai_tags: tuple[str, ...] = ()
    file_type: str = "image"
    mime: str = "image/jpeg"
    width: int | None = 800
    height: int | None = 600
    versions: int = 1
    version: int = 0
    extra: Mapping[str, Json] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path of the object, such as `/a/b.jpg`."""
        return self.folder + self.name

    def older_versions(self) -> Iterator["Record"]:
        """Return the older versions of the file. They have the same file id."""
        for number in range(1, self.versions):
            yield replace(self, type="file-version", version=number, versions=1)

    def as_json(self) -> dict[str, Json]:
        """Return the object as the list and details endpoints show it."""
        shown = self._folder_json() if self.type == "folder" else self._file_json()
        return {**shown, **self.extra} if self.extra else shown

    def _folder_json(self) -> dict[str, Json]:
        return {
            "type": "folder",
            "name": self.name,
            "createdAt": iso(self.created),
            "updatedAt": iso(self.updated),
            "folderId": self.id,
            "folderPath": self.path,
            "customMetadata": {},
        }

    def _file_json(self) -> dict[str, Json]:
        return {
            "type": self.type,
            "name": self.name,
            "createdAt": iso(self.created),
            "updatedAt": iso(self.updated),
            "fileId": self.id,
            "tags": None if self.tags is None else list(self.tags),
            "AITags": [{"name": tag, "confidence": 90.1, "source": "google-auto-tagging"} for tag in self.ai_tags]
            or None,
            "versionInfo": self._version_info(),
            "embeddedMetadata": {},
            "isPublished": True,
            "customCoordinates": None,
            "customMetadata": {},
            "isPrivateFile": False,
            "url": self._url(),
            "thumbnail": f"{self._url()}{'&' if self._stamped() else '?'}tr=n-ik_ml_thumbnail",
            "fileType": self.file_type,
            "filePath": self.path,
            "height": self.height,
            "width": self.width,
            "size": self.size,
            "hasAlpha": False,
            "mime": self.mime,
        }

    def _version_info(self) -> dict[str, str]:
        number = self.version or self.versions
        version_id = f"{int(self.id, 16) + number:024x}"[-24:] if self.version and _HEX.fullmatch(self.id) else self.id
        return {"id": version_id, "name": f"Version {number}"}

    def _stamped(self) -> bool:
        return self.updated != self.created

    def _url(self) -> str:
        stamp = f"?updatedAt={self.updated}" if self._stamped() else ""
        return URL_ENDPOINT + quote(self.path) + stamp


def generate_ids(seed: int = 0) -> Iterator[str]:
    """Generate an endless, reproducible sequence of file ids: 24 lower-case hex characters each."""
    bits = random.Random(seed).getrandbits  # noqa: S311 (no secrets)
    while True:
        yield f"{bits(96):024x}"


def generated_file(file_id: str, index: int, now_ms: int) -> Record:
    """Return the generated file number `index`. All but its id follows from the number.

    Groups of three files have the same creation time, spread over the 400 days before `now_ms`. One in 50 has an older
    version, one in 41 an unusual name, two in seven no tags (null).
    """
    extension, mime = _FORMATS[index % len(_FORMATS)]
    image = extension != "pdf"
    created = now_ms - 1 - (index // 3 * 7919) % 400_000 * (DAY_MS // 1000)
    stem = _ODD_NAMES[index % len(_ODD_NAMES)] if index % 41 == 40 else "file"
    return Record(
        type="file",
        id=file_id,
        name=f"{stem}-{index:07d}.{extension}",
        folder=FOLDERS[index % len(FOLDERS)],
        created=created,
        updated=created + (3_600_000 if index % 5 == 0 else 0),
        size=1000 + index * 7919 % 5_000_000,
        tags=_TAGS[index // 2 % len(_TAGS)],
        ai_tags=("shoe",) if index % 11 == 0 else (),
        file_type="image" if image else "non-image",
        mime=mime,
        width=800 if image else None,
        height=600 if image else None,
        versions=2 if index % 50 == 49 else 1,
    )


@cache
def folder_parts(path: str) -> tuple[tuple[str, str], ...]:
    """Return (parent, name) of each folder on a path: `/a/b/` gives (`/`, `a`) and (`/a/`, `b`)."""
    names = [name for name in path.split("/") if name]
    return tuple(("/" + "".join(f"{parent}/" for parent in names[:depth]), name) for depth, name in enumerate(names))


def folder_path(path: str) -> str:
    """Return the path of a folder with one slash at each end."""
    inner = path.strip("/")
    return f"/{inner}/" if inner else "/"
