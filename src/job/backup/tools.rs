//! How are PostgreSQL's own programs run? Those of the server's major, told where to connect by a file that only we can read, and never
//! through a shell.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
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

/// What files in memory are called in /proc.
const NAME: &str = "pgreeve";

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

/// What a program is told of a server. The password and the CA are in files that only memory holds: a scratch volume outlives its Job, and a
/// directory of its own would outlive a Job that is killed.
#[derive(Debug)]
pub struct Service {
    files: Vec<File>,
    variables: Vec<(&'static str, String)>,
}

impl Service {
    /// Writes down how this server is reached. Nothing secret gets into an argument or a variable.
    ///
    /// # Errors
    /// Where no file can be made, or there is nothing to check the server's certificate with.
    pub fn of(target: &Target) -> Result<Self, Blocked> {
        let mut service = Self {
            files: vec![],
            variables: vec![
                ("PGHOST", target.host.clone()),
                ("PGPORT", target.port.to_string()),
                ("PGUSER", target.user.clone()),
                ("PGDATABASE", target.database.clone()),
                ("PGAPPNAME", "pgreeve".into()),
                ("PGCONNECT_TIMEOUT", "10".into()),
                ("PGCLIENTENCODING", "UTF8".into()),
                // Where nothing is: whatever a person keeps at home for other servers is not meant for this one.
                ("HOME", "/nonexistent".into()),
            ],
        };
        let password = target.password.as_ref().map(|password| password.expose().to_owned()).unwrap_or_default();
        service.show("PGPASSFILE", format!("*:*:*:*:{}\n", escaped(&password)).as_bytes())?;
        let mode = match &target.tls {
            Tls::Disable => "disable",
            Tls::VerifyCa { .. } => "verify-ca",
            Tls::VerifyFull { .. } => "verify-full",
        };
        service.variables.push(("PGSSLMODE", mode.into()));
        match &target.tls {
            Tls::Disable => {}
            Tls::VerifyFull { ca: Some(pem) } | Tls::VerifyCa { ca: Some(pem) } => service.show("PGSSLROOTCERT", pem)?,
            Tls::VerifyFull { ca: None } | Tls::VerifyCa { ca: None } => {
                let roots = ROOTS.iter().find(|file| Path::new(file).is_file()).ok_or_else(|| {
                    let message =
                        "this image has no root certificates to check the server's with: give spec.connection.tls.caSecretRef";
                    Blocked::new(Reason::TlsFailed, message)
                })?;
                service.variables.push(("PGSSLROOTCERT", (*roots).to_owned()));
            }
        }
        Ok(service)
    }

    /// A variable that names a file with this content. The programs that we start inherit it, and it is gone with the last of them.
    fn show(&mut self, variable: &'static str, content: &[u8]) -> Result<(), Blocked> {
        let file = in_memory(content).map_err(|error| {
            Blocked::new(Reason::ActionFailed, format!("no file can be made in memory (memfd_create): {error}"))
        })?;
        self.variables.push((variable, format!("/proc/self/fd/{}", file.as_raw_fd())));
        self.files.push(file);
        Ok(())
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

/// An anonymous file that only we, and the programs that we start, can read: libpq takes no password from one that others may read.
fn in_memory(content: &[u8]) -> std::io::Result<File> {
    // A node may refuse one that could be run; a kernel before 6.3 does not know how to say that it cannot.
    let made = rustix::fs::memfd_create(NAME, MemfdFlags::NOEXEC_SEAL);
    let made = made
        .or_else(|error| if error == Errno::INVAL { rustix::fs::memfd_create(NAME, MemfdFlags::empty()) } else { Err(error) });
    let mut file = File::from(made?);
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    Ok(file)
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
