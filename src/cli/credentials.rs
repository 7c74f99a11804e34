//! What opens an object store or a volume here? The environment and files, under the names that their own tools use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

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

impl StorageArgs {
    /// What opens this destination.
    ///
    /// # Errors
    /// What lacks, and how to give it.
    pub fn credentials(&self, destination: &Destination) -> Result<Credentials, Blocked> {
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
    let read = |path: &Path| std::fs::read(path).map_err(|error| invalid(format!("{} cannot be read: {error}", path.display())));
    let given =
        VARIABLES.iter().filter_map(|(variable, key)| Some(((*key).to_owned(), std::env::var(variable).ok()?.into_bytes())));
    let mut secret: BTreeMap<String, Vec<u8>> = given.filter(|(_, value)| !value.is_empty()).collect();
    if let Some(path) = std::env::var_os(GOOGLE) {
        secret.insert("key.json".into(), read(Path::new(&path))?);
    }
    Ok(Credentials { secret, ca: ca.map(read).transpose()?, ..Credentials::default() })
}

fn invalid(message: String) -> Blocked {
    Blocked::new(Reason::DestinationInvalid, message)
}
