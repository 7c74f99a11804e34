"""What would Argo CD show, and what would its actions do? The scripts of docs/gitops, run by a Lua interpreter."""

import json
import subprocess
import unittest

import chart
import yaml

GITOPS = chart.ROOT / "docs" / "gitops"
KINDS = [crd["spec"]["names"]["kind"] for crd in chart.crd_files().values()]
# Nothing to suspend: a hold is deleted, and what runs once ends.
UNSTOPPED = ("RetentionHold", "Backup", "Restore")
SUSPENDABLE = [kind for kind in KINDS if kind not in UNSTOPPED]

# Prints a table as JSON: enough for what the scripts return.
PRINTER = """
local function json(value)
  if type(value) ~= "table" then
    if type(value) == "string" then return string.format("%q", value) end
    return tostring(value)
  end
  local parts = {}
  if #value > 0 then
    for _, item in ipairs(value) do parts[#parts + 1] = json(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for key, item in pairs(value) do parts[#parts + 1] = string.format("%q", key) .. ":" .. json(item) end
  return "{" .. table.concat(parts, ",") .. "}"
end
"""


def lua(value):
    """A Python value as a Lua one."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, str)):
        return json.dumps(value)
    if isinstance(value, list):
        return "{" + ",".join(lua(item) for item in value) + "}"
    return "{" + ",".join(f"[{json.dumps(key)}]={lua(item)}" for key, item in value.items()) + "}"


def run(script, obj):
    program = f"{PRINTER}\nobj = {lua(obj)}\nprint(json((function()\n{script}\nend)()))"
    done = subprocess.run(["lua5.1", "-"], input=program, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def settings():
    return yaml.safe_load((GITOPS / "argocd-cm.yaml").read_text())["data"]


def policy(ready=None, reason="UpToDate", true=(), generation=3, observed=3, **spec):
    conditions = [{"type": "Ready", "status": ready, "reason": reason, "message": "a sentence"}]
    conditions += [
        {"type": kind, "status": "True" if kind in true else "False", "reason": reason, "message": ""}
        for kind in ("Reconciling", "Stalled", "Drifted")
    ]
    status = {} if ready is None else {"observedGeneration": observed, "conditions": conditions}
    return {"metadata": {"name": "history", "generation": generation}, "spec": spec, "status": status}


class Health(unittest.TestCase):
    CASES = {
        "not seen yet": (policy(), "Progressing"),
        "seen in an older generation": (policy("True", observed=2), "Progressing"),
        "as declared": (policy("True"), "Healthy"),
        "waiting for approval": (policy("True", "ApprovalPending", ["Drifted"]), "Healthy"),
        "suspended": (policy("True", "Suspended", suspend=True), "Suspended"),
        "put off because of a lock": (policy("False", "Deferred", ["Reconciling", "Drifted"]), "Progressing"),
        "in need of a person": (policy("False", "MissingPrivilege", ["Stalled"]), "Degraded"),
    }

    def test_each_state_looks_as_the_table_says(self):
        for kind in KINDS:
            script = settings()[f"resource.customizations.health.pgreeve.dev_{kind}"]
            for what, (obj, wanted) in self.CASES.items():
                with self.subTest(kind=kind, state=what):
                    self.assertEqual(run(script, obj)["status"], wanted)

    def test_the_message_begins_with_the_reason(self):
        script = settings()["resource.customizations.health.pgreeve.dev_PartitionPolicy"]
        self.assertEqual(run(script, policy("False", "Deferred", ["Reconciling"]))["message"], "Deferred: a sentence")

    def test_every_kind_has_a_health_check_and_actions(self):
        wanted = {f"resource.customizations.{what}.pgreeve.dev_{kind}" for what in ("health", "actions") for kind in KINDS}
        self.assertEqual(set(settings()), wanted)


class Actions(unittest.TestCase):
    def setUp(self):
        self.actions = {
            kind: yaml.safe_load(settings()[f"resource.customizations.actions.pgreeve.dev_{kind}"]) for kind in KINDS
        }

    def enabled(self, kind, obj):
        offered = run(self.actions[kind]["discovery.lua"], obj)
        return {name for name, action in offered.items() if not action["disabled"]}

    def act(self, kind, name, obj):
        (script,) = [d["action.lua"] for d in self.actions[kind]["definitions"] if d["name"] == name]
        return run(script, obj)

    def waiting(self, **metadata):
        obj = policy("True", "ApprovalPending", ["Drifted"], approval="Manual")
        obj["status"]["plan"] = {"fingerprint": "9f3c"}
        obj["metadata"].update(metadata)
        return obj

    def test_every_action_that_is_offered_is_defined(self):
        for kind in KINDS:
            offered = set(run(self.actions[kind]["discovery.lua"], policy("True")))
            self.assertEqual(offered, {d["name"] for d in self.actions[kind]["definitions"]}, kind)

    def test_only_what_makes_sense_is_enabled(self):
        for kind in SUSPENDABLE:
            self.assertEqual(self.enabled(kind, policy("True")), {"suspend", "reconcile"})
            self.assertEqual(self.enabled(kind, policy("True", suspend=True)), {"resume"})
        for kind in UNSTOPPED:
            self.assertEqual(self.enabled(kind, policy("True")), {"reconcile"})
        self.assertEqual(self.enabled("PartitionPolicy", self.waiting()), {"suspend", "reconcile", "approve"})
        approved = self.waiting(annotations={"pgreeve.dev/approve": "9f3c"})
        self.assertNotIn("approve", self.enabled("PartitionPolicy", approved))

    def test_suspend_and_resume_change_one_field(self):
        for kind in SUSPENDABLE:
            self.assertIs(self.act(kind, "suspend", policy("True"))["spec"]["suspend"], True)
            self.assertIs(self.act(kind, "resume", policy("True", suspend=True))["spec"]["suspend"], False)

    def test_reconcile_asks_for_a_pass_in_the_present(self):
        for kind in KINDS:
            asked = self.act(kind, "reconcile", policy("True"))["metadata"]["annotations"]["pgreeve.dev/requestedAt"]
            self.assertRegex(asked, r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_approve_names_the_plan_that_is_there(self):
        annotations = self.act("PartitionPolicy", "approve", self.waiting(annotations={"a": "b"}))["metadata"]["annotations"]
        self.assertEqual(annotations, {"a": "b", "pgreeve.dev/approve": "9f3c"})


class Flux(unittest.TestCase):
    def test_the_example_waits_for_every_kind_of_ours(self):
        documents = list(yaml.safe_load_all((GITOPS / "flux.yaml").read_text()))
        checked = {check["kind"] for check in documents[1]["spec"]["healthChecks"]}
        self.assertEqual(checked, set(KINDS))

    def test_the_values_of_the_example_are_values_of_the_chart(self):
        release = next(yaml.safe_load_all((GITOPS / "flux.yaml").read_text()))
        objects = chart.render(release["spec"]["values"], apis=chart.MONITORING_APIS)
        self.assertTrue(chart.of_kind(objects, "PodMonitor") and chart.of_kind(objects, "PrometheusRule"))


if __name__ == "__main__":
    unittest.main()
