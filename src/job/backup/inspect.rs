//! What would be restored, and can it be? The manifest is read and its checksum taken, and the server is asked for the roles and extensions
//! that it names.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::Access;
use super::verify;
use crate::api::Reason;
use crate::api::backup::{DumpFormat, Tables, What};
use crate::api::condition::shorten;
use crate::api::restore::Like;
use crate::plan::action::Blocked;
use crate::plan::backup::{InspectBackup, Manifest, manifest, partial};
use crate::plan::hex;
use crate::postgres::{Session, databases, server};
use crate::storage::Store;

/// What of a backup its restore is decided by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// URL of the manifest.
    pub url: String,
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// Major version of its server.
    pub major: i32,
    /// The age recipients that it is encrypted for; whoever reads it needs the identity of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// When the snapshot was taken.
    pub snapshot_at: jiff::Timestamp,
    /// Size of the database on its server's disk in bytes.
    pub bytes: i64,
    /// Tables and their rows.
    pub tables: Tables,
    /// How the database was made.
    pub like: Like,
    /// What it was told not to hold of the database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// What else it does not hold although the database did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
}

/// Names in a message.
const LISTED: usize = 10;

/// Reads a manifest and looks at the server.
///
/// # Errors
/// What the backup, the server or the store lacks.
pub async fn run(task: &InspectBackup, access: &Access) -> Result<Inspected, Blocked> {
    let store = Store::open(&task.stored.destination, &access.storage)?;
    let (manifest, content) = verify::manifest(&store, &task.stored.directory).await?;
    restorable(&manifest)?;
    let target = access.target()?;
    let session = databases::maintenance(target, &task.database).await;
    let session = session.map_err(|fault| crate::pass::blocked(&target.to_string(), &fault))?;
    fits(&session, &manifest).await?;
    let properties = manifest.database.properties.clone();
    let here = databases::tablespaces(&session).await;
    let here = here.map_err(|fault| crate::pass::blocked("looking at the server", &fault))?;
    Ok(Inspected {
        url: store.url(&format!("{}/{}", task.stored.directory, manifest::NAME)),
        manifest: checksum(&content),
        major: manifest.major(),
        recipients: manifest.data.recipients.clone(),
        snapshot_at: manifest.snapshot.at,
        bytes: manifest.database.bytes,
        tables: Tables { count: i32::try_from(manifest.tables.len()).unwrap_or(i32::MAX), rows: manifest.rows() },
        like: Like {
            owner: properties.owner,
            encoding: properties.encoding,
            collate: properties.collate,
            ctype: properties.ctype,
            provider: properties.provider,
            locale: properties.locale,
            icu_rules: properties.icu_rules,
            tablespace: properties.tablespace.filter(|wanted| here.contains(wanted)),
        },
        lacks: briefly(&partial::lacks(&manifest.content)),
        omitted: briefly(&manifest.omitted),
    })
}

/// A report has little room.
fn briefly(lines: &[String]) -> Vec<String> {
    lines.iter().take(6).map(|line| shorten(line, 200)).collect()
}

/// SHA-256 in hexadecimal.
pub fn checksum(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Whether it is a backup that becomes a database.
fn restorable(manifest: &Manifest) -> Result<(), Blocked> {
    let refused = |message: String| Err(Blocked::new(Reason::Unsupported, message));
    if manifest.format == DumpFormat::Plain {
        return refused("a plain dump is a script, which pgreeve does not run: take it to psql yourself, or restore a backup of format Custom or Directory".into());
    }
    if manifest.content.what == What::DataOnly {
        return refused(
            "the backup holds rows without their tables, and cannot become a database of its own: use pg_restore --data-only"
                .into(),
        );
    }
    Ok(())
}

/// Whether the server has what the backup names.
async fn fits(session: &Session, manifest: &Manifest) -> Result<(), Blocked> {
    let refused = |error: tokio_postgres::Error| crate::pass::blocked("looking at the server", &error.into());
    let found = server::observe(session).await.map_err(|fault| crate::pass::blocked("looking at the server", &fault))?;
    if manifest.major() > found.version_num / 10_000 {
        let message = format!(
            "the backup is of PostgreSQL {} and the server is {}: a newer dump is not restored into an older server",
            manifest.database.server_version, found.version
        );
        return Err(Blocked::new(Reason::Unsupported, message));
    }
    let lacking = "SELECT wanted FROM pg_catalog.unnest($1::pg_catalog.text[]) wanted WHERE wanted NOT IN (SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles) ORDER BY 1";
    let mut roles = manifest.roles.clone();
    roles.push(manifest.database.properties.owner.clone());
    let lacking: Vec<String> =
        session.client().query(lacking, &[&roles]).await.map_err(refused)?.iter().map(|row| row.get(0)).collect();
    if !lacking.is_empty() {
        let message = format!("the backup names roles that this server lacks: {}; create them", listed(&lacking));
        return Err(Blocked::new(Reason::RoleMissing, message));
    }
    may_own(session, &manifest.database.properties.owner, found.version_num).await?;
    let lacking = "SELECT wanted FROM pg_catalog.unnest($1::pg_catalog.text[]) wanted WHERE wanted NOT IN (SELECT name::pg_catalog.text FROM pg_catalog.pg_available_extensions) ORDER BY 1";
    let extensions: Vec<&str> = manifest.extensions.iter().map(|extension| extension.name.as_str()).collect();
    let lacking: Vec<String> =
        session.client().query(lacking, &[&extensions]).await.map_err(refused)?.iter().map(|row| row.get(0)).collect();
    if !lacking.is_empty() && manifest.holds_extensions() {
        let message = format!("the backup has extensions that this server lacks: {}; install their packages", listed(&lacking));
        return Err(Blocked::new(Reason::ExtensionMissing, message));
    }
    Ok(())
}

/// Whether our role may make a database of this owner. Since 16 a member may not always act as the role (PostgreSQL, GRANT, SET).
async fn may_own(session: &Session, owner: &str, version_num: i32) -> Result<(), Blocked> {
    let how = if version_num < 160_000 { "MEMBER" } else { "SET" };
    let query =
        "SELECT current_user::pg_catalog.text, pg_catalog.pg_has_role($1::pg_catalog.text::pg_catalog.name, $2::pg_catalog.text)";
    let row = session.client().query_one(query, &[&owner, &how]).await;
    let row = row.map_err(|error| crate::pass::blocked("looking at the server", &error.into()))?;
    if row.get(1) {
        return Ok(());
    }
    let role: String = row.get(0);
    let message = format!(
        "the database of the backup belongs to {owner}, and role {role} may not act as that one: run GRANT {owner} TO {role}, or name the Secret of a role that may in adminSecretRef of the PostgresDatabase"
    );
    Err(Blocked::new(Reason::MissingPrivilege, message))
}

fn listed(names: &[String]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.dedup();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}
