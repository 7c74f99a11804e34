//! Who stands before the program of Jobs? Somebody who keeps those of an action waiting, or turns them away, as the test says.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use crate::support::eventually;
use crate::support::node::program;
use crate::world::PATIENCE;

/// A doorman, whose program takes the place of the product's.
pub struct Doorman(TempDir);

impl Doorman {
    /// One who lets everybody pass.
    pub fn new() -> Self {
        let doorman = Self(tempfile::tempdir().unwrap());
        let script = format!(
            "#!/bin/sh
for action in dumpDatabase verifyBackup removeBackup; do
  case \"$PGREEVE_TASK\" in *'\"action\":\"'$action'\"'*) is=$action ;; esac
done
while [ -e {place}/hold-$is ]; do : > {place}/held-$is; /bin/sleep 0.05; done
if [ -e {place}/refuse-$is ]; then
  while [ $# -gt 0 ]; do if [ \"$1\" = --report ]; then report=$2; fi; shift; done
  /bin/cat {place}/refuse-$is > $report; exit 3
fi
exec {program} \"$@\"
",
            place = doorman.0.path().display(),
            program = program().display(),
        );
        std::fs::write(doorman.program(), script).unwrap();
        std::fs::set_permissions(doorman.program(), std::fs::Permissions::from_mode(0o755)).unwrap();
        doorman
    }

    /// What a node runs.
    pub fn program(&self) -> PathBuf {
        self.0.path().join("program")
    }

    /// Jobs of this action wait from now on.
    pub fn hold(&self, action: &str) {
        std::fs::write(self.0.path().join(format!("hold-{action}")), "").unwrap();
    }

    /// Waits until one of them waits.
    pub async fn has_held(&self, action: &str) {
        let held = self.0.path().join(format!("held-{action}"));
        eventually(&format!("a Job that is to {action} waits"), PATIENCE, async || held.exists().then_some(())).await;
    }

    /// They wait no longer.
    pub fn release(&self, action: &str) {
        std::fs::remove_file(self.0.path().join(format!("hold-{action}"))).unwrap();
    }

    /// They fail with this reason, and are not tried again by Kubernetes.
    pub fn refuse(&self, action: &str, reason: &str) {
        let report = json!({"reason": reason, "message": "turned away"});
        std::fs::write(self.0.path().join(format!("refuse-{action}")), report.to_string()).unwrap();
    }

    /// They do not fail any more.
    pub fn admit(&self, action: &str) {
        std::fs::remove_file(self.0.path().join(format!("refuse-{action}"))).unwrap();
    }
}
