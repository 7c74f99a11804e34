//! What does a Secret say? Read by name when it is needed; never listed, never watched, never kept longer than a session.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::objects::unavailable;
use crate::api::Reason;
use crate::plan::action::Blocked;

/// The data of a Secret in this namespace.
///
/// # Errors
/// [`Reason::SecretNotFound`] if it does not exist or may not be read, naming it and `object`, which refers to it.
pub async fn data(client: &Client, object: &str, namespace: &str, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Blocked> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(secret)) => Ok(secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect()),
        Ok(None) => Err(Blocked::new(
            Reason::SecretNotFound,
            format!("{object}: Secret {name} does not exist in namespace {namespace}; create it or correct its name in the spec"),
        )),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Err(Blocked::new(
            Reason::SecretNotFound,
            format!(
                "{object}: Secret {name} may not be read with this account; let its Role get Secrets in namespace {namespace}"
            ),
        )),
        Err(error) => Err(unavailable(&format!("{object}: Secret {name}"), &error)),
    }
}
