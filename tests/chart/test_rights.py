"""What may the operator do? Rights on the API, and what its Pods may do on a node and on the network."""

import unittest

import chart


def rules(objects):
    """Every rule of every role, with the object that it stands in."""
    for o in chart.of_kind(objects, "Role", "ClusterRole"):
        for rule in o["rules"]:
            yield f"{o['kind']} {o['metadata']['name']}", rule


def operator_rules(objects):
    """The rules that are bound to the operator, not those that are aggregated for people."""
    for where, rule in rules(objects):
        if where.endswith(("-operator", "-leader")):
            yield where, rule


class Rbac(unittest.TestCase):
    def variants(self):
        return {variant: chart.render(variant=variant, apis=chart.MONITORING_APIS) for variant in chart.VARIANTS}

    def test_no_rule_has_a_wildcard(self):
        for variant, objects in self.variants().items():
            for where, rule in rules(objects):
                for key in ("apiGroups", "resources", "verbs"):
                    for value in rule[key]:
                        self.assertNotIn("*", value, f"{variant}: {where}")

    def test_secrets_are_got_by_name_and_never_listed_or_watched(self):
        for variant, objects in self.variants().items():
            found = [rule for _, rule in rules(objects) if "secrets" in rule["resources"]]
            self.assertTrue(found, variant)
            for rule in found:
                self.assertEqual((rule["verbs"], rule["resources"]), (["get"], ["secrets"]), variant)

    def test_jobs_are_made_and_removed_but_never_changed_and_pods_only_looked_at(self):
        for variant, objects in self.variants().items():
            found = {r: set(rule["verbs"]) for _, rule in operator_rules(objects) for r in rule["resources"] if r in ("jobs", "pods")}
            self.assertEqual(found, {"jobs": {"create", "delete", "get", "list", "watch"}, "pods": {"list"}}, variant)

    def test_the_operator_writes_only_status_backups_finalizers_events_jobs_and_its_lease(self):
        known = {
            "backups": {"create", "delete", "patch"},
            "backupschedules": {"patch"},
            "restores": {"patch"},
            "events": {"create", "patch"},
            "jobs": {"create", "delete"},
            "leases": {"create", "patch", "update"},
        }
        for variant in chart.VARIANTS:
            objects = chart.render({"restores": {"workloads": {"enabled": False}}}, variant, apis=chart.MONITORING_APIS)
            for where, rule in operator_rules(objects):
                writes = set(rule["verbs"]) - {"get", "list", "watch"}
                for resource in rule["resources"] if writes else []:
                    allowed = {"patch", "update"} if resource.endswith("/status") else known.get(resource, set())
                    self.assertLessEqual(writes, allowed, f"{variant}: {where}: {resource}")

    def test_what_a_person_declares_is_never_made_or_removed(self):
        for variant, objects in self.variants().items():
            made = {r for _, rule in operator_rules(objects) if {"create", "delete"} & set(rule["verbs"]) for r in rule["resources"]}
            self.assertFalse(made & {"backupschedules", "restores", "postgresdatabases", "partitionpolicies", "retentionpolicies"}, variant)

    def workload_rights(self, **workloads):
        """What the operator may do only because restores may scale workloads: verbs by group and resource."""
        with_them = chart.render({"restores": {"workloads": {"enabled": True, **workloads}}})
        without = [rule for _, rule in operator_rules(chart.render())]
        added = [rule for _, rule in operator_rules(with_them) if rule not in without]
        return {(group, resource): rule["verbs"] for rule in added for group in rule["apiGroups"] for resource in rule["resources"]}

    def test_workloads_are_read_and_patched_only_where_somebody_wants_it(self):
        change = ["get", "list", "patch"]
        own = {("apps", "deployments"): change, ("apps", "statefulsets"): change, ("batch", "cronjobs"): change}
        autoscalers = {("autoscaling", "horizontalpodautoscalers"): ["list"]}
        self.assertEqual(self.workload_rights(hold=[]), own | autoscalers)
        held = {
            "keda": {("keda.sh", "scaledobjects"): change},
            "argocd": {("argoproj.io", "applications"): change},
            "flux": {("helm.toolkit.fluxcd.io", "helmreleases"): change},
        }
        for tool, rights in held.items():
            self.assertEqual(self.workload_rights(hold=[tool]), own | autoscalers | rights)
        self.assertEqual(self.workload_rights(), own | autoscalers | held["keda"] | held["argocd"] | held["flux"])
        kinds = [{"group": "argoproj.io", "resource": "rollouts"}, {"group": "", "resource": "replicationcontrollers"}]
        further = {
            ("argoproj.io", "rollouts"): change,
            ("argoproj.io", "rollouts/scale"): ["get", "patch"],
            ("", "replicationcontrollers"): change,
            ("", "replicationcontrollers/scale"): ["get", "patch"],
        }
        self.assertEqual(self.workload_rights(hold=[], kinds=kinds), own | autoscalers | further)

    def test_only_the_one_lease_may_be_read_or_changed(self):
        for where, rule in operator_rules(chart.render()):
            if "leases" in rule["resources"] and rule["verbs"] != ["create"]:
                self.assertEqual(rule["resourceNames"], ["pgreeve"], where)

    def test_every_kind_is_covered(self):
        plurals = {crd["spec"]["names"]["plural"] for crd in chart.crd_files().values()}
        resources = {r for _, rule in operator_rules(chart.render()) for r in rule["resources"]}
        self.assertLessEqual(plurals | {f"{p}/status" for p in plurals}, resources)

    def test_chosen_namespaces_leave_nothing_cluster_wide(self):
        objects = chart.render(variant="namespaces")
        self.assertFalse(chart.of_kind(objects, "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"))
        bound = {o["metadata"]["namespace"] for o in chart.of_kind(objects, "RoleBinding") if o["metadata"]["name"].endswith("-operator")}
        self.assertEqual(bound, {"shop", "billing"})

    def test_a_release_in_a_namespace_that_it_watches_makes_no_object_twice(self):
        objects = chart.render({"watchNamespaces": ["pgreeve-system", "shop"]})
        seen = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
        self.assertEqual(len(seen), len(set(seen)))

    def test_people_with_view_read_and_people_with_edit_write(self):
        roles = {o["metadata"]["name"].rsplit("-", 1)[1]: o for o in chart.of_kind(chart.render(), "ClusterRole")}
        aggregated = {
            name: {label.rsplit("-", 1)[1] for label in role["metadata"]["labels"] if "aggregate-to" in label}
            for name, role in roles.items()
        }
        self.assertEqual(aggregated["view"], {"view", "edit", "admin"})
        self.assertEqual(aggregated["edit"], {"edit", "admin"})
        self.assertEqual(aggregated["operator"], set())
        self.assertEqual(roles["view"]["rules"][0]["verbs"], ["get", "list", "watch"])
        self.assertNotIn("get", roles["edit"]["rules"][0]["verbs"])
        self.assertFalse([r for r in roles["edit"]["rules"][0]["resources"] if "/" in r], "people do not write status")

    def test_without_rbac_there_is_no_role_at_all(self):
        kinds = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
        self.assertFalse([o for o in chart.render({"rbac": {"create": False}}) if o["kind"] in kinds])


class Pods(unittest.TestCase):
    def test_every_pod_meets_the_restricted_standard(self):
        for variant in chart.VARIANTS:
            for name, pod in chart.pod_specs(chart.render(variant=variant)):
                with self.subTest(variant=variant, pod=name):
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertGreater(pod["securityContext"]["runAsUser"], 0)
                    self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & pod.keys())
                    self.assertFalse([v for v in pod.get("volumes", []) if "hostPath" in v])
                    for container in pod["containers"]:
                        context = container["securityContext"]
                        self.assertFalse(context["allowPrivilegeEscalation"])
                        self.assertTrue(context["readOnlyRootFilesystem"])
                        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})

    def test_only_the_operator_gets_a_token(self):
        objects = chart.render()
        self.assertFalse(chart.the(objects, "ServiceAccount")["automountServiceAccountToken"])
        tokens = {name: pod["automountServiceAccountToken"] for name, pod in chart.pod_specs(objects)}
        self.assertEqual(tokens, {"pgreeve": True, "pgreeve-test": False})

    def test_jobs_run_what_the_operator_runs(self):
        for variant in chart.VARIANTS:
            pod = chart.the(chart.render(variant=variant), "Deployment")["spec"]["template"]["spec"]
            (operator,) = pod["containers"]
            env = {variable["name"]: variable["value"] for variable in operator["env"] if "value" in variable}
            self.assertEqual(env["PGREEVE_IMAGE"], operator["image"], variant)
            self.assertEqual(env["PGREEVE_IMAGE_PULL_POLICY"], operator["imagePullPolicy"], variant)
            self.assertIn("/postgres:{major}", env["PGREEVE_POSTGRES_IMAGE"], variant)
            secrets = [secret["name"] for secret in pod.get("imagePullSecrets", [])]
            self.assertEqual(env.get("PGREEVE_IMAGE_PULL_SECRETS", ""), ",".join(secrets), variant)

    def test_no_service_address_is_put_into_the_environment(self):
        for name, pod in chart.pod_specs(chart.render()):
            self.assertFalse(pod["enableServiceLinks"], name)


class Network(unittest.TestCase):
    def ports(self, values):
        values = {"networkPolicy": {"enabled": True, **values}}
        policy = chart.the(chart.render(values), "NetworkPolicy")
        return {(p["port"], p["protocol"]) for rule in policy["spec"]["egress"] for p in rule["ports"]}, policy

    def test_only_postgresql_the_api_server_and_dns_are_reached(self):
        ports, policy = self.ports({})
        self.assertEqual(ports, {(5432, "TCP"), (6432, "TCP"), (443, "TCP"), (6443, "TCP"), (53, "UDP"), (53, "TCP")})
        self.assertEqual(policy["spec"]["policyTypes"], ["Ingress", "Egress"])

    def test_an_empty_list_of_everything_denies_all_egress(self):
        _, policy = self.ports({"egress": {"postgresPorts": [], "apiServerPorts": [], "dns": False}})
        self.assertEqual(policy["spec"]["egress"], [], "a rule without ports would allow every port")

    def test_the_policy_selects_the_operator_alone(self):
        objects = chart.render({"networkPolicy": {"enabled": True}})
        wanted = chart.the(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
        self.assertLessEqual(wanted.items(), chart.the(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items())
        self.assertFalse(wanted.items() <= chart.the(objects, "Pod")["metadata"]["labels"].items())


if __name__ == "__main__":
    unittest.main()
