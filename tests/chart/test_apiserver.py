"""Does a real API server agree? The chart installed into one: accepted objects, rights as they are judged, upgrade and uninstall."""

import json
import unittest

import chart
import yaml
from apiserver import ApiServer

FOREIGN = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "GrafanaDashboard"}
NAMESPACES = ["pgreeve-system", "shop", "billing", "other"]

server = None


def setUpModule():
    global server
    server = ApiServer()
    for namespace in NAMESPACES:
        server.ok("kubectl", "create", "namespace", namespace)
        # The strictest admission: what is not "restricted" is refused.
        server.ok("kubectl", "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    server.ok("kubectl", "-n", "pgreeve-system", "create", "serviceaccount", "default")


def tearDownModule():
    server.stop()


def helm(verb, *args, release="pgreeve"):
    return server.ok("helm", verb, release, *([] if verb == "uninstall" else [str(chart.CHART)]), "-n", "pgreeve-system", *args)


def can(verb, resource, namespace=None, account="pgreeve"):
    return server.allows(f"system:serviceaccount:pgreeve-system:{account}", verb, resource, namespace)


def uninstall(*releases):
    """Uninstalls, and removes the definitions that are kept, so that the next class begins with nothing."""
    for release in releases:
        helm("uninstall", release=release)
    server.ok("kubectl", "delete", "crd", "--all", "--wait=true")


def examples():
    return list(yaml.safe_load_all(chart.chart_yaml()["annotations"]["artifacthub.io/crdsExamples"]))[0]


def apply(objects, *args, namespace="pgreeve-system"):
    for o in objects:
        o["metadata"].setdefault("namespace", namespace)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return server.ok("kubectl", "apply", "-f", "-", *args, stdin=text)


class Installed(unittest.TestCase):
    """A release with the default values."""

    @classmethod
    def setUpClass(cls):
        cls.notes = helm("install")
        server.ok("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")

    @classmethod
    def tearDownClass(cls):
        uninstall("pgreeve")

    def test_every_object_of_every_variant_is_accepted_strictly(self):
        for variant in chart.VARIANTS:
            with self.subTest(variant=variant):
                objects = chart.render(variant=variant, release="another", apis=chart.MONITORING_APIS)
                known = [o for o in objects if o["kind"] not in FOREIGN]
                apply(known, "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts")

    def test_the_pods_are_admitted_where_only_restricted_ones_are(self):
        for name, spec in chart.pod_specs(chart.render()):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
            apply([pod], "--dry-run=server", "--validate=strict")

    def test_the_admission_would_refuse_a_pod_that_is_not_restricted(self):
        _, spec = next(iter(chart.pod_specs(chart.render({"podSecurityContext": {"runAsNonRoot": False}}))))
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": spec}
        with self.assertRaisesRegex(AssertionError, "violates PodSecurity"):
            apply([pod], "--dry-run=server")

    def test_the_examples_on_artifact_hub_and_of_helm_test_are_accepted(self):
        config = chart.of_kind(chart.render(), "ConfigMap")[0]
        for objects in (examples(), list(yaml.safe_load_all(config["data"]["policy.yaml"]))):
            apply(objects, "--dry-run=server", "--validate=strict", namespace="shop")

    def test_the_notes_are_three_steps(self):
        notes = self.notes.split("NOTES:")[1]
        self.assertEqual([n for n in range(1, 9) if f"\n  {n}. " in notes], [1, 2, 3])

    def test_every_command_of_the_notes_that_needs_no_pod_works(self):
        for kind in ("postgresdatabase", "partitionpolicy"):
            self.assertIn(f"kubectl explain {kind}.spec", self.notes)
            server.ok("kubectl", "explain", f"{kind}.spec")
        server.ok("kubectl", "get", "pgreeve", "-A")

    def test_the_operator_may_do_what_it_does(self):
        for kind in ("postgresdatabases", "partitionpolicies"):
            for verb in ("get", "list", "watch"):
                self.assertTrue(can(verb, f"{kind}.pgreeve.dev"), f"{verb} {kind}")
            self.assertTrue(can("patch", f"{kind}/status.pgreeve.dev", "shop"), kind)
        self.assertTrue(can("get", "secrets:chat-app", "shop"))
        self.assertTrue(can("create", "events.events.k8s.io", "shop"))
        self.assertTrue(can("patch", "events.events.k8s.io", "shop"))
        self.assertTrue(can("create", "leases.coordination.k8s.io", "pgreeve-system"))
        self.assertTrue(can("patch", "leases.coordination.k8s.io:pgreeve", "pgreeve-system"))

    def test_the_operator_may_do_nothing_else_that_matters(self):
        forbidden = """
            list secrets|watch secrets|create secrets|patch secrets:chat-app|delete secrets:chat-app|patch partitionpolicies.pgreeve.dev
            delete partitionpolicies.pgreeve.dev|update postgresdatabases.pgreeve.dev|create pods|create pods/exec|get pods|list configmaps
            list namespaces|create leases.coordination.k8s.io|patch leases.coordination.k8s.io:pgreeve|create events|patch deployments.apps
            create clusterroles.rbac.authorization.k8s.io|escalate clusterroles.rbac.authorization.k8s.io|impersonate users|create serviceaccounts/token
        """
        for what in forbidden.replace("\n", "|").split("|"):
            if what.strip():
                self.assertFalse(can(*what.split(), "shop"), what)
        self.assertFalse(can("patch", "leases.coordination.k8s.io:somebody-elses", "pgreeve-system"))

    def test_people_get_rights_from_the_roles_that_they_have_already(self):
        # The API server's controller manager would aggregate; what it would gather is asked for by label here.
        for role, verb in (("view", "list"), ("edit", "create")):
            label = f"rbac.authorization.k8s.io/aggregate-to-{role}=true,app.kubernetes.io/part-of=pgreeve"
            found = json.loads(server.ok("kubectl", "get", "clusterroles", "-l", label, "-o", "json"))["items"]
            self.assertTrue(any(verb in rule["verbs"] for item in found for rule in item["rules"]), role)

    def test_an_upgrade_that_changes_nothing_leaves_every_object_as_it_was(self):
        def versions():
            kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,serviceaccount,deployment"
            items = json.loads(server.ok("kubectl", "get", kinds, "-A", "-l", "app.kubernetes.io/part-of=pgreeve", "-o", "json"))["items"]
            return {(o["kind"], o["metadata"]["name"]): o["metadata"]["resourceVersion"] for o in items}

        before = versions()
        self.assertGreater(len(before), 8)
        helm("upgrade")
        self.assertEqual(versions(), before)

    def test_a_second_release_stands_beside_the_first(self):
        helm("install", "--set", "crds.enabled=false", release="second")
        self.addCleanup(helm, "uninstall", release="second")
        self.assertFalse(can("patch", "leases.coordination.k8s.io:pgreeve", "pgreeve-system", account="second-pgreeve"))


class ChosenNamespaces(unittest.TestCase):
    """A release for two namespaces, by somebody who may install into namespaces only."""

    @classmethod
    def setUpClass(cls):
        helm("install", "--set", "watchNamespaces={shop,billing}", release="teams")

    @classmethod
    def tearDownClass(cls):
        uninstall("teams")

    def test_its_rights_end_at_those_namespaces(self):
        for namespace, wanted in (("shop", True), ("billing", True), ("other", False), ("pgreeve-system", False)):
            for verb, what in (("list", "partitionpolicies.pgreeve.dev"), ("get", "secrets:chat-app")):
                self.assertEqual(can(verb, what, namespace, account="teams-pgreeve"), wanted, f"{verb} {what} in {namespace}")

    def test_it_cannot_list_across_namespaces(self):
        self.assertFalse(can("list", "partitionpolicies.pgreeve.dev", account="teams-pgreeve"))


class Uninstalled(unittest.TestCase):
    def setUp(self):
        helm("install")

    def test_databases_and_policies_survive_and_the_next_install_takes_them_over(self):
        self.addCleanup(uninstall, "pgreeve")
        server.ok("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        apply(examples(), namespace="billing")
        helm("uninstall")
        found = server.ok("kubectl", "-n", "billing", "get", "pgreeve", "-o", "name").split()
        self.assertEqual(len(found), len(chart.crd_files()), found)
        self.assertEqual(server.ok("kubectl", "get", "clusterroles", "-o", "name", "-l", "app.kubernetes.io/part-of=pgreeve"), "")
        helm("install")
        self.assertEqual(server.ok("kubectl", "-n", "billing", "get", "pgreeve", "-o", "name").split(), found)

    def test_another_release_takes_them_over_as_the_readme_says(self):
        helm("uninstall")
        code, _, error = server.run("helm", "install", "reborn", str(chart.CHART), "-n", "pgreeve-system")
        self.assertNotEqual(code, 0)
        self.assertIn("invalid ownership metadata", error)
        names = [crd["metadata"]["name"] for crd in chart.crd_files().values()]
        owner = ["meta.helm.sh/release-name=reborn", "meta.helm.sh/release-namespace=pgreeve-system"]
        server.ok("kubectl", "annotate", "crd", *names, "--overwrite", *owner)
        self.addCleanup(uninstall, "reborn")
        helm("install", release="reborn")


if __name__ == "__main__":
    unittest.main()
