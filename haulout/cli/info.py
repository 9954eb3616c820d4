"""`haulout info`: the network in numbers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import bytes_text, print_json

if TYPE_CHECKING:
    from haulout.cli.session import Session


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("info")(info)


def info(directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION) -> None:
    """Show epoch, sizes, prices, committee and your balance."""
    from haulout.cli.session import run_session

    async def work(session: Session) -> tuple[dict[str, Any], bytes, int]:
        from haulout.client import documents

        view, address = session.network.view, session.wallet.address
        document = await documents.network_info(view, session.ledger)
        return document, address, await view.balance(address)

    from haulout.world.kernels import KernelSettings, describe_kernels

    document, address, balance_frost = run_session(directory, work)
    if as_json:
        print_json(document)  # of the network alone, as `/v1/info` has it
    else:
        kernels = describe_kernels(KernelSettings.of(os.environ))
        lines = [*info_lines(document, address, balance_frost), f"kernels    {kernels}"]
        sys.stdout.write("\n".join(lines) + "\n")


def info_lines(document: dict[str, Any], address: bytes, balance_frost: int) -> list[str]:
    """The document for people."""
    from haulout.primitives import frost_text, hex_id_text

    epoch, storage, size = document["epochInfo"], document["storageInfo"], document["sizeInfo"]
    price, committee, faults = document["priceInfo"], document["committeeInfo"], document["bftInfo"]
    unit = bytes_text(size["storageUnitSize"])
    lines = [
        f"epoch      {epoch['currentEpoch']}, each lasts {duration_text(epoch['epochDuration']['secs'])}; "
        f"at most {epoch['maxEpochsAhead']} ahead",
        f"nodes      {storage['nNodes']} with {storage['nShards']} shards; "
        f"reads and stores work while at most {faults['maxFaultyShards']} shards are away",
        f"blobs      up to {bytes_text(size['maxBlobSize'])}, stored in units of {unit}",
        f"price      {frost_text(price['storagePricePerUnitSize'])} per unit and epoch, "
        f"{frost_text(price['writePricePerUnitSize'])} per unit written",
    ]
    for kind in price["encodingDependentPriceInfo"]:
        for example in kind["exampleBlobs"]:
            lines.append(
                f"           {bytes_text(example['unencodedSize'])} encode to {bytes_text(example['encodedSize'])}: "
                f"{frost_text(example['price'])} per epoch"
            )
    if finality := document.get("finality"):
        lines.append(f"ledger     block {finality['committed']}; attested by the nodes up to {finality['attested']}")
    lines.append(f"account    {hex_id_text(address)} with {frost_text(balance_frost)}")
    lines.append("committee")
    for member in committee["currentStorageNodes"]:
        lines.append(
            f"  {member['name']:<10} {member['nShards']:>4} shards  {frost_text(member['stake'])} staked  "
            f"{member['networkAddress']}  {member['nodeId']}"
        )
    if kept := committee["keptBecause"]:
        lines.append(f"  it stays as it is: {kept['message']}")
    return lines


def duration_text(seconds: int) -> str:
    """Whole days, hours, minutes or seconds: the largest that fits."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds and seconds % length == 0:
            count = seconds // length
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:,} seconds"
