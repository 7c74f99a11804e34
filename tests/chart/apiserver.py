"""A real API server for a few tests: etcd and kube-apiserver on loopback, in a temporary directory, gone when the tests end."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ApiServer:
    """Starts in a few seconds; `kubectl` and `helm` speak to it as a cluster administrator."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pgreeve-chart-"))
        self.processes = []
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        etcd, peer, port = free_port(), free_port(), free_port()
        key = self.directory / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (self.directory / "tokens.csv").write_text("test-admin,admin,admin,system:masters\n")
        self.spawn(
            "etcd", "--data-dir", self.directory / "etcd", "--unsafe-no-fsync",
            "--listen-client-urls", f"http://127.0.0.1:{etcd}", "--advertise-client-urls", f"http://127.0.0.1:{etcd}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}",
        )  # fmt: skip
        self.spawn(
            "kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{etcd}", "--bind-address", "127.0.0.1",
            "--secure-port", port, "--cert-dir", self.directory / "certificates", "--token-auth-file", self.directory / "tokens.csv",
            "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
            "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", key,
            "--service-account-signing-key-file", key,
        )  # fmt: skip
        self.url = f"https://127.0.0.1:{port}"
        self.kubeconfig = self.directory / "kubeconfig"
        self.kubeconfig.write_text(
            f"""apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "{self.url}", insecure-skip-tls-verify: true}}}}]
users: [{{name: admin, user: {{token: test-admin}}}}]
contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]
"""
        )
        self.wait_until_ready()

    def spawn(self, *command):
        with open(self.directory / f"{command[0]}.log", "wb") as log:
            self.processes.append(subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, cwd=self.directory))

    def wait_until_ready(self):
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if self.ask("/readyz") == b"ok":
                    return
            for process in self.processes:
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / f"{process.args[0]}.log").read_text(errors="replace")
                    raise RuntimeError(f"{process.args[0]} is not up:\n{log[-3000:]}")
            time.sleep(0.1)

    def ask(self, path, body=None):
        """The answer to a GET, or to a POST of a JSON body. Certificates are the server's own, made a second ago."""
        headers = {"Authorization": "Bearer test-admin", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=10, context=ssl._create_unverified_context()) as response:
            return response.read()

    def allows(self, user, verb, resource, namespace=None):
        """What RBAC answers. The resource is written PLURAL[/SUBRESOURCE][.GROUP][:NAME]; without a namespace all are meant."""
        resource, _, name = resource.partition(":")
        resource, _, group = resource.partition(".")
        resource, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {**attributes, "namespace": namespace or ""}},
        }
        answer = json.loads(self.ask("/apis/authorization.k8s.io/v1/subjectaccessreviews", review))
        return answer["status"]["allowed"]

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def environment(self):
        """Keeps caches inside the directory, and whatever cluster the caller is logged in to out of reach."""
        home = str(self.directory)
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": home, "XDG_CACHE_HOME": home, "KUBECACHEDIR": home}

    def run(self, *command, stdin=None):
        """The output of a command that may fail: exit code, standard output, standard error."""
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, env=self.environment())
        return done.returncode, done.stdout, done.stderr

    def ok(self, *command, stdin=None):
        code, out, error = self.run(*command, stdin=stdin)
        if code != 0:
            raise AssertionError(f"{' '.join(command)}: {error or out}")
        return out
