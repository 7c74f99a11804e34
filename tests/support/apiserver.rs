//! Where does a test find a Kubernetes API of its own? etcd and kube-apiserver, one pair a test binary, one namespace a test.
//!
//! It is the real thing, RBAC and admission included, without controllers and nodes: a deleted namespace stays, a Pod never runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};

use super::process::{Supervised, directory, free_port, run};
use super::{cache, eventually, unique};

const TOKEN: &str = "the-token-of-the-tests";

/// A running API server with pgreeve's CRDs.
pub struct ApiServer {
    home: PathBuf,
    etcd_port: u16,
    _etcd: Supervised,
    _apiserver: Supervised,
}

/// The API server that all tests of this binary share.
pub fn apiserver() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    SERVER.get_or_init(ApiServer::start)
}

impl ApiServer {
    fn start() -> Self {
        let server = (0..5).find_map(|_| Self::try_start()).expect("kube-apiserver starts");
        blocking(async || apply_crds(&server.admin().await).await);
        server
    }

    /// `None` where a port was taken between being found free and being used.
    fn try_start() -> Option<Self> {
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let etcd = start_etcd(etcd_port, peer_port)?;
        let home = directory("apiserver");
        write_credentials(&home, port);
        let apiserver = Supervised::start(&home, "KILL", &apiserver_command(&home, etcd_port, port));
        let server = Self { home, etcd_port, _etcd: etcd, _apiserver: apiserver };
        server
            ._apiserver
            .answering(|| server.kubectl(&["get", "--raw", "/readyz"]).output().ok()?.status.success().then_some(()))?;
        Some(server)
    }

    /// Path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.join("kubeconfig")
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments).env("KUBECACHEDIR", self.home.join("cache"));
        command
    }

    /// Runs kubectl as the administrator and returns what it printed.
    ///
    /// # Panics
    /// Where it fails.
    pub fn kubectl_output(&self, arguments: &[&str]) -> String {
        run(&mut self.kubectl(arguments))
    }

    /// How the administrator reaches the API server.
    pub async fn admin_config(&self) -> Config {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
    }

    /// A client of the administrator. Each test makes its own: a connection lives in the runtime that made it.
    pub async fn admin(&self) -> Client {
        Client::try_from(self.admin_config().await).unwrap()
    }

    /// Waits until a service account may do this: who grants rights hears of them a moment later than who reads them. `resource` may have a
    /// subresource behind a slash.
    pub async fn until_allowed(&self, namespace: &str, account: &str, (verb, group, resource): (&str, &str, &str)) {
        let reviews: Api<SubjectAccessReview> = Api::all(self.admin().await);
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes =
            json!({"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource});
        let review =
            json!({"spec": {"user": format!("system:serviceaccount:{namespace}:{account}"), "resourceAttributes": attributes}});
        let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
        let is_allowed = async || {
            let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
            answer.status.is_some_and(|status| status.allowed).then_some(())
        };
        eventually(&format!("{account} may {verb} {resource}"), Duration::from_secs(30), is_allowed).await;
    }

    /// How this service account, which is created here, reaches the API server: with what RBAC grants it and no more.
    pub async fn config_of(&self, namespace: &str, name: &str) -> Config {
        let token = self.token_of(namespace, name).await;
        let mut kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        kubeconfig.auth_infos[0].auth_info.as_mut().unwrap().token = Some(token.into());
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
    }

    /// The token of this service account, which is created here.
    pub async fn token_of(&self, namespace: &str, name: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, namespace);
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..Default::default() };
        accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap().status.unwrap().token.unwrap()
    }

    /// Changes an object of ours where it is stored, past every schema and rule; `path` is `<plural>/<namespace>/<name>`.
    pub async fn rewrite_stored(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let key = ByteString(format!("/registry/{}/{path}", pgreeve::api::GROUP).into_bytes());
        let found = self.etcd("range", json!({"key": key})).await;
        let stored: ByteString = serde_json::from_value(found["kvs"][0]["value"].clone()).unwrap();
        let mut object: Value = serde_json::from_slice(&stored.0).unwrap();
        change(&mut object);
        let value = ByteString(object.to_string().into_bytes());
        self.etcd("put", json!({"key": key, "value": value})).await;
    }

    /// etcd's own API in JSON.
    async fn etcd(&self, method: &str, request: Value) -> Value {
        let http = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = http::Request::post(format!("http://127.0.0.1:{}/v3/kv/{method}", self.etcd_port))
            .header("Content-Type", "application/json")
            .body(Full::from(request.to_string()))
            .unwrap();
        let response = http.request(request).await.unwrap();
        assert!(response.status().is_success(), "{response:?}");
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    /// A new namespace for one test.
    pub async fn namespace(&self, client: &Client) -> String {
        let name = unique("test").replace('_', "-");
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        name
    }
}

/// Applies the CRDs and waits until the API server serves them.
pub async fn apply_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("tests").force();
    for crd in pgreeve::api::crds() {
        let name = crd.name_any();
        api.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
        eventually(&format!("{name} is established"), Duration::from_secs(20), async || {
            let conditions = api.get(&name).await.unwrap().status?.conditions?;
            conditions.iter().any(|c| c.type_ == "Established" && c.status == "True").then_some(())
        })
        .await;
    }
    for crd in pgreeve::api::crds() {
        let resource = kube::discovery::ApiResource::from_gvk_with_plural(
            &kube::core::GroupVersionKind::gvk(pgreeve::api::GROUP, pgreeve::api::VERSION, &crd.spec.names.kind),
            &crd.spec.names.plural,
        );
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        eventually("the API server serves it", Duration::from_secs(20), async || {
            objects.list(&Default::default()).await.ok().map(drop)
        })
        .await;
    }
}

/// The path of a program that `hack/tools.sh` made.
pub fn program(name: &str) -> PathBuf {
    let program = cache().join("bin").join(name);
    assert!(program.exists(), "no {}: run hack/tools.sh apiserver kstatus", program.display());
    program
}

fn start_etcd(port: u16, peer_port: u16) -> Option<Supervised> {
    let home = directory("etcd");
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    let mut etcd = Command::new(program("etcd"));
    etcd.arg("--unsafe-no-fsync").arg("--data-dir").arg(home.join("data"));
    for (flag, value) in [("listen-client-urls", &client), ("advertise-client-urls", &client)] {
        etcd.arg(format!("--{flag}")).arg(value);
    }
    etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--initial-cluster"])
        .arg(format!("default={peer}"));
    let process = Supervised::start(&home, "KILL", &etcd);
    process.answering(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok())?;
    Some(process)
}

fn apiserver_command(home: &Path, etcd_port: u16, port: u16) -> Command {
    let mut command = Command::new(program("kube-apiserver"));
    let file = |name: &str| home.join(name).display().to_string();
    for (flag, value) in [
        ("etcd-servers", format!("http://127.0.0.1:{etcd_port}")),
        ("bind-address", "127.0.0.1".into()),
        ("advertise-address", "127.0.0.1".into()),
        ("secure-port", port.to_string()),
        ("cert-dir", file("certificates")),
        ("service-cluster-ip-range", "10.0.0.0/24".into()),
        ("authorization-mode", "RBAC".into()),
        ("token-auth-file", file("tokens.csv")),
        ("service-account-issuer", "https://kubernetes.default.svc".into()),
        ("service-account-key-file", file("accounts.pub")),
        ("service-account-signing-key-file", file("accounts.key")),
        ("endpoint-reconciler-type", "none".into()),
        ("disable-admission-plugins", "ServiceAccount".into()),
        ("watch-cache", "true".into()),
        // Tests may ask as fast as they can.
        ("enable-priority-and-fairness", "false".into()),
        ("max-requests-inflight", "0".into()),
        ("max-mutating-requests-inflight", "0".into()),
    ] {
        command.arg(format!("--{flag}={value}"));
    }
    command
}

fn write_credentials(home: &Path, port: u16) {
    let file = |name: &str| home.join(name).display().to_string();
    let key = file("accounts.key");
    run(Command::new("openssl").args(["genrsa", "-out", &key, "2048"]));
    run(Command::new("openssl").args(["rsa", "-in", &key, "-pubout", "-out", &file("accounts.pub")]));
    std::fs::write(home.join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n")).unwrap();
    // The certificate appears when the server starts; every reader of this file comes later.
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": file("certificates/apiserver.crt")}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
    });
    std::fs::write(home.join("kubeconfig"), kubeconfig.to_string()).unwrap();
}

/// Runs to its end on a thread of its own, from within a test's runtime too.
fn blocking(future: impl AsyncFnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future()));
    });
}
