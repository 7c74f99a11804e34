//! What stands in a Backup's status of its backup? Where it lies, what it holds, what was proven.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use crate::api::Backup;
use crate::api::backup::{BackupStatus, DIRECTORY_ANNOTATION, Tables, Verification};
use crate::api::condition::VERIFIED;
use crate::job::backup::BackedUp;
use crate::plan::backup::manifest::Verified;
use crate::plan::backup::{Stored, directory};
use crate::plan::size::bytes;

/// Key of the directory of its objects: that where it was found, or one of its own.
pub(super) fn key(backup: &Backup) -> String {
    let adopted = backup.annotations().get(DIRECTORY_ANNOTATION).cloned();
    let own = || directory(&backup.spec.database_ref.name, &backup.name_any(), &backup.uid().unwrap_or_default());
    adopted.unwrap_or_else(own)
}

/// Where its objects are.
pub(super) fn stored(backup: &Backup, status: &BackupStatus) -> Stored {
    let settings = &backup.spec.settings;
    Stored {
        destination: settings.destination.clone(),
        directory: status.directory.clone().unwrap_or_else(|| key(backup)),
        identity: settings.encryption.as_ref().and_then(|encryption| encryption.identity_secret_ref.clone()),
    }
}

/// Takes down what a backup is.
pub(super) fn fill(status: &mut BackupStatus, done: BackedUp) {
    status.completed_at = Some(Time(done.completed_at));
    status.snapshot_at = Some(Time(done.snapshot_at));
    status.directory = Some(done.directory);
    status.url = Some(done.url);
    status.size_bytes = Some(done.bytes);
    status.size = Some(bytes(done.bytes));
    status.raw_bytes = Some(done.raw_bytes);
    status.sha256 = Some(done.sha256);
    status.server_version = Some(done.server_version);
    status.dump_version = Some(done.dump_version);
    status.snapshot_lsn = done.lsn;
    status.tables = Some(Tables { count: done.tables, rows: done.rows });
    status.omitted = done.omitted;
    status.progress_percent = None;
    status.failures = 0;
    if let Some(proof) = done.verified {
        note(status, proof);
    }
}

/// Takes down what was proven. A doubt that there was is answered by it.
pub(super) fn note(status: &mut BackupStatus, proof: Verified) {
    status.unproven = status.unproven.take().filter(|unproven| unproven.level > proof.level);
    status.verification = Some(Verification {
        level: proof.level,
        at: Time(proof.at),
        rows_matched: proof.rows_matched,
        assertions: proof.assertions,
        restore_seconds: proof.restore_seconds,
    });
    status.conditions.retain(|condition| condition.type_ != VERIFIED);
    status.failures = 0;
}
