"""Panels and dashboards in the few words that ours need, and as Grafana reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig, ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as StatPanel
from grafana_foundation_sdk.builders.timeseries import Panel as TimeseriesPanel
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
TAG = "haulout"
WIDTH = 24
GREEN, AMBER, RED = "green", "orange", "red"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and what its series are called.

    `$network` stands for the chosen network; `$process` for the chosen processes on dashboards that have it.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        unit: as Grafana names it: short, bytes, s, percentunit, …
        steps: value and colour from which on it holds; below the first it is green, or red when `low_is_bad`.
        kind: a number in the first row, a line over time elsewhere.
        moves: with what its value must be seen to change in the test of a live network.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    steps: tuple[tuple[float, str], ...] = ()
    base: str = GREEN
    kind: Literal["number", "lines"] = "lines"
    moves: Literal["", "kill", "damage", "epoch"] = ""


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard: a row of numbers that says what is wrong, then lines."""

    uid: str
    title: str
    about: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    by_process: str = ""  # the metric whose processes can be chosen

    def panels(self) -> Iterator[Panel]:
        """All panels, row by row."""
        for _, panels in self.rows:
            yield from panels


def render_board(board: Board) -> str:
    """The dashboard as Grafana imports it."""
    builder = (
        Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags([TAG])
        .editable()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(DashboardLink("Haulout").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True).keep_time(True))
        .with_variable(DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for name, query in _variables(board):
        variable = (
            QueryVariable(name)
            .label(name)
            .datasource(SOURCE)
            .query(query)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
        if name == "process":
            variable = variable.include_all(True).multi(True).all_value(".*")
        builder = builder.with_variable(variable)
    for title, panels in board.rows:
        builder = builder.with_row(Row(title))
        for panel in panels:
            builder = builder.with_panel(_panel(panel, len(panels)))
    return JSONEncoder(sort_keys=True, indent=1).encode(builder.build()) + "\n"


def _variables(board: Board) -> Sequence[tuple[str, str]]:
    metric = board.by_process or "haulout_build_info"
    network = ("network", "label_values(haulout_build_info, network)")
    if not board.by_process:
        return (network,)
    return (network, ("process", f'label_values({metric}{{network="$network"}}, process)'))


def _panel(panel: Panel, n_beside: int) -> StatPanel | TimeseriesPanel:
    steps = [Threshold(value=None, color=panel.base), *(Threshold(value=v, color=c) for v, c in panel.steps)]
    thresholds = ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    built: StatPanel | TimeseriesPanel
    if panel.kind == "number":
        built = (
            StatPanel()
            .color_mode(BigValueColorMode.BACKGROUND)
            .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
            .height(4)
            .span(max(3, WIDTH // n_beside))
        )
    else:
        legend = (
            VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        )
        built = TimeseriesPanel().legend(legend.show_legend(True)).height(8).span(WIDTH // min(3, n_beside))
        if panel.steps:
            built = built.thresholds_style(GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE))
    built = built.title(panel.title).description(panel.about).datasource(SOURCE).unit(panel.unit).thresholds(thresholds)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = Dataquery().expr(query.expr).legend_format(query.legend or "__auto").ref_id(letter).datasource(SOURCE)
        if panel.kind == "lines" and "_bucket" in query.expr:
            target = target.exemplar(True)  # a dot for each trace, where there are any
        built = built.with_target(target)
    return built
