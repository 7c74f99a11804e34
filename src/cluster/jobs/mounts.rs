//! What does a Job's Pod find in its file system? The keys of Secrets that it needs, a volume where objects go to one, and /tmp.

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource, EphemeralVolumeSource, KeyToPath, ObjectFieldSelector,
    PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate, PersistentVolumeClaimVolumeSource, ProjectedVolumeSource,
    SecretProjection, Volume, VolumeMount, VolumeProjection, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::job::{Ephemeral, Scratch};
use crate::api::postgres_database::{SecretKeyRef, SecretRef};
use crate::plan::connection::secret_keys;
use crate::plan::task::Task;

/// Where Secrets are: a directory each, a file for each key.
pub const SECRETS: &str = "/var/run/pgreeve/secrets";
/// The directory of the connection's Secret.
pub const CONNECTION: &str = "connection";
/// The directory of the Secret with the server's CA.
pub const CA: &str = "ca";
/// The directory of the Secret that opens the object store.
pub const STORE: &str = "store";
/// The directory of the Secret with the object store's CA.
pub const STORE_CA: &str = "store-ca";
/// The directory of the Secret with the age recipients of a backup.
pub const RECIPIENTS: &str = "recipients";
/// The directory of the Secret with the age identity of a backup.
pub const IDENTITY: &str = "identity";
/// Where there is room.
pub const SCRATCH: &str = "/var/run/pgreeve/scratch";
/// Where our program is, in an image that is not ours.
pub const PROGRAM: &str = "/var/run/pgreeve/bin";
/// Annotation with the user that the Pod runs as, for programs that look themselves up (initdb).
pub const PASSWD: &str = "pgreeve.dev/passwd";
/// Where the volume of a destination is.
pub const VOLUME: &str = "/var/run/pgreeve/volume";
/// Where Kubernetes looks for the report (core/v1 Container.terminationMessagePath).
pub const REPORT: &str = "/dev/termination-log";

/// Readable for the group, which is the Pod's.
const READABLE: i32 = 0o440;

/// Volumes and where they are.
pub struct Mounts {
    /// Of the Pod.
    pub volumes: Vec<Volume>,
    /// Of its container.
    pub mounts: Vec<VolumeMount>,
}

/// What a task needs.
pub fn of(task: &Task) -> Mounts {
    let secrets = ProjectedVolumeSource { sources: Some(sources(task)), default_mode: Some(READABLE), ..Default::default() };
    let mut found = Mounts { volumes: vec![], mounts: vec![] };
    found.add("secrets", SECRETS, true, Volume { projected: Some(secrets), ..Volume::default() });
    found.add("tmp", "/tmp", false, Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() });
    if let Some(pvc) = task.destination().and_then(|destination| destination.pvc.as_ref()) {
        let claim = PersistentVolumeClaimVolumeSource { claim_name: pvc.claim_name.clone(), read_only: None };
        found.add("volume", VOLUME, false, Volume { persistent_volume_claim: Some(claim), ..Volume::default() });
    }
    if task.tools().is_some() {
        found.add("scratch", SCRATCH, false, scratch(task.scratch()));
        found.add_passwd();
    }
    found
}

/// Our program's place in an image that is not ours, where it is copied and where it is run.
pub fn program(read_only: bool) -> VolumeMount {
    VolumeMount {
        name: "program".into(),
        mount_path: PROGRAM.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// See [`program`].
pub fn program_volume() -> Volume {
    Volume { name: "program".into(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

fn scratch(asked: Option<&Scratch>) -> Volume {
    match asked {
        Some(Scratch { pvc: Some(pvc), .. }) => {
            let claim = PersistentVolumeClaimVolumeSource { claim_name: pvc.claim_name.clone(), read_only: None };
            Volume { persistent_volume_claim: Some(claim), ..Volume::default() }
        }
        Some(Scratch { ephemeral: Some(Ephemeral { size, storage_class_name }), .. }) => {
            let requests = [("storage".to_owned(), Quantity(size.to_string()))].into();
            let spec = PersistentVolumeClaimSpec {
                access_modes: Some(vec!["ReadWriteOnce".into()]),
                storage_class_name: storage_class_name.clone(),
                resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
                ..PersistentVolumeClaimSpec::default()
            };
            let template = PersistentVolumeClaimTemplate { metadata: None, spec };
            Volume { ephemeral: Some(EphemeralVolumeSource { volume_claim_template: Some(template) }), ..Volume::default() }
        }
        _ => Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
    }
}

impl Mounts {
    fn add(&mut self, name: &str, path: &str, read_only: bool, volume: Volume) {
        self.volumes.push(Volume { name: name.into(), ..volume });
        self.mounts.push(VolumeMount {
            name: name.into(),
            mount_path: path.into(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        });
    }

    /// The Pod's user has a name: `initdb` refuses one that it cannot look up, and which users an image knows is its own affair.
    fn add_passwd(&mut self) {
        let annotation = ObjectFieldSelector { field_path: format!("metadata.annotations['{PASSWD}']"), api_version: None };
        let file =
            DownwardAPIVolumeFile { path: "passwd".into(), field_ref: Some(annotation), ..DownwardAPIVolumeFile::default() };
        let volume = DownwardAPIVolumeSource { items: Some(vec![file]), ..DownwardAPIVolumeSource::default() };
        self.add("passwd", "/etc/passwd", true, Volume { downward_api: Some(volume), ..Volume::default() });
        if let Some(mount) = self.mounts.last_mut() {
            mount.sub_path = Some("passwd".into());
        }
    }
}

fn sources(task: &Task) -> Vec<VolumeProjection> {
    let mut sources = Vec::new();
    if let Some(connection) = task.connection.as_ref().filter(|_| task.needs_database()) {
        sources.push(source(CONNECTION, &connection.secret_ref.name, secret_keys(&connection.keys)));
        if let Some(SecretKeyRef { name, key }) = &connection.tls.ca_secret_ref {
            sources.push(source(CA, name, [key.as_str()]));
        }
    }
    if let Some(SecretRef { name }) = task.recipients() {
        sources.push(source(RECIPIENTS, name, ["recipients"]));
    }
    if let Some(SecretRef { name }) = task.identity() {
        sources.push(source(IDENTITY, name, ["identity"]));
    }
    let Some(destination) = task.destination() else { return sources };
    if let Some((SecretRef { name }, keys)) = destination.credentials() {
        sources.push(source(STORE, name, keys.iter().copied()));
    }
    if let Some(SecretKeyRef { name, key }) = destination.ca() {
        sources.push(source(STORE_CA, name, [key.as_str()]));
    }
    sources
}

/// These keys of a Secret, as files of a directory. A Secret or a key that lacks is no reason for Kubernetes to wait with the Pod: the Job
/// itself says what lacks, as the operator does.
fn source<'a>(directory: &str, secret: &str, keys: impl IntoIterator<Item = &'a str>) -> VolumeProjection {
    let item = |key: &str| KeyToPath { key: key.into(), path: format!("{directory}/{key}"), ..KeyToPath::default() };
    let items = keys.into_iter().map(item).collect();
    let secret = SecretProjection { name: secret.into(), items: Some(items), optional: Some(true) };
    VolumeProjection { secret: Some(secret), ..VolumeProjection::default() }
}
