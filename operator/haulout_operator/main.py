"""`haulout-operator`: run, epochs, render, uninstall."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import typer

from haulout.errors import HauloutError

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

app = typer.Typer(
    name="haulout-operator",
    help="The Kubernetes operator of Haulout.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

NAMESPACE = typer.Option("", envvar="HAULOUT_NAMESPACE", help="Namespace to work in; the Pod's own by default.")
METRICS = typer.Option("0.0.0.0:9090", envvar="HAULOUT_METRICS", help="HOST:PORT for metrics and health.")
SCRATCH = typer.Option("/tmp", envvar="HAULOUT_SCRATCH", help="Folder for what may be lost.")
LOG_FORMAT = typer.Option("auto", envvar="HAULOUT_LOG_FORMAT", help="auto, human or json.")
LOG_LEVEL = typer.Option("info", envvar="HAULOUT_LOG_LEVEL", help="debug, info, warning or error.")


@app.command()
def run(
    image: str = typer.Option(..., envvar="HAULOUT_IMAGE", help="Image of networks that name none."),
    namespace: str = NAMESPACE,
    metrics: str = METRICS,
    install: Path | None = typer.Option(None, envvar="HAULOUT_INSTALL", help="Folder of networks and pools to apply."),
    control: str = typer.Option("", envvar="HAULOUT_CONTROL", help="HOST:PORT for ClusterControl; none when empty."),
    control_address: str = typer.Option("", envvar="HAULOUT_CONTROL_ADDRESS", help="Where Pods reach that."),
    failpoint: str = typer.Option("", envvar="HAULOUT_FAILPOINT", help="For tests: POINT[,POINT…]@CHAIN_ID to end at."),
    epochs: bool = typer.Option(True, envvar="HAULOUT_EPOCHS", help="Drive epochs, too; else another process does."),
    token_review: bool = typer.Option(
        False, envvar="HAULOUT_TOKEN_REVIEW", help="Let GraphQL accept tokens of service accounts."
    ),
    scratch: Path = SCRATCH,
    log_format: str = LOG_FORMAT,
    log_level: str = LOG_LEVEL,
) -> None:
    """Run the operator until told to stop."""
    from haulout.observability.tracing import tracing
    from haulout_operator.failpoints import parse_armed
    from haulout_operator.run import OperatorSettings, run_operator

    _configure_logs(log_format, log_level)
    settings = OperatorSettings(
        _namespace(namespace),
        image,
        metrics,
        scratch,
        install,
        control,
        control_address,
        parse_armed(failpoint),
        epochs,
        token_review,
    )
    with tracing("operator"):
        asyncio.run(run_operator(settings))


@app.command()
def epochs(
    namespace: str = NAMESPACE,
    metrics: str = METRICS,
    scratch: Path = SCRATCH,
    log_format: str = LOG_FORMAT,
    log_level: str = LOG_LEVEL,
) -> None:
    """Run the epoch controller alone, beside an operator that runs with --no-epochs."""
    from haulout.observability.tracing import tracing
    from haulout_operator.run import OperatorSettings, run_epochs

    _configure_logs(log_format, log_level)
    with tracing("operator"):
        asyncio.run(run_epochs(OperatorSettings(_namespace(namespace), "", metrics, scratch)))


@app.command()
def render(
    file: Path = typer.Option(..., "--file", "-f", help="YAML with a StorageNetwork and its pools."),
    namespace: str = typer.Option("default", help="Namespace of the children."),
    image: str = typer.Option("haulout", help="Image of networks that name none."),
) -> None:
    """Print every child that the operator would apply."""
    from haulout_operator import render as rendering
    from haulout_operator.bootstrap import read_documents

    manifests = rendering.render(read_documents(file), namespace=namespace, image=image)
    sys.stdout.write(rendering.render_text(manifests))


@app.command()
def uninstall(
    namespace: str = NAMESPACE,
    scratch: Path = SCRATCH,
    log_format: str = LOG_FORMAT,
    log_level: str = LOG_LEVEL,
) -> None:
    """Delete all networks, pools and nodes of a namespace; volumes, keys and genesis stay."""
    from prometheus_client import CollectorRegistry

    from haulout_operator import uninstall as removal
    from haulout_operator.kube import Kube

    _configure_logs(log_format, log_level)
    asyncio.run(removal.uninstall(Kube.of_cluster(scratch, CollectorRegistry()), _namespace(namespace)))


@app.command("first-blob")
def first_blob(
    gateway: str = typer.Option(..., help="URL of the gateway."),
    graphql: str = typer.Option(..., help="URL of GraphQL."),
    metrics: str = typer.Option(..., help="URL of the gateway's metrics."),
) -> None:
    """Store a blob, read it back, ask GraphQL about it: what `helm test` runs."""
    from haulout.world.clock import SystemClock
    from haulout.world.rng import SystemRng
    from haulout_operator.first_blob import Places, run_first_blob

    blob_id = run_first_blob(Places(gateway, graphql, metrics), clock=SystemClock(), rng=SystemRng())
    sys.stdout.write(f"stored, read, found: {blob_id}\n")


def _configure_logs(log_format: str, log_level: str) -> None:
    from haulout.observability.logs import configure_logs

    process = os.environ.get("HAULOUT_PROCESS", "operator")
    configure_logs(log_format=log_format, level=log_level, process=process)  # type: ignore[arg-type]


def _namespace(told: str) -> str:
    if told:
        return told
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip()
    except OSError:
        return "default"


def main(arguments: list[str] | None = None) -> None:
    """Errors raised on purpose become a message and exit code 1."""
    try:
        app(sys.argv[1:] if arguments is None else arguments)
    except HauloutError as error:
        sys.stderr.write(f"haulout-operator: {error} [{error.code}]\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
