//! What does a Job's Pod find in its file system? The keys of Secrets that it needs, a volume where objects go to one, and /tmp.

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, ProjectedVolumeSource, SecretProjection, Volume,
    VolumeMount, VolumeProjection,
};

use crate::api::Destination;
use crate::api::postgres_database::{Connection, SecretKeyRef, SecretRef};
use crate::plan::connection::secret_keys;

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

/// What is needed to reach a database and a destination.
pub fn of(connection: &Connection, destination: Option<&Destination>) -> Mounts {
    let secrets = ProjectedVolumeSource {
        sources: Some(sources(connection, destination)),
        default_mode: Some(READABLE),
        ..Default::default()
    };
    let mut found = Mounts { volumes: vec![], mounts: vec![] };
    found.add("secrets", SECRETS, true, Volume { projected: Some(secrets), ..Volume::default() });
    found.add("tmp", "/tmp", false, Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() });
    if let Some(pvc) = destination.and_then(|destination| destination.pvc.as_ref()) {
        let claim = PersistentVolumeClaimVolumeSource { claim_name: pvc.claim_name.clone(), read_only: None };
        found.add("volume", VOLUME, false, Volume { persistent_volume_claim: Some(claim), ..Volume::default() });
    }
    found
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
}

fn sources(connection: &Connection, destination: Option<&Destination>) -> Vec<VolumeProjection> {
    let mut sources = vec![source(CONNECTION, &connection.secret_ref.name, secret_keys(&connection.keys))];
    if let Some(SecretKeyRef { name, key }) = &connection.tls.ca_secret_ref {
        sources.push(source(CA, name, [key.as_str()]));
    }
    let Some(destination) = destination else { return sources };
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
