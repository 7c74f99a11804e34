//! How are PostgreSQL's own programs run? Those of the server's major, told where to connect by a file that only we can read, and never
//! through a shell.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::postgres::Target;
use crate::postgres::connect::Tls;

/// Where distributions and images put the programs of a major; after these, what PATH names.
const USUAL: [&str; 4] = ["/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/postgresql/{}/bin", "/usr/local/bin"];

/// Where util-linux's setpriv is.
const SETPRIV: [&str; 2] = ["/usr/bin/setpriv", "/bin/setpriv"];

/// Its option for a signal that comes when the parent has ended.
const BOUND: &str = "--pdeathsig=QUIT";

/// Root certificates of this system, where a server's is checked without a CA of its own: libpq knows no system's before 16.
const ROOTS: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The programs of one major version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    directory: PathBuf,
    /// Version of its `pg_dump`, such as `16.14`.
    pub version: String,
}

impl Tools {
    /// Those of this major: an older `pg_dump` refuses a newer server, and a newer one writes what an older server does not
    /// understand (`SET transaction_timeout` since 17).
    ///
    /// # Errors
    /// [`Reason::ToolsMissing`] where there are none.
    pub async fn find(major: i32, searched: &[PathBuf]) -> Result<Self, Blocked> {
        let usual = USUAL.iter().map(|pattern| PathBuf::from(pattern.replace("{}", &major.to_string())));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut others = Vec::new();
        for directory in searched.iter().cloned().chain(usual).chain(std::env::split_paths(&path)) {
            if !directory.join("pg_dump").is_file() {
                continue;
            }
            match version(&directory.join("pg_dump")).await {
                Some(version) if version.split('.').next() == Some(major.to_string().as_str()) => {
                    return Ok(Self { directory, version });
                }
                Some(version) => others.push(version),
                None => {}
            }
        }
        others.dedup();
        let found = if others.is_empty() { "none is here".into() } else { format!("there is only {}", others.join(", ")) };
        let message = format!(
            "pg_dump and pg_restore {major} are needed for a server of that major, and {found}: in a Pod, correct the operator's images.postgres; elsewhere install postgresql-client-{major}"
        );
        Err(Blocked::new(Reason::ToolsMissing, message))
    }

    /// One of the programs, with nothing of our environment but what locale and path it needs.
    pub fn program(&self, name: &str) -> Command {
        self.prepared(Command::new(self.directory.join(name)))
    }

    /// The same for a server, which the kernel ends when we are killed: the others end by themselves when nobody reads what they write. A
    /// container takes all of its processes with it; on a machine of somebody's own a program of util-linux asks for it, if it is there.
    pub async fn bound(&self, name: &str) -> Command {
        let program = self.directory.join(name);
        for setpriv in SETPRIV.map(Path::new).into_iter().filter(|setpriv| setpriv.is_file()) {
            // An immediate shutdown (pg_ctl, SIGQUIT); that of busybox knows no such option.
            let mut tried = Command::new(setpriv);
            tried.args([BOUND, "--", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if tried.status().await.is_ok_and(|status| status.success()) {
                let mut command = Command::new(setpriv);
                command.args([BOUND, "--"]).arg(&program);
                return self.prepared(command);
            }
        }
        self.prepared(Command::new(program))
    }

    fn prepared(&self, mut command: Command) -> Command {
        command.env_clear().env("PATH", &self.directory).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Whether a server can be started with them.
    pub fn has_server(&self) -> bool {
        ["initdb", "postgres"].iter().all(|name| self.directory.join(name).is_file())
    }
}

/// `16.14` of `pg_dump (PostgreSQL) 16.14 (Debian 16.14-1.pgdg12+1)`.
async fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split("(PostgreSQL) ").nth(1)?.split_whitespace().next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

/// What a program is told of a server: a directory of ours with the password and the CA, gone when this is dropped.
#[derive(Debug)]
pub struct Service {
    _directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Service {
    /// Writes down how this server is reached. Nothing secret gets into an argument or a variable.
    ///
    /// # Errors
    /// Where no file can be written, or there is nothing to check the server's certificate with.
    pub fn of(target: &Target, scratch: &Path) -> Result<Self, Blocked> {
        let unwritable = |error: std::io::Error| {
            Blocked::new(Reason::ActionFailed, format!("{} cannot be written to: {error}", scratch.display()))
        };
        let directory = tempfile::Builder::new()
            .prefix("pgreeve-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(scratch)
            .map_err(unwritable)?;
        let mut variables = vec![
            ("PGHOST", target.host.clone()),
            ("PGPORT", target.port.to_string()),
            ("PGUSER", target.user.clone()),
            ("PGDATABASE", target.database.clone()),
            ("PGAPPNAME", "pgreeve".into()),
            ("PGCONNECT_TIMEOUT", "10".into()),
            ("PGCLIENTENCODING", "UTF8".into()),
            ("HOME", directory.path().display().to_string()),
        ];
        let passfile = directory.path().join("password");
        let password = target.password.as_ref().map(|password| password.expose().to_owned()).unwrap_or_default();
        write(&passfile, format!("*:*:*:*:{}\n", escaped(&password)).as_bytes()).map_err(unwritable)?;
        variables.push(("PGPASSFILE", passfile.display().to_string()));
        let mode = match &target.tls {
            Tls::Disable => "disable",
            Tls::VerifyCa { .. } => "verify-ca",
            Tls::VerifyFull { .. } => "verify-full",
        };
        variables.push(("PGSSLMODE", mode.into()));
        match &target.tls {
            Tls::Disable => {}
            Tls::VerifyFull { ca: Some(pem) } | Tls::VerifyCa { ca: Some(pem) } => {
                let file = directory.path().join("ca.crt");
                write(&file, pem).map_err(unwritable)?;
                variables.push(("PGSSLROOTCERT", file.display().to_string()));
            }
            Tls::VerifyFull { ca: None } | Tls::VerifyCa { ca: None } => {
                let roots = ROOTS.iter().find(|file| Path::new(file).is_file()).ok_or_else(|| {
                    let message =
                        "this image has no root certificates to check the server's with: give spec.connection.tls.caSecretRef";
                    Blocked::new(Reason::TlsFailed, message)
                })?;
                variables.push(("PGSSLROOTCERT", (*roots).to_owned()));
            }
        }
        Ok(Self { _directory: directory, variables })
    }

    /// Tells a program.
    pub fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)))
    }
}

/// A password as a password file holds it (libpq, The Password File).
fn escaped(password: &str) -> String {
    password.replace('\\', "\\\\").replace(':', "\\:")
}

fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_says_the_password_literally() {
        assert_eq!(escaped(r"a:b\c"), r"a\:b\\c");
    }

    #[tokio::test]
    async fn a_major_that_is_not_here_is_named_with_the_remedy() {
        let blocked = Tools::find(9, &[]).await.unwrap_err();
        assert_eq!(blocked.reason, Reason::ToolsMissing);
        assert!(blocked.message.contains("postgresql-client-9"), "{}", blocked.message);
    }
}
