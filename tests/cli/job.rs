//! Does the other end of a Job report, whatever happens to it?

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{pgreeve, run};
use crate::support::process;

/// A Pod's file system, as far as a Job looks at it.
struct Pod(TempDir);

impl Pod {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with_secret(self, key: &str, value: &str) -> Self {
        let directory = self.0.path().join("secrets/connection");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(key), value).unwrap();
        self
    }

    fn command(&self) -> Command {
        let mut command = pgreeve(&["job"]);
        command.env_remove("PGREEVE_TASK");
        for (flag, path) in [("--secrets", "secrets"), ("--volume", "volume"), ("--report", "report")] {
            command.arg(flag).arg(self.0.path().join(path));
        }
        command
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.0.path().join("report")).unwrap()).unwrap()
    }
}

fn task() -> Value {
    json!({
        "version": 1,
        "object": {"kind": "RetentionPolicy", "namespace": "shop", "name": "events"},
        "database": "db",
        "connection": {"secretRef": {"name": "db-app"}, "tls": {"mode": "Disable"}},
        "limits": {},
        "action": {
            "action": "exportPartition",
            "parent": {"oid": 1, "schema": "public", "name": "events"},
            "partition": {"oid": 2, "schema": "public", "name": "events_y2025m01"},
            "bound": "FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')",
            "role": "owner",
            "destination": {"pvc": {"claimName": "exports"}},
            "format": "Parquet", "compression": "Zstd",
            "job": {},
        },
    })
}

#[test]
fn a_job_without_a_task_says_so_and_is_not_tried_again() {
    let pod = Pod::new();
    run(pod.command()).expect_code(3);
    assert_eq!(pod.report()["reason"], "InvalidSpec");
    assert!(pod.report()["message"].as_str().unwrap().contains("PGREEVE_TASK"));
}

#[test]
fn a_job_reads_its_task_from_the_environment_or_from_a_file() {
    let pod = Pod::new();
    let mut command = pod.command();
    command.env("PGREEVE_TASK", task().to_string());
    let ran = run(command).expect_code(3);
    assert_eq!(pod.report()["reason"], "SecretNotFound", "it knew which Secret to look for");
    assert!(!ran.stderr.contains('\u{1b}'), "a log that Kubernetes quotes has no colours: {}", ran.stderr);
    let file = pod.0.path().join("task");
    fs::write(&file, task().to_string()).unwrap();
    let mut command = pod.command();
    command.arg("--task").arg(file);
    run(command).expect_code(3);
    assert_eq!(pod.report()["reason"], "SecretNotFound");
}

/// Without it, what is encrypted would be proven by its bytes alone.
#[test]
fn an_identity_that_is_named_and_not_there_is_said_by_what_reads_with_it_alone() {
    let destination = json!({"pvc": {"claimName": "backups"}});
    let stored = json!({"destination": destination, "directory": "shop/first", "identity": {"name": "age-identity"}});
    let encryption = json!({"recipientsSecretRef": {"name": "age"}, "identitySecretRef": {"name": "age-identity"}});
    let settings = json!({"destination": destination, "encryption": encryption});
    let verify =
        json!({"action": "verifyBackup", "backup": "first", "stored": stored, "level": "Catalog", "major": 15, "job": {}});
    let found = json!({"action": "dumpDatabase", "backup": "first", "directory": "shop/first", "major": 0, "settings": settings, "exists": true});
    let remove = json!({"action": "removeBackup", "backup": "first", "stored": stored, "job": {}});
    for (action, reason) in [(verify, Some("SecretNotFound")), (found, Some("BackupDamaged")), (remove, None)] {
        let pod = Pod::new();
        fs::create_dir(pod.0.path().join("volume")).unwrap();
        let mut task = task();
        task["action"] = action;
        let mut command = pod.command();
        command.env("PGREEVE_TASK", task.to_string());
        let ran = run(command);
        let report = pod.report();
        assert_eq!(report["reason"].as_str(), reason, "{report} {}", ran.stderr);
        let names_it = report["message"].as_str().is_some_and(|message| message.contains("Secret age-identity does not exist"));
        assert_eq!(names_it, reason == Some("SecretNotFound"), "{report}");
    }
}

#[test]
fn a_server_that_does_not_answer_is_worth_another_try_and_no_password_is_told() {
    let pod = Pod::new().with_secret("uri", "postgresql://app:Canary7c1f@127.0.0.1:1/orders");
    let mut command = pod.command();
    command.env("PGREEVE_TASK", task().to_string()).env("PGREEVE_LOG", "trace");
    let ran = run(command).expect_code(1);
    assert_eq!(pod.report()["reason"], "Unreachable");
    assert!(!format!("{ran:?}{}", pod.report()).contains("Canary7c1f"));
}

#[test]
fn a_job_that_is_told_to_stop_stops_and_reports() {
    // A server that accepts and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let pod = Pod::new().with_secret("uri", &format!("postgresql://app:p@127.0.0.1:{port}/orders"));
    let mut command = pod.command();
    command.env("PGREEVE_TASK", task().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let _connection = silent.accept().unwrap();
    process::run(Command::new("kill").arg("-TERM").arg(child.id().to_string()));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(pod.report()["reason"], "JobFailed");
    assert!(pod.report()["message"].as_str().unwrap().contains("told to stop"));
}
