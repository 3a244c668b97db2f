"""The commands `key create` and `verify`: certificates of erasure."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from cli.common import DONE, INCOMPLETE, CommandError
from cli.screen.output import number, say, write
from config.settings import environment_name, load_settings
from tasks.certificates import CertificateInvalid, Verified, create_key, verified
from worker.text import escape

DEFAULT_FILE = Path("kitsweep-signing-key.pem")


def create(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Default: as the settings say, else kitsweep-signing-key.pem."),
    ] = None,
) -> None:
    """Create the key that signs certificates of erasure, and print its public part.

    The file is new and only its owner can read it. The public part is for those who verify certificates.

    Examples:
      kitsweep key create /etc/kitsweep/signing-key.pem
    """
    stored = load_settings().signing_key_file
    path = file or (Path(stored) if stored else DEFAULT_FILE)
    try:
        public = create_key(path)
    except FileExistsError:
        raise CommandError(f"{path} exists and is kept; name another file") from None
    write(public)
    say(f"The private key is in {escape(path)}; set {environment_name('signing_key_file')} to it.")


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate: the JSON lines, not the page.")],
    key: Annotated[
        str | None, typer.Option("--key", metavar="PUBLIC", help="Public key that must have signed it.")
    ] = None,
) -> int:
    """Verify a certificate of erasure, without Redis.

    Without --key, it may be signed with any key: compare the one that is shown. Exit status: 0 genuine, 1
    changed or incomplete.

    Examples:
      kitsweep verify certificate.jsonl --key "$PUBLIC_KEY"
    """
    with file.open("rb") as lines:
        try:
            found = verified(lines, key)
        except CertificateInvalid as error:
            say(f"kitsweep: {escape(file)} is not genuine: {escape(error)}")
            return INCOMPLETE
    _show(found)
    if key is None:
        say("Compare the key with the one that you were given, or pass it with --key.")
    return DONE


def _show(found: Verified) -> None:
    about, seal = found.request, found.seal
    say(
        f"Genuine: request {escape(about['request_id'])}, {number(int(about['total']))} files, signed by {seal['key']}."
    )
    say(*(f"  {escape(name)}: {number(int(count))}" for name, count in islice(sorted(seal["totals"].items()), 20)))
    say(*(f"Not proven: {escape(each)}" for each in seal["does_not_prove"]))
