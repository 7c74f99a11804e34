//! What does a Job of ours look like? Built from its owner and its task; nothing in it is secret, and its Pod has no right on the API.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements,
    SeccompProfile, SecurityContext, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sha2::{Digest as _, Sha256};

use super::mounts;
use crate::api::Reason;
use crate::api::job::JobSettings;
use crate::plan::action::{Action, Blocked};
use crate::plan::hex;
use crate::plan::task::{Task, VERSION, digest};

/// Label: the PostgresDatabase that a Job works on.
pub const DATABASE: &str = "pgreeve.dev/database";
/// Label: the policy, or other object, that a Job works for.
pub const POLICY: &str = "pgreeve.dev/policy";
/// Label: the kind of that object.
pub const KIND: &str = "pgreeve.dev/kind";
/// Annotation: which try this is, counted from 1.
pub const ATTEMPT: &str = "pgreeve.dev/attempt";
/// Selects all our Jobs.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=pgreeve,app.kubernetes.io/component=job";

/// The environment variable that holds the task.
const TASK: &str = "PGREEVE_TASK";
/// The container that does the work.
pub const CONTAINER: &str = "job";
/// The exit code after which no further Pod is tried: what is in the way does not go away by itself.
pub const EXIT_FOR_GOOD: i32 = 3;

/// Longest environment variable, with room to spare: Linux takes no string above 128 KiB.
const TASK_LIMIT: usize = 100 * 1024;
/// Pods that may fail before the Job does: what passes by itself, such as a server that restarts, is not told to anybody.
const RETRIES: i32 = 2;
/// A finished Job that nobody has looked at, because no operator runs, goes after a week. Otherwise the operator removes it.
const KEPT_SECONDS: i32 = 7 * 24 * 3600;
/// The user of the image.
const USER: i64 = 65532;
/// What a Pod asks for where nobody says otherwise: a namespace with a quota refuses Pods that ask for nothing.
const CPU: &str = "100m";
const MEMORY: &str = "256Mi";
/// The same where a PostgreSQL server runs beside the work: it has 128 MiB of buffers and 64 MiB for each index that it builds.
const MEMORY_WITH_SERVER: &str = "512Mi";

/// The object that a Job works for, and with which it goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, which is the Job's too.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Owner {
    /// The owner that an object of ours is; `None` for one that the API server has never seen.
    pub fn of<K: kube::Resource<DynamicType = ()>>(object: &K) -> Option<Self> {
        let meta = object.meta();
        Some(Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
        })
    }
}

/// Where Pods come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The operator's own image.
    pub name: String,
    /// When it is pulled: `Always`, `IfNotPresent` or `Never`; as Kubernetes has it where nobody says. As the operator's, or a tag that
    /// moves would give Jobs another version than their operator.
    pub pull_policy: Option<String>,
    /// Secrets in the Job's namespace with registry credentials.
    pub pull_secrets: Vec<String>,
    /// The image with PostgreSQL's programs, where `{major}` stands for the major version; [`POSTGRES`] where empty.
    pub postgres: String,
}

/// Where PostgreSQL's programs are, unless somebody says otherwise.
pub const POSTGRES: &str = "docker.io/library/postgres:{major}";

/// The Job that does a task. Its name says who wants what: the same wish always meets the same Job, whoever makes it.
///
/// # Errors
/// [`Reason::InvalidSpec`] where the action is no task, the task is too long to be told, or its deadline has no fixed length.
pub fn build(owner: &Owner, task: &Task, image: &Image) -> Result<Job, Blocked> {
    let invalid = |message: String| Blocked::new(Reason::InvalidSpec, message);
    let settings = task.settings().ok_or_else(|| invalid(format!("{} is no task for a Job", task.action)))?;
    let deadline = settings.active_deadline.to_std().map_err(|error| invalid(format!("job.activeDeadline: {error}")))?;
    let labels = labels(owner, task);
    let spec = JobSpec {
        backoff_limit: Some(RETRIES),
        active_deadline_seconds: Some(i64::try_from(deadline.as_secs().max(1)).unwrap_or(i64::MAX)),
        ttl_seconds_after_finished: Some(KEPT_SECONDS),
        // The next Pod begins when the last one has ended, never beside it.
        pod_replacement_policy: Some("Failed".into()),
        pod_failure_policy: Some(failure_policy()),
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta {
                annotations: Some(pod_annotations(task)),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            }),
            spec: Some(pod(task, settings, image)?),
        },
        ..JobSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(name(owner, &task.database, &task.action)),
        namespace: Some(owner.namespace.clone()),
        labels: Some(labels),
        annotations: Some([(ATTEMPT.to_owned(), "1".to_owned())].into()),
        owner_references: Some(vec![owner_reference(owner)]),
        ..ObjectMeta::default()
    };
    Ok(Job { metadata, spec: Some(spec), status: None })
}

/// `<object>-<verb>-<digest>`, short enough for the names and labels that Kubernetes makes of it.
pub fn name(owner: &Owner, database: &str, action: &Action) -> String {
    let digest = digest(&owner.uid, database, action);
    let verb = action.verb().split(' ').next().unwrap_or_default();
    format!("{}-{}-{digest}", clean(&owner.name, 24), clean(verb, 10))
}

/// Selects the Jobs of an owner, and perhaps those of another one of its kind with a long name that begins alike.
pub fn selector_of(owner: &Owner) -> String {
    format!("{SELECTOR},{KIND}={},{POLICY}={}", owner.kind, label_value(&owner.name))
}

/// What a Job of ours is told, if it is one that this version could have made.
pub fn told(job: &Job) -> Option<Task> {
    let containers = &job.spec.as_ref()?.template.spec.as_ref()?.containers;
    let container = containers.iter().find(|container| container.name == CONTAINER)?;
    let text = container.env.iter().flatten().find(|variable| variable.name == TASK)?.value.as_ref()?;
    serde_json::from_str::<Task>(&text.replace("$$", "$")).ok().filter(|task| task.version == VERSION)
}

/// At most so many characters that a name of one label may have.
fn clean(text: &str, limit: usize) -> String {
    let usual = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let cleaned: String = text.chars().take(limit).map(usual).collect();
    cleaned.trim_end_matches('-').to_owned()
}

/// The value as a label can hold it: a name above 63 characters is cut and told apart by its digest.
pub fn label_value(value: &str) -> String {
    if value.len() <= 63 {
        return value.to_owned();
    }
    let digest = hex(&Sha256::digest(value.as_bytes())[..5]);
    let head: String = value.chars().take(50).collect();
    format!("{}-{digest}", head.trim_end_matches(['-', '.', '_']))
}

fn labels(owner: &Owner, task: &Task) -> BTreeMap<String, String> {
    let ours = [
        ("app.kubernetes.io/name", "pgreeve".to_owned()),
        ("app.kubernetes.io/instance", label_value(&owner.name)),
        ("app.kubernetes.io/component", "job".to_owned()),
        ("app.kubernetes.io/part-of", "pgreeve".to_owned()),
        ("app.kubernetes.io/managed-by", "pgreeve".to_owned()),
        (DATABASE, label_value(&task.database)),
        (POLICY, label_value(&owner.name)),
        (KIND, owner.kind.clone()),
    ];
    ours.map(|(name, value)| (name.to_owned(), value)).into()
}

fn owner_reference(owner: &Owner) -> OwnerReference {
    OwnerReference {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        // It would need the right to change the owner's finalizers, and an owner that goes need not wait for its Jobs.
        block_owner_deletion: None,
    }
}

/// A Pod that was evicted or preempted does not count as a failure; one that was refused for good is the last.
fn failure_policy() -> PodFailurePolicy {
    let disrupted = PodFailurePolicyOnPodConditionsPattern { type_: "DisruptionTarget".into(), status: Some("True".into()) };
    let refused = PodFailurePolicyOnExitCodesRequirement {
        container_name: Some(CONTAINER.into()),
        operator: "In".into(),
        values: vec![EXIT_FOR_GOOD],
    };
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule { action: "Ignore".into(), on_pod_conditions: Some(vec![disrupted]), on_exit_codes: None },
            PodFailurePolicyRule { action: "FailJob".into(), on_exit_codes: Some(refused), on_pod_conditions: None },
        ],
    }
}

fn pod_annotations(task: &Task) -> BTreeMap<String, String> {
    let annotations =
        [("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"), ("kubectl.kubernetes.io/default-container", CONTAINER)];
    let mut annotations: BTreeMap<_, _> = annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    if task.tools().is_some() {
        annotations.insert(mounts::PASSWD.into(), format!("pgreeve:x:{USER}:{USER}::/tmp:/sbin/nologin\n"));
    }
    annotations
}

fn pod(task: &Task, settings: &JobSettings, image: &Image) -> Result<PodSpec, Blocked> {
    let mounts::Mounts { mut volumes, mut mounts } = mounts::of(task);
    let foreign = foreign_image(task, settings, image);
    if foreign.is_some() {
        volumes.push(mounts::program_volume());
        mounts.push(mounts::program(true));
    }
    let container = Container {
        name: CONTAINER.into(),
        image: Some(foreign.clone().unwrap_or_else(|| image.name.clone())),
        // Tags of PostgreSQL's image move only within a major: what the node has is good.
        image_pull_policy: if foreign.is_some() { None } else { image.pull_policy.clone() },
        command: foreign.as_ref().map(|_| vec![format!("{}/pgreeve", mounts::PROGRAM)]),
        args: Some(vec!["job".into()]),
        env: Some(vec![EnvVar { name: TASK.into(), value: Some(text(task)?), value_from: None }]),
        resources: Some(resources(task, settings)),
        security_context: Some(container_security()),
        // Without a report, as of a program that was killed, the end of its log is better than nothing.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    let node_selector: BTreeMap<_, _> =
        settings.node_selector.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
    let pull_secrets: Vec<_> = image.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect();
    Ok(PodSpec {
        restart_policy: Some("Never".into()),
        service_account_name: settings.service_account_name.clone(),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
        node_selector: (!node_selector.is_empty()).then_some(node_selector),
        security_context: Some(pod_security()),
        volumes: Some(volumes),
        tolerations: (!settings.tolerations.is_empty()).then(|| settings.tolerations.iter().map(toleration).collect()),
        init_containers: foreign.map(|_| vec![copying(image)]),
        containers: vec![container],
        ..PodSpec::default()
    })
}

/// The image that the work is done in, where that is not ours.
fn foreign_image(task: &Task, settings: &JobSettings, image: &Image) -> Option<String> {
    let pattern = if image.postgres.is_empty() { POSTGRES } else { &image.postgres };
    settings.image.clone().or_else(|| task.tools().map(|major| pattern.replace("{major}", &major.to_string())))
}

/// Copies our program to where a foreign image finds it.
fn copying(image: &Image) -> Container {
    let few = |cpu: &str, memory: &str| -> BTreeMap<String, Quantity> {
        [("cpu".to_owned(), Quantity(cpu.into())), ("memory".to_owned(), Quantity(memory.into()))].into()
    };
    let requests = few("10m", "32Mi");
    let limits = [("memory".to_owned(), Quantity("64Mi".into()))].into();
    Container {
        name: "copy-pgreeve".into(),
        image: Some(image.name.clone()),
        image_pull_policy: image.pull_policy.clone(),
        args: Some(vec!["job".into(), "--install".into(), mounts::PROGRAM.into()]),
        resources: Some(ResourceRequirements { requests: Some(requests), limits: Some(limits), claims: None }),
        security_context: Some(container_security()),
        volume_mounts: Some(vec![mounts::program(false)]),
        ..Container::default()
    }
}

fn toleration(asked: &crate::api::job::Toleration) -> Toleration {
    Toleration {
        key: asked.key.clone(),
        operator: Some(if asked.value.is_some() { "Equal" } else { "Exists" }.into()),
        value: asked.value.clone(),
        effect: asked.effect.map(|effect| format!("{effect:?}")),
        toleration_seconds: None,
    }
}

fn text(task: &Task) -> Result<String, Blocked> {
    let invalid = |message: String| Blocked::new(Reason::InvalidSpec, message);
    let text = serde_json::to_string(task).map_err(|error| invalid(format!("the task cannot be written: {error}")))?;
    if text.len() > TASK_LIMIT {
        let message = format!(
            "{}: the task of {} is {} KiB long and a Pod can be told 100; shorten the spec",
            task.object,
            task.action.subject(),
            text.len() / 1024
        );
        return Err(invalid(message));
    }
    // Kubernetes replaces $(NAME) in values, and makes $ of $$ (core/v1 EnvVar.value).
    Ok(text.replace('$', "$$"))
}

fn resources(task: &Task, settings: &JobSettings) -> ResourceRequirements {
    let usual = if task.runs_server() { MEMORY_WITH_SERVER } else { MEMORY };
    let memory = Quantity(settings.memory.map_or_else(|| usual.to_owned(), |memory| memory.to_string()));
    let cpu = Quantity(settings.cpu.clone().unwrap_or_else(|| CPU.to_owned()));
    ResourceRequirements {
        requests: Some([("cpu".to_owned(), cpu), ("memory".to_owned(), memory.clone())].into()),
        limits: Some([("memory".to_owned(), memory)].into()),
        claims: None,
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // A volume with a million files is not gone through at each start.
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests;
