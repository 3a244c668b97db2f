"""What README.md and docs/operations.md show can be done: their marked blocks are run against a worker and a simulator.

A block right after `<!-- test: run -->` is run by bash in a copy of the project, with `kitsweep` on PATH. One after
`<!-- test: python -->` is run as the program of a service that has Celery, and nothing of ours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.support_foreign import PACKAGES
from tests.integration.support_house import ROOT, House
from tests.integration.support_readme import Block, blocks_of, file_ids_of

README, RUNBOOK = ROOT / "README.md", ROOT / "docs" / "operations.md"
DEFAULT_URL = "redis://127.0.0.1:6379/0"
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
TEXT = README.read_text(encoding="utf-8") if README.is_file() else ""
BLOCKS = [*blocks_of(TEXT), *blocks_of(RUNBOOK.read_text(encoding="utf-8"))]
COMMAND = f"""#!/bin/sh
exec "{sys.executable}" -c 'from cli import main; main()' "$@"
"""


@pytest.fixture(scope="module")
def workplace(running_house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, beside a folder `bin` with the command; the files that the README names exist."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT, folder / "project", ignore=LEFT_OUT)
    (folder / "bin").mkdir()
    command = folder / "bin" / "kitsweep"
    command.write_text(COMMAND)
    command.chmod(0o755)
    running_house.simulator.add_files(file_ids_of(TEXT))
    return folder


def program_of(block: Block, workplace: Path) -> list[str]:
    """Return the command line that runs a block."""
    if block.kind == "run":
        return ["bash", "-e", "-u", "-o", "pipefail", "-c", block.text]
    program = workplace / "service.py"
    program.write_text(f"import sys\nsys.path.append({str(PACKAGES)!r})\n{block.text}", encoding="utf-8")
    return [sys.executable, "-I", "-S", str(program)]


def test_there_is_a_readme_with_blocks_to_run() -> None:
    """The README exists, and shows at least one command and one calling service that are run here."""
    assert README.is_file(), "README.md is missing"
    assert {block.kind for block in BLOCKS} == {"run", "python"}


@pytest.mark.parametrize("block", [pytest.param(block, id=block.text.splitlines()[0]) for block in BLOCKS])
def test_a_block(house: House, workplace: Path, block: Block) -> None:
    """The block runs unchanged, except for the address of Redis, and succeeds."""
    block = block._replace(text=block.text.replace(DEFAULT_URL, house.redis_url))
    environment = {
        **house.environment,
        "PATH": f"{workplace / 'bin'}:{Path(sys.executable).parent}:{house.environment['PATH']}",
        "PYTHONPATH": str(workplace / "project"),
    }
    done = subprocess.run(
        program_of(block, workplace),
        cwd=workplace / "project" if block.kind == "run" else workplace,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


def test_nothing_of_the_files_that_the_readme_deletes_is_left(house: House, workplace: Path) -> None:
    """All files whose ids are in a marked block are gone after the blocks have run."""
    ids = [file_id for block in BLOCKS for file_id in file_ids_of(block.text)]
    assert house.simulator.existing(ids) == []


@pytest.mark.parametrize(
    "text", ["<!-- test: run -->\n\n```bash\nx\n```", "<!-- test: go -->\n```bash\nx\n```", "<!-- test: run -->"]
)
def test_a_mark_that_marks_nothing(text: str) -> None:
    """A mark with a gap below it, or of an unknown kind, is an error, so that no block is skipped silently."""
    with pytest.raises(ValueError, match="line 1"):
        blocks_of(text)


def test_a_console_block() -> None:
    """Of a console's block only what follows the prompt is run."""
    text = "a\n<!-- test: run -->\n```console\n$ echo 1\n1\n$ echo 2\n```\n"
    assert blocks_of(text) == [Block("run", 2, "echo 1\necho 2\n")]
