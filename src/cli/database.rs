//! Which database is meant, and how is it reached? A URL from the environment or a file; never from a flag, where others could read it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use url::Url;

use super::Globals;
use super::exit::{Exit, Failure};
use crate::plan::connection::parse_uri;
use crate::postgres::connect::{Password, Session, Target, Tls};
use crate::postgres::{Fault, pooler};

/// The variable that is read where neither option is given.
const USUAL: &str = "PGREEVE_DATABASE_URL";

/// Where the URL is.
#[derive(Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// Environment variable that holds the database's URL: postgresql://user:password@host:5432/database?sslmode=verify-full&sslrootcert=ca.crt
    /// [default: PGREEVE_DATABASE_URL]
    #[arg(long, value_name = "VAR", conflicts_with = "database_url_file")]
    pub database_url_env: Option<String>,
    /// File that holds the database's URL
    #[arg(long, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
}

impl DatabaseArgs {
    /// Where to connect. A password that the URL lacks comes from PGPASSWORD, or from PGPASSFILE or ~/.pgpass.
    ///
    /// # Errors
    /// If no URL is given or it cannot be read. The URL itself is never quoted.
    pub fn target(&self, globals: &Globals) -> Result<Target, Failure> {
        let usage = |error: anyhow::Error| Failure { exit: Exit::Usage, error };
        let (source, url) = self.url().map_err(usage)?;
        let target = target(url.trim()).map_err(|message| usage(anyhow!("the URL in {source} {message}")))?;
        Ok(with_password(target, globals))
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If no URL is given, or no connection can be made.
    pub async fn connect(&self, globals: &Globals) -> Result<(Session, Target), Failure> {
        let target = self.target(globals)?;
        let session = open(&target).await.map_err(|fault| Failure::fault(&target.to_string(), &fault))?;
        Ok((session, target))
    }

    /// Whether a URL is given, by an option or in the usual variable.
    pub fn is_given(&self) -> bool {
        let is_usual = || std::env::var(USUAL).is_ok_and(|url| !url.trim().is_empty());
        self.database_url_env.is_some() || self.database_url_file.is_some() || is_usual()
    }

    /// The options as they would be typed again.
    pub fn typed(&self) -> String {
        match (&self.database_url_env, &self.database_url_file) {
            (Some(variable), _) => format!(" --database-url-env {variable}"),
            (None, Some(file)) => format!(" --database-url-file {}", file.display()),
            (None, None) => String::new(),
        }
    }

    fn url(&self) -> anyhow::Result<(String, String)> {
        if let Some(file) = &self.database_url_file {
            let url = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            return Ok((file.display().to_string(), url));
        }
        let variable = self.database_url_env.as_deref().unwrap_or(USUAL);
        match std::env::var(variable) {
            Ok(url) if !url.trim().is_empty() => Ok((variable.to_owned(), url)),
            _ if self.database_url_env.is_some() => Err(anyhow!("the environment variable {variable} is not set or empty")),
            _ => Err(anyhow!(
                "no database is given: set {USUAL}, or name a variable or a file with --database-url-env or --database-url-file"
            )),
        }
    }
}

/// Opens a session that keeps its state.
///
/// # Errors
/// What the server or the connection said, or that a pooler stands before it that gives one server connection to many.
pub async fn open(target: &Target) -> Result<Session, Fault> {
    let session = Session::open(target).await?;
    if pooler::pools_transactions(&session, target).await? {
        return Err(pooler::fault());
    }
    Ok(session)
}

/// Reads a URL. TLS is verified unless sslmode=disable says otherwise, or nothing leaves the machine.
fn target(url: &str) -> Result<Target, String> {
    let endpoint = parse_uri(url)?;
    let parsed = Url::parse(url).map_err(|error| format!("is not a URL ({error})"))?;
    let parameter = |wanted: &str| parsed.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
    let ca = parameter("sslrootcert").filter(|path| path != "system").map(|path| certificate(&path)).transpose()?;
    let stays_here =
        endpoint.host.starts_with('/') || matches!(endpoint.host.as_str(), "localhost" | "127.0.0.1" | "[::1]" | "::1");
    let tls = match parameter("sslmode").as_deref() {
        Some("disable") => Tls::Disable,
        None if stays_here && ca.is_none() => Tls::Disable,
        Some("verify-ca") => Tls::VerifyCa { ca },
        // Weaker words of libpq would accept any certificate; they are taken as the strongest one.
        None | Some("allow" | "prefer" | "require" | "verify-full") => Tls::VerifyFull { ca },
        Some(other) => return Err(format!("has sslmode={other}: write disable, verify-ca or verify-full")),
    };
    Ok(Target {
        host: endpoint.host,
        port: endpoint.port,
        database: endpoint.database,
        user: endpoint.user,
        password: endpoint.password.map(Password::new),
        tls,
    })
}

fn certificate(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("names sslrootcert={path}, which cannot be read: {error}"))
}

fn with_password(mut target: Target, globals: &Globals) -> Target {
    if target.password.is_none() {
        let given = std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty());
        target.password = given.or_else(|| from_password_file(&target, globals)).map(Password::new);
    }
    target
}

fn from_password_file(target: &Target, globals: &Globals) -> Option<String> {
    let given = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let path = given.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pgpass")))?;
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    if metadata.mode() & 0o077 != 0 {
        globals.say(&format!("{} is ignored: others may read it; run: chmod 0600 {}", path.display(), path.display()));
        return None;
    }
    password_in(&std::fs::read_to_string(&path).ok()?, target)
}

/// The password of the first line that fits (PostgreSQL, "The Password File").
fn password_in(text: &str, target: &Target) -> Option<String> {
    let host = if target.host.starts_with('/') { "localhost" } else { &target.host };
    let port = target.port.to_string();
    let wanted = [host, &port, &target.database, &target.user];
    text.lines().filter(|line| !line.starts_with('#')).map(fields).find_map(|fields| {
        let [first @ .., password] = fields.as_slice() else { return None };
        let fits = first.len() == wanted.len() && first.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        fits.then(|| password.clone())
    })
}

/// Splits at colons that no backslash precedes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let written = match character {
            ':' => None,
            '\\' => characters.next(),
            other => Some(other),
        };
        match (written, fields.last_mut()) {
            (Some(written), Some(field)) => field.push(written),
            _ => fields.push(String::new()),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn tls_of(url: &str) -> Result<Tls, String> {
        target(url).map(|target| target.tls)
    }

    #[rstest]
    #[case("postgresql://u@db.example/d", Ok(Tls::VerifyFull { ca: None }))]
    #[case("postgresql://u@db.example/d?sslmode=require", Ok(Tls::VerifyFull { ca: None }))]
    #[case("postgresql://u@db.example/d?sslmode=disable", Ok(Tls::Disable))]
    #[case("postgresql://u@localhost/d", Ok(Tls::Disable))]
    #[case("postgresql://u@localhost/d?sslmode=verify-full", Ok(Tls::VerifyFull { ca: None }))]
    #[case("postgresql://u@%2Ftmp%2Fsocket/d", Ok(Tls::Disable))]
    #[case("postgresql://u@db/d?sslmode=maybe", Err("has sslmode=maybe: write disable, verify-ca or verify-full".to_owned()))]
    fn a_server_is_verified_unless_nothing_leaves_the_machine(#[case] url: &str, #[case] expected: Result<Tls, String>) {
        assert_eq!(tls_of(url), expected);
    }

    #[test]
    fn a_password_file_is_read_as_libpq_does() {
        let target = target("postgresql://u@db:5433/d").unwrap();
        let text = "# comment\ndb:5432:*:*:wrong port\n*:5433:d:u:se\\:cr\\\\et\n*:*:*:*:later\n";
        assert_eq!(password_in(text, &target).as_deref(), Some("se:cr\\et"));
        assert_eq!(password_in("other:*:*:*:x\n", &target), None);
    }
}
