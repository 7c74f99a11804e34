"""What does the chart install? Snapshots of whole variants, and the values that a snapshot alone would not explain."""

import os
import unittest

import chart
import yaml

SNAPSHOTS = chart.HERE / "snapshots"


def snapshot(objects):
    """The objects without what other tests hold: bodies of definitions, of the dashboard and of the alerts, and the version."""
    for o in objects:
        if o["kind"] == "CustomResourceDefinition":
            o["spec"] = "as in files/crds"
        if "pgreeve.json" in o.get("data", {}):
            o["data"]["pgreeve.json"] = "as in files/dashboards"
        if o["kind"] == "GrafanaDashboard":
            o["spec"]["json"] = "as in files/dashboards"
        if o["kind"] == "PrometheusRule":
            for group in o["spec"]["groups"]:
                group["rules"] = [rule["alert"] for rule in group["rules"]]
    text = "---\n".join(yaml.safe_dump(o, sort_keys=False, width=140) for o in objects)
    return text.replace(str(chart.chart_yaml()["version"]), "VERSION")


class Snapshots(unittest.TestCase):
    maxDiff = None

    def test_each_variant_renders_as_its_snapshot_says(self):
        for variant in chart.VARIANTS:
            with self.subTest(variant=variant):
                path = SNAPSHOTS / f"{variant}.yaml"
                got = snapshot(chart.render(variant=variant, apis=chart.MONITORING_APIS))
                if os.environ.get("PGREEVE_UPDATE_SNAPSHOTS"):
                    path.write_text(got)
                self.assertEqual(path.read_text(), got, "tests/chart/run.sh --update rewrites it")

    def test_every_snapshot_belongs_to_a_variant(self):
        self.assertEqual(chart.VARIANTS, sorted(path.stem for path in SNAPSHOTS.glob("*.yaml")))

    def test_helm_lint_has_nothing_to_say_about_any_variant(self):
        for variant in chart.VARIANTS:
            with self.subTest(variant=variant):
                values = str(chart.HERE / "values" / f"{variant}.yaml")
                out = chart.helm("lint", "--strict", "--kube-version", "1.34.0", str(chart.CHART), "--values", values)
                self.assertNotIn("[WARNING]", out)

    def test_every_namespaced_object_says_its_namespace(self):
        cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
        for variant in chart.VARIANTS:
            for o in chart.render(variant=variant, apis=chart.MONITORING_APIS):
                is_extra = o["metadata"]["name"] in ("pgreeve-extra", "pgreeve-text")
                if o["kind"] not in cluster_wide and not is_extra:
                    self.assertIn("namespace", o["metadata"], f"{variant}: {o['kind']}")


class Values(unittest.TestCase):
    def test_the_image_is_the_charts_version_unless_told_otherwise(self):
        image = chart.the(chart.render(), "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
        self.assertEqual(image, f"pgreeve:{chart.chart_yaml()['appVersion']}")

    def test_a_digest_pins_the_image_beside_its_tag(self):
        digest = "sha256:" + "a" * 64
        objects = chart.render({"image": {"registry": "r.example.com", "tag": "v1", "digest": digest}})
        for _, pod in chart.pod_specs(objects):
            self.assertEqual(pod["containers"][0]["image"], f"r.example.com/pgreeve:v1@{digest}")

    def test_the_repository_may_say_its_registry_and_port_too(self):
        objects = chart.render({"image": {"repository": "localhost:5000/team/pgreeve", "tag": "v1"}})
        self.assertEqual(next(chart.pod_specs(objects))[1]["containers"][0]["image"], "localhost:5000/team/pgreeve:v1")

    def test_chosen_namespaces_reach_the_operator_once_each(self):
        self.assertIn("--namespaces=billing,shop", chart.operator_args(chart.render(variant="namespaces")))
        self.assertFalse([a for a in chart.operator_args(chart.render()) if a.startswith("--namespaces")])

    def test_extra_arguments_come_last(self):
        self.assertEqual(chart.operator_args(chart.render({"extraArgs": ["--a=1", "--b"]}))[-2:], ["--a=1", "--b"])

    def test_releases_of_two_names_share_no_lease_and_no_cluster_role(self):
        one, two = chart.render(release="one"), chart.render(release="two")
        for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "ServiceAccount", "Deployment"):
            names = [{o["metadata"]["name"] for o in chart.of_kind(objects, kind)} for objects in (one, two)]
            self.assertFalse(names[0] & names[1], kind)
        leases = [{a for a in chart.operator_args(objects) if "lease-name=" in a} for objects in (one, two)]
        self.assertFalse(leases[0] & leases[1])

    def test_releases_of_one_name_in_two_namespaces_share_no_cluster_role(self):
        names = [
            {o["metadata"]["name"] for o in chart.of_kind(chart.render(namespace=ns), "ClusterRole", "ClusterRoleBinding")}
            for ns in ("east", "west")
        ]
        self.assertFalse(names[0] & names[1])

    def test_the_longest_release_name_makes_names_that_labels_can_carry(self):
        for o in chart.render(release="r" * 53, variant="monitoring", apis=chart.MONITORING_APIS):
            if o["kind"] != "CustomResourceDefinition":
                self.assertLessEqual(len(o["metadata"]["name"].removeprefix("pgreeve-system-")), 63, o["kind"])

    def test_the_pod_labels_cannot_break_the_selector(self):
        deployment = chart.the(chart.render(variant="everything"), "Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        for key, value in deployment["spec"]["selector"]["matchLabels"].items():
            self.assertEqual(labels[key], value)

    def test_the_selector_does_not_change_with_the_version(self):
        keys = chart.the(chart.render(), "Deployment")["spec"]["selector"]["matchLabels"].keys()
        self.assertEqual(set(keys), {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"})

    def test_a_disruption_budget_exists_only_where_another_replica_can_take_over(self):
        self.assertFalse(chart.of_kind(chart.render({"replicas": 1}), "PodDisruptionBudget"))
        self.assertTrue(chart.of_kind(chart.render({"replicas": 2}), "PodDisruptionBudget"))


class RenderMode(unittest.TestCase):
    """An object of another project's kind, in a cluster that may not know it."""

    SETTINGS = {
        "podMonitor": "PodMonitor",
        "serviceMonitor": "ServiceMonitor",
        "prometheusRule": "PrometheusRule",
        "grafanaDashboard": "GrafanaDashboard",
    }

    def objects(self, setting, mode, apis=()):
        return chart.render({"monitoring": {setting: {"enabled": True, "renderMode": mode}}}, apis=apis)

    def test_skip_if_missing_leaves_it_out_of_a_cluster_that_does_not_know_it(self):
        for setting, kind in self.SETTINGS.items():
            self.assertFalse(chart.of_kind(self.objects(setting, "skipIfMissing"), kind), kind)
            self.assertTrue(chart.of_kind(self.objects(setting, "skipIfMissing", chart.MONITORING_APIS), kind), kind)

    def test_always_render_does_not_ask(self):
        for setting, kind in self.SETTINGS.items():
            self.assertTrue(chart.of_kind(self.objects(setting, "alwaysRender"), kind), kind)

    def test_fail_if_missing_names_the_kind_and_the_way_out(self):
        for setting, kind in self.SETTINGS.items():
            with self.assertRaisesRegex(chart.HelmError, f"{kind}.*monitoring.{setting}.renderMode"):
                self.objects(setting, "failIfMissing")
            self.assertTrue(chart.of_kind(self.objects(setting, "failIfMissing", chart.MONITORING_APIS), kind), kind)

    def test_nothing_of_it_is_installed_unasked(self):
        kinds = set(self.SETTINGS.values())
        self.assertFalse([o for o in chart.render(apis=chart.MONITORING_APIS) if o["kind"] in kinds])

    def test_scrapes_keep_the_namespace_of_the_policy(self):
        objects = chart.render(variant="monitoring", apis=chart.MONITORING_APIS)
        self.assertTrue(chart.the(objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["honorLabels"])
        self.assertTrue(chart.the(objects, "ServiceMonitor")["spec"]["endpoints"][0]["honorLabels"])

    def test_the_service_monitor_selects_the_service_and_nothing_else(self):
        objects = chart.render(variant="monitoring", apis=chart.MONITORING_APIS)
        wanted = chart.the(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
        labels = chart.the(objects, "Service")["metadata"]["labels"]
        self.assertLessEqual(wanted.items(), labels.items())


class Definitions(unittest.TestCase):
    def definitions(self, values=None):
        objects = chart.of_kind(chart.render(values), "CustomResourceDefinition")
        return {o["metadata"]["name"]: o for o in objects}

    def test_the_definitions_come_through_the_templates_unchanged(self):
        rendered = self.definitions()
        self.assertEqual(set(rendered), {crd["metadata"]["name"] for crd in chart.crd_files().values()})
        for crd in chart.crd_files().values():
            self.assertEqual(rendered[crd["metadata"]["name"]]["spec"], crd["spec"])

    def test_the_definitions_survive_an_uninstall_unless_told_otherwise(self):
        for keep in (True, False):
            for crd in self.definitions({"crds": {"keep": keep}}).values():
                policy = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
                self.assertEqual(policy, "keep" if keep else None)

    def test_annotations_given_to_the_definitions_stand_beside_keep(self):
        for crd in self.definitions({"crds": {"annotations": {"a.example.com/b": "c"}}}).values():
            self.assertEqual(crd["metadata"]["annotations"], {"a.example.com/b": "c", "helm.sh/resource-policy": "keep"})

    def test_they_can_be_left_to_somebody_else(self):
        self.assertFalse(self.definitions({"crds": {"enabled": False}}))


class ArtifactHub(unittest.TestCase):
    def setUp(self):
        self.annotations = chart.chart_yaml()["annotations"]

    def test_the_listed_kinds_are_the_definitions(self):
        listed = {(c["kind"], c["version"], c["name"]) for c in yaml.safe_load(self.annotations["artifacthub.io/crds"])}
        real = {
            (crd["spec"]["names"]["kind"], crd["spec"]["versions"][0]["name"], crd["metadata"]["name"])
            for crd in chart.crd_files().values()
        }
        self.assertEqual(listed, real)

    def test_every_kind_has_an_example(self):
        examples = {e["kind"] for e in yaml.safe_load(self.annotations["artifacthub.io/crdsExamples"])}
        self.assertEqual(examples, {crd["spec"]["names"]["kind"] for crd in chart.crd_files().values()})

    def test_the_listed_image_is_the_default_one(self):
        (image,) = yaml.safe_load(self.annotations["artifacthub.io/images"])
        self.assertEqual(image["image"], f"pgreeve:{chart.chart_yaml()['appVersion']}")

    def test_the_chart_has_the_version_of_the_program(self):
        cargo = (chart.ROOT / "Cargo.toml").read_text()
        self.assertIn(f'\nversion = "{chart.chart_yaml()["version"]}"\n', cargo)
        self.assertEqual(chart.chart_yaml()["version"], chart.chart_yaml()["appVersion"])


if __name__ == "__main__":
    unittest.main()
