//! What would scale a workload up is held by its own switch, and let go exactly as it was.

use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use pgreeve::cluster::workloads::{self, RESTORE_HOLD, RESTORED_BY, UP};
use serde_json::{Value, json};

use super::find::allowed;
use super::stage::{Stage, other_kinds, spec};

const PAUSED: &str = "autoscaling.keda.sh/paused-replicas";
const SKIP: &str = "argocd.argoproj.io/skip-reconcile";

async fn stage() -> Stage {
    other_kinds().await;
    Stage::new().await
}

/// A Deployment `api` with these labels and annotations.
async fn deployment(stage: &Stage, name: &str, labels: Value, annotations: Value) {
    stage.create("Deployment", json!({"name": name, "labels": labels, "annotations": annotations}), spec(name, 3)).await;
}

fn tracking(stage: &Stage, application: &str, name: &str) -> Value {
    json!({"argocd.argoproj.io/tracking-id": format!("{application}:apps/Deployment:{}/{name}", stage.namespace)})
}

#[tokio::test]
async fn keda_is_paused_at_zero_and_let_go_before_the_workload_comes_back() {
    let stage = stage().await;
    deployment(&stage, "api", json!({}), json!({})).await;
    for (name, target) in [
        ("usual", json!({"name": "api"})),
        ("full", json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"})),
        ("other-kind", json!({"kind": "StatefulSet", "name": "api"})),
        ("other-group", json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Deployment", "name": "api"})),
        ("other-name", json!({"name": "worker"})),
    ] {
        stage.create("ScaledObject", json!({"name": name}), json!({"scaleTargetRef": target})).await;
    }
    stage.merge("ScaledObject", "full", json!({"metadata": {"annotations": {PAUSED: "4"}}})).await;
    let mut workload = stage.record("Deployment", "api").await;
    assert_eq!(workload.held, ["ScaledObject full", "ScaledObject usual"]);
    stage.lower(&mut workload).await;
    for name in ["full", "usual"] {
        let held = stage.get("ScaledObject", name).await;
        assert_eq!((held.annotations()[PAUSED].as_str(), &held.labels()[RESTORED_BY]), ("0", &stage.restore.uid));
    }
    assert!(stage.get("ScaledObject", "other-name").await.annotations().is_empty());
    stage.merge("ScaledObject", "usual", json!({"metadata": {"annotations": {PAUSED: null}}})).await;
    stage.lower(&mut workload).await;
    assert_eq!(stage.get("ScaledObject", "usual").await.annotations()[PAUSED], "0", "it is held again");
    assert!(stage.raise(&mut workload).await);
    assert_eq!((workload.state.as_deref(), stage.replicas("Deployment", "api").await), (Some(UP), 3));
    assert!(stage.get("ScaledObject", "usual").await.annotations().is_empty());
    let full = stage.get("ScaledObject", "full").await;
    assert_eq!((full.annotations().len(), full.annotations()[PAUSED].as_str(), full.labels().len()), (1, "4", 0));
}

#[tokio::test]
async fn keda_is_let_go_first_because_it_would_take_the_workload_down_again() {
    let stage = stage().await;
    deployment(&stage, "api", json!({}), json!({})).await;
    stage.create("ScaledObject", json!({"name": "api"}), json!({"scaleTargetRef": {"name": "api"}})).await;
    let mut workload = stage.record("Deployment", "api").await;
    let faults = crate::support::kubefault::KubeFaults::default();
    let client = faults.client(&crate::support::apiserver::apiserver().admin_config().await);
    workloads::lower(&client, &stage.namespace, &stage.restore, &mut workload).await.unwrap();
    workloads::raise(&client, &stage.namespace, &stage.restore, &mut workload).await.unwrap();
    let writes: Vec<String> = faults.writes().iter().map(|write| write.what.rsplit('/').nth(1).unwrap().to_owned()).collect();
    let down = ["deployments", "scaledobjects", "deployments"];
    let up = ["scaledobjects", "deployments", "deployments"];
    assert_eq!(writes, [down, up].concat(), "annotation, hold, scale; let go, scale, annotation");
}

#[tokio::test]
async fn a_pause_that_somebody_changed_meanwhile_is_theirs() {
    let stage = stage().await;
    deployment(&stage, "api", json!({}), json!({})).await;
    stage.create("ScaledObject", json!({"name": "api"}), json!({"scaleTargetRef": {"name": "api"}})).await;
    let mut workload = stage.record("Deployment", "api").await;
    stage.lower(&mut workload).await;
    stage.merge("ScaledObject", "api", json!({"metadata": {"annotations": {PAUSED: "2"}}})).await;
    stage.raise(&mut workload).await;
    let left = stage.get("ScaledObject", "api").await;
    assert_eq!((left.annotations().len(), left.annotations()[PAUSED].as_str()), (1, "2"));
}

#[tokio::test]
async fn a_horizontal_autoscaler_does_nothing_at_zero_and_is_only_noted() {
    let stage = stage().await;
    deployment(&stage, "api", json!({}), json!({})).await;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"});
    stage
        .create(
            "HorizontalPodAutoscaler",
            json!({"name": "api"}),
            json!({"maxReplicas": 9, "minReplicas": 2, "scaleTargetRef": target}),
        )
        .await;
    let mut workload = stage.record("Deployment", "api").await;
    assert_eq!(workload.held, ["HorizontalPodAutoscaler api"]);
    let before = stage.get("HorizontalPodAutoscaler", "api").await;
    stage.lower(&mut workload).await;
    stage.raise(&mut workload).await;
    assert_eq!(stage.get("HorizontalPodAutoscaler", "api").await.resource_version(), before.resource_version());
    assert_eq!(stage.replicas("Deployment", "api").await, 3, "at zero the autoscaler would leave it there for ever");
}

#[tokio::test]
async fn an_application_that_two_workloads_share_is_let_go_by_the_last_one() {
    let stage = stage().await;
    for name in ["api", "worker"] {
        deployment(&stage, name, json!({}), tracking(&stage, "shop", name)).await;
    }
    stage.create("Application", json!({"name": "shop", "annotations": {"owner": "team"}}), json!({})).await;
    let (mut api, mut worker) = (stage.record("Deployment", "api").await, stage.record("Deployment", "worker").await);
    assert_eq!((&*api.held, &*worker.held), (&["Application shop".to_owned()][..], &["Application shop".to_owned()][..]));
    stage.lower(&mut api).await;
    stage.lower(&mut worker).await;
    let skips = async || stage.get("Application", "shop").await.annotations().get(SKIP).cloned();
    assert_eq!(skips().await.as_deref(), Some("true"));
    stage.raise(&mut api).await;
    assert_eq!(skips().await.as_deref(), Some("true"), "the worker is still down");
    stage.raise(&mut worker).await;
    let shop = stage.get("Application", "shop").await;
    assert_eq!((shop.annotations().clone(), shop.labels().len()), ([("owner".to_owned(), "team".to_owned())].into(), 0));
}

#[tokio::test]
async fn an_application_is_found_by_every_way_of_tracking() {
    let stage = stage().await;
    stage.create("Application", json!({"name": "shop"}), json!({})).await;
    let here = format!("{}_shop", stage.namespace);
    let elsewhere = "the operator may read none of this name that lists this workload, so what it scales up is scaled down again";
    let cases = [
        ("by-id", json!({}), tracking(&stage, "shop", "by-id"), Some("Application shop".to_owned())),
        ("qualified", json!({}), tracking(&stage, &here, "qualified"), Some("Application shop".to_owned())),
        ("label", json!({"app.kubernetes.io/instance": "shop"}), json!({}), Some("Application shop".to_owned())),
        ("own-label", json!({"argocd.argoproj.io/instance": "shop"}), json!({}), Some("Application shop".to_owned())),
        ("central", json!({}), tracking(&stage, "central", "central"), Some(format!("Application central: {elsewhere}"))),
        ("far", json!({}), tracking(&stage, "far_shop", "far"), Some(format!("Application far/shop: {elsewhere}"))),
        ("chart", json!({"app.kubernetes.io/instance": "a-helm-release"}), json!({}), None),
        ("copied", json!({}), tracking(&stage, "shop", "the-original"), None),
    ];
    for (name, labels, annotations, expected) in cases {
        deployment(&stage, name, labels, annotations).await;
        let mut workload = stage.record("Deployment", name).await;
        assert_eq!(workload.held, expected.into_iter().collect::<Vec<_>>(), "{name}");
        stage.lower(&mut workload).await;
        let is_held = stage.get("Application", "shop").await.annotations().contains_key(RESTORE_HOLD);
        assert_eq!(is_held, workload.held == ["Application shop"], "{name}");
        stage.raise(&mut workload).await;
        assert!(stage.get("Application", "shop").await.annotations().is_empty());
    }
}

/// An Application in a namespace of Argo CD's own, that says that it has made these Deployments.
async fn central(stage: &Stage, name: &str, deployments: &[&str]) -> Api<DynamicObject> {
    let argo = Stage::new().await;
    argo.create("Application", json!({"name": name}), json!({"destination": {"namespace": stage.namespace}})).await;
    let its =
        |name: &&str| json!({"group": "apps", "version": "v1", "kind": "Deployment", "namespace": stage.namespace, "name": name});
    let resources: Vec<Value> = deployments.iter().map(its).collect();
    argo.merge("Application", name, json!({"status": {"resources": resources}})).await;
    argo.api("Application")
}

#[tokio::test]
async fn an_application_of_argo_cds_own_namespace_is_held_if_it_says_that_the_workload_is_its() {
    let stage = stage().await;
    // Others run at the same time, and its name is looked for everywhere.
    let name = format!("central-{}", stage.namespace);
    let theirs = central(&stage, &name, &["somebody-elses"]).await;
    let ours = central(&stage, &name, &["api", "worker"]).await;
    let namespace = ours.get(&name).await.unwrap().namespace().unwrap();
    let qualified = format!("{namespace}_{name}");
    deployment(&stage, "api", json!({}), tracking(&stage, &name, "api")).await;
    deployment(&stage, "worker", json!({}), tracking(&stage, &qualified, "worker")).await;
    deployment(&stage, "labelled", json!({"app.kubernetes.io/instance": name}), json!({})).await;
    deployment(&stage, "intruder", json!({}), tracking(&stage, &qualified, "intruder")).await;
    let entry = format!("Application {namespace}/{name}");
    let (mut api, mut worker) = (stage.record("Deployment", "api").await, stage.record("Deployment", "worker").await);
    assert_eq!((&api.held[..], &worker.held[..]), (&[entry.clone()][..], &[entry.clone()][..]));
    assert!(stage.record("Deployment", "labelled").await.held.is_empty(), "a label alone is any chart's");
    let intruder = stage.record("Deployment", "intruder").await.held;
    assert!(intruder[0].contains("none of this name that lists this workload"), "{intruder:?}");
    stage.lower(&mut api).await;
    stage.lower(&mut worker).await;
    let skips = async || ours.get(&name).await.unwrap().annotations().get(SKIP).cloned();
    assert_eq!(skips().await.as_deref(), Some("true"));
    stage.raise(&mut api).await;
    assert_eq!(skips().await.as_deref(), Some("true"), "the worker is still down");
    // Its Restore and the workload are lost: what is held says by itself for whom.
    let held = workloads::held(&stage.client, None).await.unwrap();
    let held: Vec<_> = held.into_iter().filter(|held| held.restore.uid == stage.restore.uid && held.entry == entry).collect();
    assert_eq!((held.len(), &held[0].workload), (1, &worker.uid));
    workloads::let_go(&stage.client, &held[0]).await.unwrap();
    for api in [&ours, &theirs] {
        let found = api.get(&name).await.unwrap();
        assert!(found.annotations().is_empty() && found.labels().is_empty(), "{found:?}");
    }
}

#[tokio::test]
async fn flux_leaves_alone_what_says_so_itself_and_a_release_here_is_suspended_too() {
    let stage = stage().await;
    let labels = |group: &str, namespace: &str| json!({format!("{group}/name"): "shop", format!("{group}/namespace"): namespace});
    stage.create("HelmRelease", json!({"name": "shop"}), json!({"interval": "10m"})).await;
    let (kustomize, helm) = ("kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io");
    let (reconcile, drift) = (format!("{kustomize}/reconcile"), format!("{helm}/driftDetection"));
    let cases = [
        ("kustomized", labels(kustomize, "flux-system"), &reconcile, "Kustomization flux-system/shop"),
        ("released-elsewhere", labels(helm, "flux-system"), &drift, "HelmRelease flux-system/shop"),
        ("released-here", labels(helm, &stage.namespace), &drift, "HelmRelease shop"),
    ];
    for (name, labels, annotation, held) in cases {
        for former in [None, Some("enabled"), Some("disabled")] {
            let name = format!("{name}-{}", former.unwrap_or("none"));
            let annotations = former.map_or(json!({}), |former| json!({annotation: former}));
            deployment(&stage, &name, labels.clone(), annotations).await;
            let mut workload = stage.record("Deployment", &name).await;
            assert_eq!(workload.held, [held]);
            stage.lower(&mut workload).await;
            assert_eq!(stage.get("Deployment", &name).await.annotations()[annotation], "disabled");
            let suspends = stage.get("HelmRelease", "shop").await.data["spec"]["suspend"] == true;
            assert_eq!(suspends, held == "HelmRelease shop");
            stage.raise(&mut workload).await;
            let up = stage.get("Deployment", &name).await;
            assert_eq!(
                (up.annotations().get(annotation).map(String::as_str), up.data["spec"]["replicas"].clone()),
                (former, json!(3))
            );
            assert_eq!(stage.get("HelmRelease", "shop").await.data["spec"], json!({"interval": "10m"}));
        }
    }
}

#[tokio::test]
async fn a_release_that_was_suspended_stays_so() {
    let stage = stage().await;
    stage.create("HelmRelease", json!({"name": "shop"}), json!({"suspend": true})).await;
    let labels = json!({"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": stage.namespace});
    deployment(&stage, "api", labels, json!({})).await;
    let mut workload = stage.record("Deployment", "api").await;
    stage.lower(&mut workload).await;
    stage.raise(&mut workload).await;
    let release = stage.get("HelmRelease", "shop").await;
    assert_eq!((&release.data["spec"]["suspend"], release.annotations().len()), (&json!(true), 0));
}

#[tokio::test]
async fn what_owns_a_workload_is_noted() {
    let stage = stage().await;
    let rollout = stage.create("Rollout", json!({"name": "api"}), json!({"wanted": {"count": 1}})).await;
    let owner =
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "api", "uid": rollout.uid(), "controller": true});
    stage.create("ReplicaSet", json!({"name": "api-1", "ownerReferences": [owner]}), spec("api", 2)).await;
    let workload = stage.record("ReplicaSet", "api-1").await;
    assert_eq!(workload.held, ["Rollout api: it made this, and may scale it up, which is undone"]);
}

#[tokio::test]
async fn what_the_operator_may_not_hold_is_said_and_the_workload_goes_down_all_the_same() {
    let stage = stage().await;
    deployment(&stage, "api", json!({}), tracking(&stage, "shop", "api")).await;
    stage.create("Application", json!({"name": "shop"}), json!({})).await;
    let owner = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "hidden", "uid": "7a1e2b3c-0000-4000-8000-000000000001"});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"});
    stage
        .create(
            "HorizontalPodAutoscaler",
            json!({"name": "keda-hpa-hidden", "ownerReferences": [owner]}),
            json!({"maxReplicas": 9, "scaleTargetRef": target}),
        )
        .await;
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "patch"]},
        {"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["get"]},
        {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]);
    let client = allowed(&stage, rules).await;
    let wanted = [serde_json::from_value(json!({"kind": "Deployment", "name": "api"})).unwrap()];
    let mut workload = workloads::find(&client, &stage.namespace, &wanted).await.unwrap().remove(0);
    let undone = "so what it scales up is scaled down again";
    let expected = [
        format!("ScaledObject hidden: the operator may not read it, {undone}"),
        format!("Application shop: the operator may not patch it, {undone}"),
    ];
    assert_eq!(workload.held, expected);
    // The right was there at the preflight, and is gone since.
    workload.held = vec!["Application shop".into()];
    workloads::lower(&client, &stage.namespace, &stage.restore, &mut workload).await.unwrap();
    assert_eq!((stage.replicas("Deployment", "api").await, &workload.held[0]), (0, &expected[1]));
    workloads::raise(&client, &stage.namespace, &stage.restore, &mut workload).await.unwrap();
    assert_eq!(stage.replicas("Deployment", "api").await, 3);
}
