"""How a command gets a password, and how it gives one out: never over the command line."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import click

from cyclades_tx.config import read_secret
from cyclades_tx.errors import BadRequest, ConfigError
from cyclades_tx.model import password

_MOST_BYTES = 4096


def get(
    what: str,
    *,
    from_argv: str | None = None,
    from_stdin: bool = False,
    from_file: str | None = None,
    prompt: bool = True,
    confirm: bool = False,
) -> str | None:
    """Get a password from where the operator said, or ask at the terminal.

    :param what: whose it is, for the prompt and for messages.
    :param prompt: whether to ask when nothing else was said; None is returned otherwise.
    :raise UsageError: when more than one place was named, or nobody can be asked.
    """
    named = [from_argv is not None, from_stdin, from_file is not None]
    if sum(named) > 1:
        raise click.UsageError(f"Say only once where the {what} comes from.")
    if from_argv is not None:
        click.echo(
            f"Warning: a {what} on the command line is seen by everybody on this machine who"
            " lists the processes; use --password-file or --password-stdin.",
            err=True,
        )
        return _checked(what, from_argv)
    if from_stdin:
        return _checked(what, _first_line())
    if from_file is not None:
        try:
            return _checked(what, read_secret(from_file))
        except ConfigError as error:
            raise BadRequest(f"The {what} cannot be read: {error.message}.") from None
    if not prompt:
        return None
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"A {what} is needed: use --password-file FILE, --password-stdin, or a terminal."
        )
    asked: str = click.prompt(
        what.capitalize(), hide_input=True, confirmation_prompt=confirm, err=True
    )
    return _checked(what, asked)


def generate_into(path: str) -> str:
    """Make a password and write it to a new file of mode 0600; return it.

    :raise BadRequest: when the file is there already or cannot be made.
    """
    source = random.SystemRandom()
    made = password.make(source) + password.make(source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise BadRequest(f"{path} cannot be made: {error.strerror}.") from None
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(made + "\n")
    return made


def forget(path: str | None) -> None:
    """Remove a file of :func:`generate_into` whose password is nobody's after all."""
    if path is not None:
        Path(path).unlink(missing_ok=True)


def _first_line() -> str:
    line = sys.stdin.buffer.readline(_MOST_BYTES + 1)
    if len(line) > _MOST_BYTES:
        raise BadRequest("The password on standard input is too long.")
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadRequest("The password on standard input is not UTF-8.") from None


def _checked(what: str, text: str) -> str:
    if not text:
        raise BadRequest(f"The {what} is empty.")
    if "\0" in text or len(text) > _MOST_BYTES:
        raise BadRequest(f"The {what} holds a NUL character or is too long.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"The {what} is not UTF-8.") from None
    return text
