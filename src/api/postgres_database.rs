//! How is a database reached? PostgresDatabase: one database on a server that pgreeve does not own.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a type_ and a json_path of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span::{Span, SpanUnit};

/// One database, how to reach it, and how it is.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "pgreeve.dev",
    version = "v1alpha1",
    kind = "PostgresDatabase",
    plural = "postgresdatabases",
    shortname = "pgdb",
    category = "pgreeve",
    namespaced,
    status = "PostgresDatabaseStatus",
    derive = "PartialEq",
    doc = "One PostgreSQL database on a server that already runs: how to reach it, and how it is.",
    cel,
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.serverVersion"),
    printcolumn(name = "Database", type_ = "string", json_path = ".status.database"),
    printcolumn(name = "Role", type_ = "string", json_path = ".status.role"),
    printcolumn(name = "Policies", type_ = "integer", json_path = ".status.policies"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PostgresDatabaseSpec {
    /// How to reach the database.
    pub connection: Connection,
    /// What pgreeve may use of the server.
    #[serde(default)]
    pub limits: Limits,
    /// Extensions that must be installed; a missing one is created, with the latest version that the server offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub extensions: Vec<Extension>,
    /// A Secret with the same keys as the connection's, for a role that may create extensions. Only used for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_secret_ref: Option<SecretRef>,
    /// Stops all work on this database, that of its policies included, until it is false again.
    #[serde(default)]
    pub suspend: bool,
}

/// Where the server is and who logs in. What the Secret says and the spec says too, the spec decides.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The Secret with `uri`, or with `host`, `port`, `dbname`, `username` or `user`, and `password`: what CloudNativePG,
    /// Crunchy, Zalando and most RDS controllers write is understood as it is.
    pub secret_ref: SecretRef,
    /// Other names for the Secret's keys.
    #[serde(default)]
    pub keys: SecretKeys,
    /// Host name or address; overrides the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// TCP port; overrides the Secret. 5432 where neither says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Database name; overrides the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub database: Option<String>,
    /// How the server proves who it is.
    #[serde(default)]
    pub tls: Tls,
}

/// A Secret in the same namespace.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A key of a Secret in the same namespace.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[serde(default = "ca_crt")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_crt() -> String {
    "ca.crt".into()
}

/// Names of the Secret's keys where they are not the usual ones.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeys {
    /// Key of the whole connection URI; `uri` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub uri: Option<String>,
    /// Key of the host; `host` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// Key of the port; `port` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub port: Option<String>,
    /// Key of the database name; `dbname`, then `database` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub dbname: Option<String>,
    /// Key of the user; `username`, then `user` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username: Option<String>,
    /// Key of the password; `password` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub password: Option<String>,
}

/// How much of the server's identity is verified.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum TlsMode {
    /// The certificate must come from the CA and carry the host's name.
    #[default]
    VerifyFull,
    /// The certificate must come from the CA; its name is not looked at.
    VerifyCa,
    /// No TLS at all. Passwords and data can be read on the way: for loopback and tests.
    Disable,
}

/// TLS settings.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// What is verified.
    #[serde(default)]
    pub mode: TlsMode,
    /// The CA in PEM; without it the operator's system roots count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

/// What pgreeve may use of the server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Most connections at a time. One of them, at most, changes anything.
    #[serde(default = "Limits::connections")]
    #[schemars(range(min = 1, max = 100))]
    pub connections: i32,
    /// How long an action may keep trying to get its locks. Each try waits 50 ms at most, so that nobody queues behind it for longer.
    #[serde(default = "Limits::lock_timeout")]
    pub lock_timeout: Span,
    /// Longest that one statement may run.
    #[serde(default = "Limits::statement_timeout")]
    pub statement_timeout: Span,
}

impl Limits {
    fn connections() -> i32 {
        4
    }
    fn lock_timeout() -> Span {
        Span::new(2, SpanUnit::Second)
    }
    fn statement_timeout() -> Span {
        Span::new(10, SpanUnit::Minute)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Self::connections(),
            lock_timeout: Self::lock_timeout(),
            statement_timeout: Self::statement_timeout(),
        }
    }
}

/// An extension of the database.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Its name in `pg_available_extensions`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What was found on the server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PostgresDatabaseStatus {
    /// The generation of the spec that this status speaks of; written on failures too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled and Drifted.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Version of the server, such as `16.14`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Name of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The role that pgreeve logs in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether that role is a superuser, which pgreeve does not need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_superuser: Option<bool>,
    /// Whether the server is a standby or in recovery; such a server is read, never written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_recovery: Option<bool>,
    /// The server's system identifier, where the role may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// How many policies of this namespace work on this database.
    #[serde(default)]
    pub policies: i32,
    /// The last value of the annotation `pgreeve.dev/requestedAt` that a pass has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
