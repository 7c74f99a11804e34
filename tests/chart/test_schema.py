"""Is a wrong value refused, by name? values.schema.json against what people mistype."""

import json
import unittest

import chart
import yaml

REFUSED = {
    "an unknown key": ({"replica": 2}, "replica"),
    "an unknown key inside": ({"operator": {"resyncInterval": "10m"}}, "resyncInterval"),
    "an unknown key far inside": ({"monitoring": {"prometheusRule": {"rules": []}}}, "rules"),
    "text for a list": ({"watchNamespaces": "shop"}, "watchNamespaces"),
    "a namespace that cannot exist": ({"watchNamespaces": ["Shop"]}, "watchNamespaces"),
    "a wildcard for namespaces": ({"watchNamespaces": ["*"]}, "watchNamespaces"),
    "no replica count": ({"replicas": "two"}, "replicas"),
    "a duration without a unit": ({"operator": {"resync": "10"}}, "resync"),
    "a concurrency of nothing": ({"operator": {"concurrency": 0}}, "concurrency"),
    "a log format that is not": ({"operator": {"logFormat": "logfmt"}}, "logFormat"),
    "a short digest": ({"image": {"digest": "sha256:abc"}}, "digest"),
    "a tag in the repository": ({"image": {"repository": "pgreeve:v1"}}, "repository"),
    "a pull policy that is not": ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    "a render mode that is not": ({"monitoring": {"podMonitor": {"renderMode": "maybe"}}}, "renderMode"),
    "an alert that is not": ({"monitoring": {"prometheusRule": {"disabled": ["HorizonShort"]}}}, "disabled"),
    "a runbook that is no address": ({"monitoring": {"runbookUrlBase": "docs/runbook"}}, "runbookUrlBase"),
    "a port beyond 65535": ({"networkPolicy": {"egress": {"postgresPorts": [70000]}}}, "postgresPorts"),
    "a variable without a name": ({"extraEnv": [{"value": "x"}]}, "extraEnv"),
    "a label that is no text": ({"podLabels": {"a": 1}}, "podLabels"),
    "two replicas that would both lead": ({"replicas": 2, "leaderElection": {"enabled": False}}, "replicas"),
    "a foreign ServiceAccount without its name": ({"serviceAccount": {"create": False}}, "name"),
    "a budget that lets nobody go": ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
}


def closed_objects(schema, path="values"):
    """Every object of the schema whose keys are listed."""
    if "properties" in schema:
        yield path, schema
        for key, child in schema["properties"].items():
            yield from closed_objects(child, f"{path}.{key}")


class Schema(unittest.TestCase):
    def test_a_wrong_value_is_refused_by_name(self):
        for what, (values, name) in REFUSED.items():
            with self.subTest(what), self.assertRaises(chart.HelmError) as refused:
                chart.template(values)
            self.assertIn(name, str(refused.exception))
            self.assertIn("schema", str(refused.exception))

    def test_no_object_of_known_keys_takes_unknown_ones(self):
        schema = json.loads((chart.CHART / "values.schema.json").read_text())
        items_of_lists = ("name", "mountPath")
        for path, node in closed_objects(schema):
            if set(node["properties"]) - set(items_of_lists):
                self.assertIs(node.get("additionalProperties"), False, path)

    def test_the_schema_knows_exactly_the_values_that_exist(self):
        schema = json.loads((chart.CHART / "values.schema.json").read_text())
        values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
        # Helm itself adds `global`; `claims` is a part of resources that has no default.
        allowed_without_default = {"values.global", "values.resources.claims"}
        for path, node in closed_objects(schema):
            value = values
            for key in path.split(".")[1:]:
                value = value[key]
            for key in node["properties"]:
                if f"{path}.{key}" not in allowed_without_default and path != "values.affinity":
                    self.assertIn(key, value, path)

    def test_the_alerts_that_can_be_disabled_are_the_alerts(self):
        schema = json.loads((chart.CHART / "values.schema.json").read_text())
        rule = schema["properties"]["monitoring"]["properties"]["prometheusRule"]
        alerts = yaml.safe_load((chart.CHART / "files" / "alerts.yaml").read_text())
        names = [r["alert"] for group in alerts["groups"] for r in group["rules"]]
        self.assertEqual(rule["properties"]["disabled"]["items"]["enum"], names)


if __name__ == "__main__":
    unittest.main()
