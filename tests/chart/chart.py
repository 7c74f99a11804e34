"""How do the tests see the chart? Renders it with the real helm and reads the result."""

import functools
import pathlib
import subprocess

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHART = ROOT / "charts" / "pgreeve"
VARIANTS = sorted(path.stem for path in (HERE / "values").glob("*.yaml"))

# What a cluster with Prometheus Operator and Grafana Operator would answer.
MONITORING_APIS = [
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "grafana.integreatly.org/v1beta1/GrafanaDashboard",
]


class HelmError(Exception):
    """Helm refused; the message is what a user would read."""


def helm(*args, stdin=None):
    done = subprocess.run(["helm", *args], input=stdin, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise HelmError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def template(values=None, variant=None, apis=(), release="pgreeve", namespace="pgreeve-system"):
    """The text that `helm template` prints for values (a dict) or for a file of values/."""
    return printed(yaml.safe_dump(values or {}), variant, tuple(apis), release, namespace)


@functools.cache
def printed(values, variant, apis, release, namespace):
    args = ["template", release, str(CHART), "--namespace", namespace, "--kube-version", "1.34.0"]
    for api in apis:
        args += ["--api-versions", api]
    if variant:
        args += ["--values", str(HERE / "values" / f"{variant}.yaml")]
    return helm(*args, "--values", "-", stdin=values)


def render(values=None, variant=None, **options):
    """The objects that the chart makes."""
    return [doc for doc in yaml.safe_load_all(template(values, variant, **options)) if doc]


def of_kind(objects, *kinds):
    return [o for o in objects if o["kind"] in kinds]


def the(objects, kind):
    """The only object of a kind."""
    (found,) = of_kind(objects, kind)
    return found


def pod_specs(objects):
    """Every Pod that the chart runs, by the name of its object."""
    for o in objects:
        if o["kind"] == "Deployment":
            yield o["metadata"]["name"], o["spec"]["template"]["spec"]
        elif o["kind"] == "Pod":
            yield o["metadata"]["name"], o["spec"]


def operator_args(objects):
    return the(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]


def crd_files():
    return {path: yaml.safe_load(path.read_text()) for path in sorted((CHART / "files" / "crds").glob("*.yaml"))}


def chart_yaml():
    return yaml.safe_load((CHART / "Chart.yaml").read_text())
