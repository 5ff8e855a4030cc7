"""The dashboard, the alerts and the manual's page name what there is, and all of it."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from aswr.events import Because
from aswr.measures import CLASSES, METRICS

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "monitoring"
MANUAL = (ROOT / "docs" / "monitoring.md").read_text()
DASHBOARD = json.loads((EXAMPLE / "grafana-dashboard.json").read_text())
ALERTS = yaml.safe_load((EXAMPLE / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

# Exported, and in no query of ours: none.
UNUSED: set[str] = set()

SERIES = {
    name: metric
    for metric in METRICS
    for name in (
        [f"{metric.family}_{end}" for end in ("bucket", "sum", "count")]
        if metric.kind == "histogram"
        else [metric.series]
    )
}
# Labels that a scrape adds, and that a bucket has.
OF_A_SCRAPE = {"instance", "job", "le"}
FUNCTIONS = {
    "and", "by", "histogram_quantile", "increase", "min", "or", "rate", "sum", "topk", "vector",
}  # fmt: skip


needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# For four hours, by minutes: what makes an alert fire, and what does not.
VIEW = '{instance="a", view="v"}'
HOST = '{instance="a"}'
FIRES = {
    "AswrStoreUnreachable": (
        {f"aswr_store_reachable{HOST}": "0x240"},
        {f"aswr_store_reachable{HOST}": "1x240"},
    ),
    "AswrStoreFlaps": (
        {f"aswr_breaker_openings_total{HOST}": "0+1x240"},
        {f"aswr_breaker_openings_total{HOST}": "0+0.1x240"},
    ),
    "AswrLoadsFail": (
        {f"aswr_load_failures_total{VIEW}": "0+6x240", f"aswr_loads_total{VIEW}": "0+10x240"},
        {f"aswr_load_failures_total{VIEW}": "0+1x240", f"aswr_loads_total{VIEW}": "0+10x240"},
    ),
    "AswrCallersWait": (
        {f"aswr_waited_seconds_total{VIEW}": "0+600x240", f"aswr_waits_total{VIEW}": "0+60x240"},
        {f"aswr_waited_seconds_total{VIEW}": "0+60x240", f"aswr_waits_total{VIEW}": "0+60x240"},
    ),
    "AswrHitRatioLow": (
        {f"aswr_hits_total{VIEW}": "0+90x240", f"aswr_misses_total{VIEW}": "0+120x240"},
        {f"aswr_hits_total{VIEW}": "0+900x240", f"aswr_misses_total{VIEW}": "0+120x240"},
    ),
    "AswrViewNotCached": (
        {
            f"aswr_hits_total{VIEW}": "0+1x240",
            f'aswr_passes_total{VIEW[:-1]}, reason="reads"}}': "0+60x240",
        },
        {
            f"aswr_hits_total{VIEW}": "0+1x240",
            f'aswr_passes_total{VIEW[:-1]}, reason="method"}}': "0+60x240",
        },
    ),
    "AswrMemoryTooSmall": (
        {
            f"aswr_evictions_total{HOST}": "0+120x240",
            f"aswr_memory_bytes{HOST}": "95x240",
            f"aswr_memory_limit_bytes{HOST}": "100x240",
        },
        {
            f"aswr_evictions_total{HOST}": "0+1x240",
            f"aswr_memory_bytes{HOST}": "95x240",
            f"aswr_memory_limit_bytes{HOST}": "100x240",
        },
    ),
    "AswrLoadsQueue": (
        {f"aswr_queued{HOST}": "200x240"},
        {f"aswr_queued{HOST}": "10x240"},
    ),
}


def queries() -> Iterator[Any]:
    """Every expression of the dashboard, of its variables and of the alerts."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield pytest.param(variable["query"]["query"], id=f"${variable['name']}")
    for rule in RULES:
        yield pytest.param(rule["expr"], id=rule["alert"])


QUERIES = [param.values[0] for param in queries()]


def series_in(query: str) -> set[str]:
    return set(re.findall(r"\baswr_\w+", query))


@pytest.mark.parametrize("query", list(queries()))
def test_queries_name_what_there_is(query: str) -> None:
    """Every name in a query is an exported series, every label one that it has."""
    assert series_in(query)
    assert series_in(query) <= SERIES.keys()
    assert query.count("(") == query.count(")")
    for name, selector in re.findall(r"\b(aswr_\w+)\{([^}]*)\}", query):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= set(SERIES[name].labels) | OF_A_SCRAPE
    has = set().union(*(SERIES[name].labels for name in series_in(query)))
    for grouping in re.findall(r"\bby \(([^)]*)\)", query):
        assert set(grouping.split(", ")) <= has | OF_A_SCRAPE
    if not query.startswith("label_values("):
        bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|by \([^)]*\)|aswr_\w+", "", query)
        assert set(re.findall(r"[a-z_]+", bare)) <= FUNCTIONS


@pytest.mark.parametrize("query", list(queries()))
def test_counters_are_asked_for_their_rate(query: str) -> None:
    """What only grows is looked at by how fast, and a gauge as it is."""
    for name in series_in(query):
        rated = re.search(rf"(?:rate|increase)\({name}\b", query)
        if not query.startswith("label_values("):
            assert bool(rated) == (SERIES[name].kind != "gauge")


def test_every_metric_is_looked_at() -> None:
    """Each metric is in some query, or listed as unused."""
    used = {SERIES[name].name for query in QUERIES for name in series_in(query)}
    assert used | UNUSED == {metric.name for metric in METRICS}
    assert not used & UNUSED


def test_values_of_labels_exist() -> None:
    """A query that asks for kinds or reasons asks for those that there are."""
    known = {"kind": {"fresh", "stale"}, "reason": set(CLASSES)}
    found = [re.findall(r'\b(kind|reason)=~?"([^"]+)"', query) for query in QUERIES]
    pairs = [(label, value) for each in found for label, text in each for value in text.split("|")]
    assert len(pairs) >= 4
    for label, value in pairs:
        assert value in known[label]


def test_causes_are_those_that_there_are() -> None:
    """The manual's row of `aswr.cause` has each value that a load's span may have, and no other."""
    (row,) = [line for line in MANUAL.splitlines() if line.startswith("| `aswr.cause` |")]
    said = re.findall(r"`(\w+)`", row.split("|")[2])
    assert sorted(said) == sorted(get_args(Because))


class TestDashboard:
    def test_variables_are_defined(self) -> None:
        """A query uses no variable but the dashboard's own and Grafana's."""
        defined = {each["name"] for each in DASHBOARD["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
        assert used - defined == {"__rate_interval", "__all"}
        assert defined <= used

    def test_panels_lie_side_by_side(self) -> None:
        """Panels have ids of their own, a title, a source, and lie in the grid without overlap."""
        panels = DASHBOARD["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells: set[tuple[int, int]] = set()
        for panel in panels:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    assert (x, y) not in cells, f"{panel['title']} lies over another panel"
                    cells.add((x, y))
        for panel in PANELS:
            assert panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"


class TestAlerts:
    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
    def test_rules_are_whole(self, rule: dict[str, Any]) -> None:
        """A rule has what Prometheus knows, how bad it is, and what it means."""
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"Aswr[A-Z]\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
        by = set(re.findall(r"\w+", re.search(r"by \(([^)]*)\)", rule["expr"])[1]))  # type: ignore[index]
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert used <= by

    def test_the_configuration_loads_them(self) -> None:
        """The example's Prometheus loads these rules and scrapes the example's port."""
        config = yaml.safe_load((EXAMPLE / "prometheus.yml").read_text())
        assert config["rule_files"] == ["alerts.yml"]
        (job,) = config["scrape_configs"]
        assert (
            f'bind = "{job["static_configs"][0]["targets"][0]}"'
            in (EXAMPLE / "gunicorn.conf.py").read_text()
        )

    @needs_promtool
    def test_promtool_takes_them(self) -> None:
        """Prometheus' own tool finds no fault with the rules and the configuration."""
        promtool("check", "config", str(EXAMPLE / "prometheus.yml"))

    @needs_promtool
    @pytest.mark.parametrize("name", FIRES)
    def test_they_fire(self, name: str, tmp_path: Path) -> None:
        """An alert fires where things are as bad as it says, and not where they are well."""
        bad, well = FIRES[name]
        case = {
            "interval": "1m",
            "input_series": [
                {"series": f"{series[:-1]}, {labels}}}", "values": values}
                for labels, found in (('app="bad"', bad), ('app="well"', well))
                for series, values in found.items()
            ],
            "promql_expr_test": [
                {
                    "expr": f'count by (app) (ALERTS{{alertname="{name}", alertstate="firing"}})',
                    "eval_time": "4h",
                    "exp_samples": [{"labels": '{app="bad"}', "value": 1}],
                },
                {
                    "expr": f'count(ALERTS{{alertname!="{name}", alertstate="firing"}})',
                    "eval_time": "4h",
                    "exp_samples": [],
                },
            ],
        }
        rules = {"rule_files": [str(EXAMPLE / "alerts.yml")], "evaluation_interval": "1m"}
        file = tmp_path / "test.yml"
        file.write_text(yaml.safe_dump({**rules, "tests": [case]}))
        promtool("test", "rules", str(file))

    def test_each_has_a_case(self) -> None:
        """There is a case for every alert."""
        assert list(FIRES) == [rule["alert"] for rule in RULES]


class TestManual:
    def test_metrics(self) -> None:
        """The manual's table is that of the code: name, kind, labels, text."""
        lines = [
            f"| `{metric.series}` | {metric.kind} | "
            f"{', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
            for metric in METRICS
        ]
        assert (
            re.findall(r"^\| `aswr_[a-z_]+` \| (?:counter|gauge|histogram) .*", MANUAL, re.M)
            == lines
        )

    def test_reasons(self) -> None:
        """The manual explains every class of passes."""
        table = MANUAL.partition("| `reason` | |")[2].partition("\n\n")[0]
        assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == set(CLASSES)

    def test_alerts(self) -> None:
        """The manual explains every alert, in three lines, and no other."""
        explained = dict(re.findall(r"^### (Aswr\w+)\n\n((?:.+\n)+)", MANUAL, re.M))
        assert list(explained) == [rule["alert"] for rule in RULES]
        assert all(text.count("\n") == 3 for text in explained.values())

    def test_gunicorn_s_hooks(self) -> None:
        """What the manual says of gunicorn's hooks is what the example does."""
        config = (EXAMPLE / "gunicorn.conf.py").read_text()
        for line in (
            'for left in FOLDER.glob("*.db"):',
            "multiprocess.mark_process_dead(worker.pid)",
        ):
            assert line in MANUAL
            assert line in config
