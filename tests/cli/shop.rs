//! What do the commands that need a database work on? A shop's events by month, with a month missing and none to come.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::program::{Ran, pgreeve, run};
use crate::support::postgres::{Database, Roles, Server};

/// The moment of every plan here.
pub const NOW: &str = "2026-11-15";

/// A database with its policies.
pub struct Shop {
    pub database: Database,
    pub roles: Roles,
    directory: tempfile::TempDir,
}

impl Shop {
    /// On the shared server of this major.
    pub async fn open(major: u32) -> Self {
        Self::furnish(Database::create(major).await).await
    }

    /// On a server of one's own.
    pub async fn on(server: Arc<Server>) -> Self {
        Self::furnish(Database::on(server).await).await
    }

    async fn furnish(database: Database) -> Self {
        let roles = database.roles().await;
        let sql = format!(
            "set role {owner};
             create table events (id bigint, created_at timestamptz not null) partition by range (created_at);
             create table events_y2026m09 partition of events for values from ('2026-09-01 00:00+00') to ('2026-10-01 00:00+00');
             create table events_y2026m11 partition of events for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00')",
            owner = roles.owner
        );
        database.superuser().await.batch_execute(&sql).await.unwrap();
        let shop = Self { database, roles, directory: tempfile::tempdir().unwrap() };
        shop.write("events.yaml", &policy("events", ""));
        shop
    }

    /// Writes a file beside the others.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A command on all files, at the usual moment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pgreeve(arguments);
        command.args(["-f", &self.path().display().to_string(), "--database-url-env", "URL", "--as-of", NOW]);
        command.env("URL", self.database.url(&self.roles.operator));
        command
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments))
    }

    /// The fingerprints of the plans that have changes.
    pub fn fingerprints(&self) -> Vec<String> {
        let ran = self.run(&["plan", "-o", "json"]);
        let view: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let policies = view["policies"].as_array().unwrap().iter();
        let pending = policies.filter(|policy| !policy["actions"].as_array().unwrap().is_empty());
        pending.map(|policy| policy["fingerprint"].as_str().unwrap().to_owned()).collect()
    }

    /// The names of the partitions of `events`.
    pub async fn partitions(&self) -> Vec<String> {
        let query = "select relname::text from pg_inherits join pg_class on oid = inhrelid where inhparent = 'events'::regclass order by 1";
        self.database.superuser().await.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    pub async fn execute(&self, sql: &str) {
        self.database.superuser().await.batch_execute(sql).await.unwrap();
    }
}

/// A policy of monthly partitions for a table, with more lines of its spec.
pub fn policy(table: &str, more: &str) -> String {
    format!(
        "apiVersion: pgreeve.dev/v1alpha1\nkind: PartitionPolicy\nmetadata: {{namespace: shop, name: {table}}}\nspec:\n  databaseRef: {{name: orders-db}}\n  table: {{name: {table}}}\n  key: {{column: created_at}}\n  interval: 1 month\n  create: {{ahead: 2}}\n{more}"
    )
}

/// The text without what differs between runs and servers.
pub fn stable(text: &str, shop: &Shop) -> String {
    let version = regex::Regex::new(r"(PostgreSQL |serverVersion.{1,4}?)(\d+)\.\d+").unwrap();
    let fingerprint = regex::Regex::new(r"\b[0-9a-f]{16}\b").unwrap();
    let short = regex::Regex::new(r"\b(Plan|apply) [0-9a-f]{4,}\b").unwrap();
    let text = text.replace(&shop.path().display().to_string(), "POLICIES").replace(&shop.database.name, "db");
    let oid = regex::Regex::new(r#"("oid"|oid):( ?)\d+"#).unwrap();
    let text = oid.replace_all(&text, "$1:${2}OID");
    let text = fingerprint.replace_all(&text, "FINGERPRINT");
    let text = short.replace_all(&text, "$1 FING");
    version.replace_all(&text, "$1$2.x").into_owned()
}
