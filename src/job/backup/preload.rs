//! Which libraries must a server have loaded when it starts, so that the extensions of a backup can be made on it?

use std::path::Path;

use tokio::io::AsyncWriteExt as _;

use super::child;
use super::tools::Tools;
use crate::plan::action::Blocked;
use crate::plan::backup::Manifest;
use crate::sql::quote::literal;

/// Extensions that refuse what a dump holds of them unless their library, which has their name, was loaded at the start. Citus wants to be the
/// first.
const KNOWN: [&str; 14] = [
    "citus",
    "timescaledb",
    "pgaudit",
    "pg_cron",
    "pglogical",
    "pg_net",
    "pg_qualstats",
    "pg_squeeze",
    "pg_stat_kcache",
    "pg_stat_statements",
    "pg_tle",
    "pg_wait_sampling",
    "pgsodium",
    "set_user",
];

/// Without which one lacks another.
const BELOW: [(&str, &str); 1] = [("pg_stat_kcache", "pg_stat_statements")];

/// Those of the manifest that are known to need it.
pub fn wanted(manifest: &Manifest) -> Vec<&'static str> {
    let has = |name: &str| manifest.holds_extensions() && manifest.extensions.iter().any(|extension| extension.name == name);
    let is_below = |name: &str| BELOW.iter().any(|(above, below)| *below == name && has(above));
    let mut wanted: Vec<&str> = KNOWN.into_iter().filter(|name| has(name) && !is_below(name)).collect();
    // What is above another one comes after it.
    for (above, below) in BELOW {
        if let Some(at) = wanted.iter().position(|name| *name == above) {
            wanted.insert(at, below);
        }
    }
    wanted
}

/// Settings of a server that has these libraries. Workers of theirs would run jobs that were dumped, and reach other servers: there are none.
pub fn settings(libraries: &[&str], database: &str) -> Vec<String> {
    if libraries.is_empty() {
        return vec![];
    }
    let mut settings = vec![format!("shared_preload_libraries={}", libraries.join(",")), "max_worker_processes=0".into()];
    settings.extend(libraries.contains(&"pg_cron").then(|| format!("cron.database_name={database}")));
    settings
}

/// Which of the wanted ones the server has: only it knows where it looks for libraries. It is asked in single-user mode, since it is not to run yet.
///
/// # Errors
/// What it said.
pub async fn found(
    tools: &Tools,
    (data, directory): (&Path, &Path),
    wanted: Vec<&'static str>,
    prepare: impl FnOnce(&mut tokio::process::Command) -> Result<(), Blocked>,
) -> Result<Vec<&'static str>, Blocked> {
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let answer = directory.join("libraries");
    let mut postgres = tools.program("postgres");
    postgres.arg("--single").arg("-D").arg(data).arg("template1").stdin(std::process::Stdio::piped());
    prepare(&mut postgres)?;
    let mut running = child::start("postgres", &mut postgres)?;
    if let Some(mut stdin) = running.child.stdin.take() {
        let question = "COPY (SELECT setting FROM pg_catalog.pg_config WHERE name = 'PKGLIBDIR') TO";
        // Where it does not listen, its end says why.
        drop(stdin.write_all(format!("{question} {}\n", literal(&answer.display().to_string())).as_bytes()).await);
    }
    running.end().await.map_err(|ended| ended.blocked)?;
    let libraries = tokio::fs::read_to_string(&answer).await.unwrap_or_default();
    let libraries = Path::new(libraries.trim());
    let is_here = |name: &&str| ["so", "dylib"].iter().any(|kind| libraries.join(name).with_extension(kind).is_file());
    Ok(wanted.into_iter().filter(is_here).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_them_is_started_as_ever_and_one_with_them_runs_nothing_by_itself() {
        assert_eq!(settings(&[], "restored"), [""; 0]);
        let expected = ["shared_preload_libraries=pgaudit,pg_cron", "max_worker_processes=0", "cron.database_name=restored"];
        assert_eq!(settings(&["pgaudit", "pg_cron"], "restored"), expected);
    }
}
