//! How is the program run? Once, to its end, with what it prints.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The output of a run that must end with this code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The program with these arguments, at the top of the repository, without the caller's settings.
pub fn pgreeve(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    for setting in
        ["NO_COLOR", "PGREEVE_LOG", "PGPASSWORD", "PGPASSFILE", "PGREEVE_NAMESPACES", "PGREEVE_DATABASE_URL", "COLUMNS"]
    {
        command.env_remove(setting);
    }
    // No test finds a cluster by accident.
    command.env("KUBECONFIG", "/nonexistent/kubeconfig").env_remove("KUBERNETES_SERVICE_HOST");
    command
}

/// Runs it to its end.
pub fn run(mut command: Command) -> Ran {
    read(command.output().unwrap())
}

/// Runs it to its end with something on stdin.
pub fn run_with(mut command: Command, stdin: &str) -> Ran {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    read(child.wait_with_output().unwrap())
}

fn read(output: std::process::Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}
