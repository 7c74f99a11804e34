//! Does nothing secret get into arguments, variables, files that stay, manifests or messages; and is what is encrypted encrypted?

use std::os::unix::fs::PermissionsExt as _;

use age::secrecy::ExposeSecret as _;
use pgreeve::api::Reason;
use pgreeve::job::backup::seal::Identity;
use pgreeve::postgres::connect::{Password, Tls};
use serde_json::json;

use crate::support::postgres::{Database, Options, Server};
use crate::world::{MAJOR, SHOP, World};

const CANARY: &str = "canary: of\\the password";

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_in_no_argument_no_variable_and_no_file_that_stays() {
    let server = Server::start(MAJOR, &Options { tcp: true, tls: true, ..Options::default() });
    let mut world = World::new("select 1").await;
    world.database = Database::on(server).await;
    world.admin = world.database.superuser().await;
    world
        .admin
        .batch_execute(&format!("{SHOP}; create role backup login password '{CANARY}' in role pg_read_all_data"))
        .await
        .unwrap();
    let (programs, seen) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    for name in ["pg_dump", "pg_dumpall", "pg_restore"] {
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" != --version ]; then {{ echo \"$@\"; env; /bin/grep -rl canary {}; }} >> {}/{name}; fi\nexec /usr/lib/postgresql/{MAJOR}/bin/{name} \"$@\"\n",
            scratch.path().display(),
            seen.path().display()
        );
        let file = programs.path().join(name);
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut access = world.access();
    access.workshop.programs = vec![programs.path().to_owned()];
    access.workshop.scratch = scratch.path().to_owned();
    let target = access.target.as_mut().unwrap();
    (target.host, target.port, target.user) = ("localhost".into(), world.database.server().port, "backup".into());
    target.password = Some(Password::new(CANARY));
    target.tls = Tls::VerifyFull { ca: world.database.server().ca.clone().map(String::into_bytes) };
    let task = world.task(json!({}));
    world.back_up_with(&task, &access).await.unwrap();
    for name in ["pg_dump", "pg_dumpall", "pg_restore"] {
        let told = std::fs::read_to_string(seen.path().join(name)).unwrap();
        // Not on a disk either, for as long as it is needed.
        assert!(!told.contains("canary") && !told.contains(&scratch.path().display().to_string()), "{told}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    for file in world.files() {
        assert!(!String::from_utf8_lossy(&std::fs::read(file).unwrap()).contains("canary"));
    }
    // The wrong one is told apart, and not told.
    access.target.as_mut().unwrap().password = Some(Password::new("canary of another"));
    let mut other = task.clone();
    other.directory = "other".into();
    let blocked = world.back_up_with(&other, &access).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::AuthenticationFailed);
    assert!(!blocked.message.contains("canary"), "{}", blocked.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_is_restored_with_its_identity_and_with_no_other() {
    let mut world = World::new(SHOP).await;
    let identity = age::x25519::Identity::generate();
    world.workshop.recipients = Some(identity.to_public().to_string().into_bytes());
    let encryption = json!({"encryption": {"recipientsSecretRef": {"name": "backup-age"}}});
    let task = world.task(encryption.clone());
    world.back_up(&task).await.unwrap();
    for file in world.files().into_iter().filter(|file| !file.ends_with("manifest.json")) {
        let content = std::fs::read(&file).unwrap();
        assert!(file.to_string_lossy().ends_with(".age") && content.starts_with(b"age-encryption.org/v1"), "{}", file.display());
    }
    world.verify(&task, "Catalog", json!([])).await.unwrap();
    assert_eq!(world.verify(&task, "Restore", json!([])).await.unwrap_err().reason, Reason::SecretNotFound);
    world.workshop.identity = Some(Identity::read(identity.to_string().expose_secret().as_bytes()).unwrap());
    assert_eq!(world.verify(&task, "Restore", json!([])).await.unwrap().rows_matched, Some(22_000));
    let another = age::x25519::Identity::generate();
    world.workshop.identity = Some(Identity::read(another.to_string().expose_secret().as_bytes()).unwrap());
    assert_eq!(world.verify(&task, "Restore", json!([])).await.unwrap_err().reason, Reason::SecretInvalid);
    // Without recipients nothing is written in the clear.
    world.workshop.recipients = None;
    let mut other = task.clone();
    other.directory = "other".into();
    assert_eq!(world.back_up(&other).await.unwrap_err().reason, Reason::SecretInvalid);
    assert!(!world.volume.path().join("other").exists());
}
