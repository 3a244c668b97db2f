"""The media library: which files and folders exist."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from simulator.library.records import FOLDERS, Record, folder_parts, folder_path, generate_ids, generated_file


class MediaLibrary:
    """All files and folders, by id and by path.

    A generated file is stored as its number until it is read, so that a million files take little memory. `clock_ms`
    returns the current time in ms. Not thread-safe.
    """

    def __init__(self, seed: int, clock_ms: Callable[[], int]) -> None:
        self.files: dict[str, Record | int] = {}
        self.folders: dict[str, Record] = {}
        self.revision = 0
        self.added = 0
        self.vanished = 0
        self._ids = generate_ids(seed)
        self._clock_ms = clock_ms
        self._created_ms = clock_ms()

    def add_generated(self, files: int | Iterable[str]) -> list[str]:
        """Add this many generated files, or one for each id, and return their ids. Existing files stay unchanged."""
        file_ids = list(islice(self._ids, files)) if isinstance(files, int) else list(files)
        new = [file_id for file_id in dict.fromkeys(file_ids) if file_id not in self.files]
        self.files.update(zip(new, range(self.added, self.added + len(new)), strict=True))
        for path in FOLDERS if new else ():
            self._add_folders(path)
        self._count(len(new))
        return file_ids

    def add(self, record: Record) -> None:
        """Add one file and the folders on its path. Replaces a file with the same id."""
        self._add_folders(record.folder)
        self._count(record.id not in self.files)
        self.files[record.id] = record

    def new_id(self) -> str:
        """Return the next unused generated file id."""
        return next(file_id for file_id in self._ids if file_id not in self.files)

    def get(self, file_id: str) -> Record | None:
        """Return the file with this id, or None."""
        kept = self.files.get(file_id)
        return self._generate(file_id, kept) if isinstance(kept, int) else kept

    def missing(self, file_ids: Iterable[str]) -> list[str]:
        """Return the ids that do not exist, in the order given."""
        return [file_id for file_id in file_ids if file_id not in self.files]

    def remove(self, file_ids: Iterable[str]) -> None:
        """Delete files with all their versions. Raises KeyError for an unknown id."""
        self.revision += 1
        files = self.files
        for file_id in file_ids:
            del files[file_id]

    def vanish(self, file_ids: Iterable[str]) -> int:
        """Remove files as another user of the account would. Return how many existed."""
        existing = [file_id for file_id in dict.fromkeys(file_ids) if file_id in self.files]
        self.remove(existing)
        self.vanished += len(existing)
        return len(existing)

    def records(self) -> Iterator[Record]:
        """Return all files, then all folders."""
        for file_id, kept in list(self.files.items()):
            yield self._generate(file_id, kept) if isinstance(kept, int) else kept
        yield from self.folders.values()

    def _generate(self, file_id: str, index: int) -> Record:
        record = generated_file(file_id, index, self._created_ms)
        self.files[file_id] = record
        return record

    def _count(self, added: int) -> None:
        self.added += added
        self.revision += 1

    def _add_folders(self, path: str) -> None:
        for parent, name in folder_parts(folder_path(path)):
            path_of_folder = f"{parent}{name}/"
            if path_of_folder not in self.folders:
                self.folders[path_of_folder] = self._folder(parent, name)

    def _folder(self, parent: str, name: str) -> Record:
        folder_id = hashlib.sha256(f"{parent}{name}".encode()).hexdigest()[:24]
        return Record("folder", folder_id, name, parent, self._created_ms, self._created_ms, width=None, height=None)
