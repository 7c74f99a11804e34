//! What opens an object store or a volume here? The Secrets that the destination names, where a cluster is at hand; otherwise the environment
//! and files, under the names that stores' own tools use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::kubernetes::Cluster;
use crate::api::{Destination, Reason};
use crate::plan::action::Blocked;
use crate::storage::Credentials;

/// The environment's names and those under which a Secret has the same.
const VARIABLES: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
    ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_SESSION_TOKEN", "AWS_SESSION_TOKEN"),
    ("AZURE_STORAGE_ACCOUNT_KEY", "accountKey"),
    ("AZURE_STORAGE_SAS_TOKEN", "sasToken"),
];

/// Where the environment names a file with a key.
const GOOGLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// What opens the destination of an export; its keys come from the environment.
#[derive(Args, Clone, Debug)]
pub struct StorageArgs {
    /// File with the certificate authority of an object store that has a private one
    #[arg(long, value_name = "FILE")]
    pub store_ca_file: Option<PathBuf>,
    /// Directory that stands for the volume of a pvc destination
    #[arg(long, value_name = "DIRECTORY")]
    pub volume: Option<PathBuf>,
}

/// What opens destinations here.
pub struct Keys<'a> {
    args: &'a StorageArgs,
    /// The cluster that tells how to reach the database, and the namespace of its Secrets.
    cluster: Option<(&'a Cluster, &'a str)>,
}

impl<'a> Keys<'a> {
    /// Nothing is asked yet.
    pub fn new(args: &'a StorageArgs, cluster: Option<&'a Cluster>, namespace: &'a str) -> Self {
        Self { args, cluster: cluster.map(|cluster| (cluster, namespace)) }
    }

    /// What opens this destination: what a Job would be given, as far as a cluster is at hand.
    ///
    /// # Errors
    /// What lacks, and how to give it.
    pub async fn credentials(&self, destination: &Destination) -> Result<Credentials, Blocked> {
        let Some((cluster, namespace)) = self.cluster else { return self.args.credentials(destination) };
        let mut found = match destination.credentials() {
            None => self.args.credentials(destination)?,
            Some((secret, keys)) => {
                let mut secret = cluster.secret(&destination.to_string(), namespace, &secret.name).await?;
                secret.retain(|key, _| keys.contains(&key.as_str()));
                Credentials { secret, ca: self.args.ca()?, ..Credentials::default() }
            }
        };
        if let (None, Some(ca)) = (&found.ca, destination.ca()) {
            let mut secret = cluster.secret(&destination.to_string(), namespace, &ca.name).await?;
            let lacks = || {
                let message = format!(
                    "{destination}: Secret {} has no key {}; add the certificate, or correct caSecretRef",
                    ca.name, ca.key
                );
                Blocked::new(Reason::SecretInvalid, message)
            };
            found.ca = Some(secret.remove(&ca.key).ok_or_else(lacks)?);
        }
        Ok(found)
    }
}

impl StorageArgs {
    fn ca(&self) -> Result<Option<Vec<u8>>, Blocked> {
        self.store_ca_file.as_deref().map(read).transpose()
    }

    /// What opens this destination, by the environment and files.
    fn credentials(&self, destination: &Destination) -> Result<Credentials, Blocked> {
        let mut found = of_environment(self.store_ca_file.as_deref())?;
        let (is_ours, needed): (fn(&str) -> bool, &str) = match destination {
            Destination { s3: Some(_), .. } => (|key| key.starts_with("AWS_"), "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            Destination { gcs: Some(_), .. } => (|key| key == "key.json", GOOGLE),
            Destination { azure: Some(_), .. } => {
                (|key| key == "accountKey" || key == "sasToken", "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN")
            }
            _ => (|_| false, ""),
        };
        found.secret.retain(|key, _| is_ours(key));
        if let Some((secret, _)) = destination.credentials().filter(|_| found.secret.is_empty()) {
            let message = format!(
                "{destination} is opened with what the environment holds here, not with Secret {}: set {needed}",
                secret.name
            );
            return Err(invalid(message));
        }
        match (&destination.pvc, &self.volume) {
            (Some(_), None) => Err(invalid(format!(
                "{destination} is a volume of the cluster: name the directory that stands for it with --volume"
            ))),
            (Some(_), Some(volume)) => Ok(Credentials { volume: volume.clone(), ..found }),
            (None, _) => Ok(found),
        }
    }
}

/// What the environment holds, under the names that a Secret has for it.
///
/// # Errors
/// If a file cannot be read.
pub fn of_environment(ca: Option<&Path>) -> Result<Credentials, Blocked> {
    let given =
        VARIABLES.iter().filter_map(|(variable, key)| Some(((*key).to_owned(), std::env::var(variable).ok()?.into_bytes())));
    let mut secret: BTreeMap<String, Vec<u8>> = given.filter(|(_, value)| !value.is_empty()).collect();
    if let Some(path) = std::env::var_os(GOOGLE) {
        secret.insert("key.json".into(), read(Path::new(&path))?);
    }
    Ok(Credentials { secret, ca: ca.map(read).transpose()?, ..Credentials::default() })
}

fn read(path: &Path) -> Result<Vec<u8>, Blocked> {
    std::fs::read(path).map_err(|error| invalid(format!("{} cannot be read: {error}", path.display())))
}

fn invalid(message: String) -> Blocked {
    Blocked::new(Reason::DestinationInvalid, message)
}
