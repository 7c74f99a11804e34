//! Where does a PostgresDatabase lead? Its connection and the Secrets that it names, read from the cluster when they are needed.
//!
//! The operator and the command line ask here, so that both connect to the same server as the same role.

use std::collections::BTreeMap;

use kube::Client;

use crate::api::postgres_database::{Connection, Limits, SecretRef, TlsMode};
use crate::api::span::Span;
use crate::api::{PostgresDatabase, Reason};
use crate::cluster::secrets;
use crate::plan::action::Blocked;
use crate::plan::connection::{Endpoint, endpoint, qualified};
use crate::postgres::connect::{Password, Target, Tls};
use crate::postgres::execute::Budget;

/// Where a PostgresDatabase leads, with its present credentials.
///
/// # Errors
/// What lacks in its Secrets.
pub async fn of(client: &Client, database: &PostgresDatabase, namespace: &str, name: &str) -> Result<Target, Blocked> {
    of_connection(client, &database.spec.connection, namespace, name).await
}

/// The same, logging in with the credentials of another Secret.
///
/// # Errors
/// What lacks in its Secrets.
pub async fn of_admin(
    client: &Client,
    database: &PostgresDatabase,
    namespace: &str,
    name: &str,
    admin: &SecretRef,
) -> Result<Target, Blocked> {
    let connection = admin_connection(client, &database.spec.connection, namespace, name, admin).await?;
    of_connection(client, &connection, namespace, name).await
}

/// How the admin connects: where the admin's Secret says nothing of the server, it is the same server and database.
///
/// # Errors
/// What lacks in the Secrets.
pub async fn admin_connection(
    client: &Client,
    connection: &Connection,
    namespace: &str,
    name: &str,
    admin: &SecretRef,
) -> Result<Connection, Blocked> {
    let ours = of_connection(client, connection, namespace, name).await?;
    Ok(Connection {
        secret_ref: admin.clone(),
        host: Some(ours.host),
        port: Some(ours.port.into()),
        database: Some(ours.database),
        ..connection.clone()
    })
}

async fn of_connection(client: &Client, connection: &Connection, namespace: &str, name: &str) -> Result<Target, Blocked> {
    let object = format!("PostgresDatabase {name}");
    let secret = secrets::data(client, &object, namespace, &connection.secret_ref.name).await?;
    let ca = match &connection.tls.ca_secret_ref {
        None => BTreeMap::new(),
        Some(reference) => secrets::data(client, &object, namespace, &reference.name).await?,
    };
    resolve(&object, connection, namespace, &secret, ca)
}

/// Where a connection leads, by the data of its Secret and of its CA's: the operator has them from the API server, a Job from files.
///
/// # Errors
/// What lacks in them.
pub fn resolve(
    object: &str,
    connection: &Connection,
    namespace: &str,
    secret: &BTreeMap<String, Vec<u8>>,
    mut ca: BTreeMap<String, Vec<u8>>,
) -> Result<Target, Blocked> {
    let Endpoint { host, port, database, user, password } = endpoint(object, connection, secret)?;
    let ca = match &connection.tls.ca_secret_ref {
        None => None,
        Some(reference) => Some(ca.remove(&reference.key).ok_or_else(|| {
            let message = format!(
                "{object}: Secret {} has no key {}; correct spec.connection.tls.caSecretRef",
                reference.name, reference.key
            );
            Blocked::new(Reason::SecretInvalid, message)
        })?),
    };
    let tls = match connection.tls.mode {
        TlsMode::VerifyFull => Tls::VerifyFull { ca },
        TlsMode::VerifyCa => Tls::VerifyCa { ca },
        TlsMode::Disable => Tls::Disable,
    };
    let host = qualified(&host, namespace);
    Ok(Target { host, port, database, user, password: password.map(Password::new), tls })
}

/// What scripts may use of a database with these limits.
///
/// # Errors
/// [`Reason::InvalidSpec`] where a limit has no fixed length.
pub fn budget(limits: &Limits) -> Result<Budget, Blocked> {
    let read = |field: &str, span: Span| {
        span.to_std().map_err(|error| Blocked::new(Reason::InvalidSpec, format!("spec.limits.{field}: {error}")))
    };
    Ok(Budget {
        locks: read("lockTimeout", limits.lock_timeout)?,
        statement: read("statementTimeout", limits.statement_timeout)?,
    })
}
