//! Which object stores can be opened from here? Those whose keys lie in a Secret. A volume, or a store that only a Job's service account
//! opens, needs a Job.

use std::time::Duration;

use kube::Client;

use crate::api::postgres_database::SecretKeyRef;
use crate::api::{Destination, Reason};
use crate::cluster::secrets;
use crate::plan::action::Blocked;
use crate::storage::{Credentials, Store};

/// How long a request is tried again: a pass is short, and comes again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the store of a destination, with what its Secrets hold now. `None` where only a Job can reach it. `object` is who asks, such as
/// `Backup nightly-1`.
///
/// # Errors
/// What lacks in its Secrets, or is wrong with the destination.
pub async fn open(client: &Client, namespace: &str, object: &str, destination: &Destination) -> Result<Option<Store>, Blocked> {
    let Some((secret, keys)) = destination.credentials() else { return Ok(None) };
    let mut data = secrets::data(client, object, namespace, &secret.name).await?;
    data.retain(|key, _| keys.contains(&key.as_str()));
    let ca = match destination.ca() {
        None => None,
        Some(reference) => Some(authority(client, namespace, object, reference).await?),
    };
    let credentials = Credentials { secret: data, ca, patience: PATIENCE, ..Credentials::default() };
    Store::open(destination, &credentials).map(Some)
}

async fn authority(client: &Client, namespace: &str, object: &str, reference: &SecretKeyRef) -> Result<Vec<u8>, Blocked> {
    let SecretKeyRef { name, key } = reference;
    let mut data = secrets::data(client, object, namespace, name).await?;
    data.remove(key).ok_or_else(|| {
        Blocked::new(Reason::SecretInvalid, format!("{object}: Secret {name} has no key {key}; correct caSecretRef"))
    })
}
