"""`haulout token`: bearer tokens of the GraphQL API, made and ended where its records are kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION, parse_duration_ms
from haulout.cli.output import print_json

if TYPE_CHECKING:
    from graphql_api.records.tokens import Token

T = TypeVar("T")

RECORDS_OPTION = typer.Option(
    "", envvar="HAULOUT_RECORDS", help="URL of the records' database; else $HAULOUT_DATA, else the network's folder."
)

token_app = typer.Typer(help="Bearer tokens of the GraphQL API.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    token_app.command("create")(create)
    token_app.command("list")(list_all)
    token_app.command("revoke")(revoke)
    app.add_typer(token_app, name="token")


def create(
    name: str = typer.Argument(..., help="What it is for."),
    scope: list[str] = typer.Option([], help="WRITE_BLOB, STAKE, OPERATE or ADMIN; repeatable. All tokens may read."),
    expires_in: str = typer.Option("", help="How long it is valid: 1h, 30d; for ever if left out."),
    records: str = RECORDS_OPTION,
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Make a token. Its secret is printed once and kept nowhere."""
    from graphql_api.access import parse_scopes
    from graphql_api.records.tokens import SECRET_BYTES, check_token, digest_of, make_token, secret_text
    from haulout.world.clock import SystemClock
    from haulout.world.rng import SystemRng

    life_ms = parse_duration_ms(expires_in, field="expires_in") if expires_in else None
    names = [wanted.name for wanted in parse_scopes(scope, field="scope")]
    check_token(name, None if life_ms is None else life_ms // 1000)
    secret, now_ms = secret_text(SystemRng().random_bytes(SECRET_BYTES)), SystemClock().now_ms()
    expires_ms = None if life_ms is None else now_ms + life_ms
    token = _write(directory, records, make_token, digest_of(secret), name, names, now_ms, expires_ms)
    if as_json:
        print_json({**_document(token), "secret": secret})
        return
    sys.stderr.write(f"haulout: token {token.number} may {', '.join(['READ', *token.scopes])}; it is not shown again\n")
    sys.stdout.write(f"{secret}\n")


def list_all(records: str = RECORDS_OPTION, directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION) -> None:
    """List tokens, without their secrets."""
    from graphql_api.records.tokens import list_tokens
    from haulout.world.clock import SystemClock

    tokens, now_ms = _write(directory, records, list_tokens), SystemClock().now_ms()
    if as_json:
        print_json([_document(token) for token in tokens])
        return
    for token in tokens:
        state = "valid" if token.is_valid(now_ms) else "revoked" if token.revoked_ms else "expired"
        sys.stdout.write(f"{token.number:>6}  {state:<8}  {','.join(['READ', *token.scopes]):<28}  {token.name}\n")


def revoke(
    number: int = typer.Argument(..., help="The token, as `list` numbers it."),
    records: str = RECORDS_OPTION,
    directory: Path | None = DIR_OPTION,
) -> None:
    """End a token, at once and for good."""
    from graphql_api.records.tokens import revoke_token
    from haulout.errors import InvalidField
    from haulout.world.clock import SystemClock

    token = _write(directory, records, revoke_token, number, SystemClock().now_ms())
    if token is None:
        raise InvalidField(field="number", problem=f"there is no token {number}")
    sys.stderr.write(f"haulout: token {token.number} ({token.name}) is revoked\n")


def _document(token: Token) -> dict[str, Any]:
    return {
        "number": token.number,
        "name": token.name,
        "scopes": ["READ", *token.scopes],
        "createdMs": token.created_ms,
        "expiresMs": token.expires_ms,
        "revokedMs": token.revoked_ms,
    }


def _write(directory: Path | None, url: str, function: Callable[..., T], *arguments: Any) -> T:
    """Run a function over the records of a process's folder or of the network's."""
    import asyncio

    from graphql_api.records.database import Records
    from haulout.embedded.folder import find_folder
    from haulout.world.genesis_file import read_genesis
    from haulout.world.workers import InlineWorkers

    data, genesis = os.environ.get("HAULOUT_DATA"), os.environ.get("HAULOUT_GENESIS")
    if data is None or genesis is None:
        folder = find_folder(directory)
        data, genesis = str(folder.data_of("graphql")), str(folder.genesis_file)
    chain_id = read_genesis(Path(genesis)).chain_id
    Path(data).mkdir(parents=True, exist_ok=True)

    async def run() -> T:
        records = Records(url or f"sqlite:///{Path(data).absolute() / 'records.sqlite'}", InlineWorkers())
        try:
            await records.open(chain_id=chain_id)
            return await records.write(function, *arguments)
        finally:
            records.close()

    return asyncio.run(run())
