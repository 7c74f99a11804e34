"""Does each alert fire when it should, and only then? The rules as the chart renders them, judged by promtool."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import chart
import yaml

TESTS = chart.HERE / "alerts"
# What metrics look like in expressions; the suffix of a histogram's series is not part of its name.
METRIC = re.compile(r"\bpgreeve_[a-z_]+")


def rule_groups(**settings):
    values = {"monitoring": {"prometheusRule": {"enabled": True, "renderMode": "alwaysRender", **settings}}}
    return chart.the(chart.render(values), "PrometheusRule")["spec"]["groups"]


def alerts(groups):
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def promtool(*args, cwd):
    done = subprocess.run(["promtool", *args], cwd=cwd, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def kebab(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def documented_metrics():
    """The metrics in the table of docs/monitoring.md."""
    text = (chart.ROOT / "docs" / "monitoring.md").read_text()
    return set(re.findall(r"^\| `(pgreeve_[a-z_]+)", text, re.MULTILINE))


def metrics_in(text):
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(text)}
    return names


class Rules(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        (self.directory / "rules.yaml").write_text(yaml.safe_dump({"groups": rule_groups()}))
        for path in TESTS.glob("*.yaml"):
            shutil.copy(path, self.directory)

    def test_promtool_accepts_the_rules(self):
        code, out = promtool("check", "rules", "rules.yaml", cwd=self.directory)
        self.assertEqual(code, 0, out)

    def test_every_alert_fires_and_stays_silent_as_its_tests_say(self):
        code, out = promtool("test", "rules", *sorted(p.name for p in TESTS.glob("*.yaml")), cwd=self.directory)
        self.assertEqual(code, 0, out)

    def test_every_alert_is_seen_both_firing_and_silent(self):
        seen = {}
        for path in TESTS.glob("*.yaml"):
            for test in yaml.safe_load(path.read_text())["tests"]:
                for case in test.get("alert_rule_test", []):
                    seen.setdefault(case["alertname"], set()).add(bool(case.get("exp_alerts")))
        self.assertEqual(seen, {name: {True, False} for name in alerts(rule_groups())})


class Shape(unittest.TestCase):
    def test_every_alert_has_a_page_in_the_runbook_and_links_to_it(self):
        for name, rule in alerts(rule_groups()).items():
            page = f"{kebab(name)}.md"
            self.assertTrue(rule["annotations"]["runbook_url"].endswith(f"/docs/runbook/{page}"), name)
            self.assertTrue((chart.ROOT / "docs" / "runbook" / page).exists(), page)

    def test_the_runbook_can_be_published_elsewhere(self):
        objects = chart.render(variant="monitoring", apis=chart.MONITORING_APIS)
        for name, rule in alerts(chart.the(objects, "PrometheusRule")["spec"]["groups"]).items():
            self.assertEqual(rule["annotations"]["runbook_url"], f"https://wiki.example.com/pgreeve/{kebab(name)}.md")

    def test_every_alert_says_how_grave_it_is_and_in_words_what_happens(self):
        for name, rule in alerts(rule_groups()).items():
            self.assertIn(rule["labels"]["severity"], ("info", "warning", "critical"), name)
            self.assertTrue(rule["annotations"]["summary"] and rule["annotations"]["description"], name)

    def test_no_placeholder_is_left(self):
        self.assertNotRegex(json.dumps(rule_groups()), r"%[a-zA-Z]+%")

    def test_thresholds_reach_the_rules(self):
        given = rule_groups(
            horizonShortSeconds=1234567, horizonCriticalSeconds=4321, approvalWait="5h", driftWait="7m", retentionWait="3d", holdWait="1w"
        )
        rules = alerts(given)
        self.assertIn("< 1234567", rules["PartitionHorizonShort"]["expr"])
        self.assertIn("< 4321", rules["PartitionHorizonCritical"]["expr"])
        self.assertEqual(rules["PlanAwaitingApproval"]["for"], "5h")
        self.assertEqual(rules["PolicyDriftNotApplied"]["for"], "7m")
        self.assertEqual((rules["RetentionBehind"]["for"], rules["RetentionHeld"]["for"]), ("3d", "1w"))

    def test_alerts_can_be_left_out_by_name(self):
        left = alerts(rule_groups(disabled=["NoLeader", "OperatorDown", "UnmanagedPartitions"]))
        self.assertEqual(set(alerts(rule_groups())) - set(left), {"NoLeader", "OperatorDown", "UnmanagedPartitions"})

    def test_given_labels_stand_on_every_alert_and_may_change_its_severity(self):
        for rule in alerts(rule_groups(alertLabels={"team": "data", "severity": "page"})).values():
            self.assertEqual(rule["labels"], {"team": "data", "severity": "page"})


class Metrics(unittest.TestCase):
    def test_alerts_ask_only_for_metrics_that_are_documented(self):
        for name, rule in alerts(rule_groups()).items():
            self.assertLessEqual(metrics_in(rule["expr"]), documented_metrics(), name)

    def test_the_dashboard_asks_only_for_metrics_that_are_documented(self):
        dashboard = json.loads((chart.CHART / "files" / "dashboards" / "pgreeve.json").read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                self.assertLessEqual(metrics_in(target["expr"]), documented_metrics(), panel["title"])

    def test_every_documented_metric_is_on_the_dashboard(self):
        text = (chart.CHART / "files" / "dashboards" / "pgreeve.json").read_text()
        self.assertEqual(documented_metrics() - metrics_in(text), set())

    def test_every_query_of_the_dashboard_is_promql(self):
        dashboard = json.loads((chart.CHART / "files" / "dashboards" / "pgreeve.json").read_text())
        queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
        rules = [{"record": f"pgreeve:query:{n}", "expr": q.replace("$namespace", ".*")} for n, q in enumerate(queries)]
        with tempfile.TemporaryDirectory() as directory:
            (pathlib.Path(directory) / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "d", "rules": rules}]}))
            code, out = promtool("check", "rules", "rules.yaml", cwd=directory)
        self.assertEqual(code, 0, out)

    def test_the_dashboard_has_no_two_panels_in_one_place(self):
        dashboard = json.loads((chart.CHART / "files" / "dashboards" / "pgreeve.json").read_text())
        cells = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & mine, panel["title"])
            self.assertTrue(panel["type"] == "row" or panel["description"], panel["title"])
            cells |= mine


if __name__ == "__main__":
    unittest.main()
