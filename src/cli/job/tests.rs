//! Does the other end of a Job say what has happened, whatever happens?

use serde_json::{Value, json};

use super::*;

fn task() -> Task {
    serde_json::from_value(json!({
        "version": 1,
        "object": {"kind": "RetentionPolicy", "namespace": "shop", "name": "events"},
        "database": "db",
        "connection": {"secretRef": {"name": "db-app"}, "tls": {"caSecretRef": {"name": "ca"}}},
        "limits": {},
        "action": {"action": "createExtension", "name": "pg_trgm"},
    }))
    .unwrap()
}

fn write(directory: &Path, path: &str, text: &str) {
    let path = directory.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn secrets_come_from_files_by_the_rules_of_the_operator() {
    let secrets = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("connection/host", "orders-rw"),
        ("connection/dbname", "orders\n"),
        ("connection/user", "app"),
        ("connection/password", "hunter2"),
        ("ca/ca.crt", "PEM"),
        ("store/accessKeyId", "key"),
        ("store-ca/tls.ca", "PEM of the store"),
    ] {
        write(secrets.path(), path, text);
    }
    let access = access(&task(), secrets.path(), "/volume".into(), "/scratch".into()).unwrap();
    assert_eq!(
        (access.target().unwrap().host.as_str(), access.target().unwrap().database.as_str()),
        ("orders-rw.shop", "orders")
    );
    assert_eq!(access.storage.secret["accessKeyId"], b"key");
    assert_eq!(access.storage.ca.as_deref(), Some(&b"PEM of the store"[..]));
    assert!(!format!("{access:?}").contains("hunter2"));
}

#[cfg(unix)]
#[test]
fn what_kubernetes_keeps_beside_the_keys_is_no_key() {
    let secrets = tempfile::tempdir().unwrap();
    write(secrets.path(), "..2026/host", "h");
    std::os::unix::fs::symlink("..2026", secrets.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/host", secrets.path().join("host")).unwrap();
    assert_eq!(files(secrets.path()).unwrap(), BTreeMap::from([("host".to_owned(), b"h".to_vec())]));
}

#[test]
fn a_secret_that_lacks_is_named() {
    let secrets = tempfile::tempdir().unwrap();
    let refused = access(&task(), secrets.path(), "/volume".into(), "/scratch".into()).unwrap_err();
    assert_eq!(refused.reason, Reason::SecretNotFound);
    assert!(refused.message.contains("Secret db-app") && refused.message.contains("namespace shop"), "{}", refused.message);
    write(secrets.path(), "connection/uri", "postgresql://u:p@h/d");
    let refused = access(&task(), secrets.path(), "/volume".into(), "/scratch".into()).unwrap_err();
    assert!(refused.message.contains("Secret ca has no key ca.crt"), "{}", refused.message);
}

#[test]
fn a_task_of_another_version_is_refused_in_so_many_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("task");
    let mut other = serde_json::to_value(task()).unwrap();
    other["version"] = json!(2);
    std::fs::write(&file, other.to_string()).unwrap();
    let refused = read_task(Some(&file)).unwrap_err();
    assert!(refused.message.contains("version 2 and this image understands 1"), "{}", refused.message);
    std::fs::write(&file, "{").unwrap();
    assert_eq!(read_task(Some(&file)).unwrap_err().reason, Reason::InvalidSpec);
}

#[tokio::test]
async fn a_panic_is_a_report_that_quotes_nothing() {
    let work = async { panic!("hunter2") };
    let outcome: Result<(), Blocked> = guarded(work).await;
    let report: Value = serde_json::from_str(&text(&outcome)).unwrap();
    assert_eq!(report["reason"], "JobFailed");
    assert!(report["message"].as_str().unwrap().contains("panicked") && !report.to_string().contains("hunter2"));
    assert_eq!(exit(&outcome), Exit::Error);
}

#[test]
fn another_try_is_made_unless_somebody_must_act_first() {
    let of = |reason| exit::<()>(&Err(Blocked::new(reason, "")));
    assert_eq!(exit(&Ok(())), Exit::Ok);
    assert_eq!(of(Reason::Unreachable), Exit::Error);
    assert_eq!(i32::from(of(Reason::MissingPrivilege).code()), crate::cluster::jobs::manifest::EXIT_FOR_GOOD);
}

#[test]
fn no_report_is_longer_than_kubernetes_keeps() {
    for message in ["x".repeat(10_000), "\u{1}".repeat(10_000), "ü\"".repeat(5_000)] {
        let text = text::<()>(&Err(Blocked::new(Reason::ActionFailed, message)));
        let report: Value = serde_json::from_str(&text).unwrap();
        assert!(text.len() <= LIMIT && report["reason"] == "ActionFailed", "{}", text.len());
    }
    let long: Result<String, Blocked> = Ok("x".repeat(5_000));
    assert!(text(&long).contains("does not fit"));
}
