//! Is there a backup that allows a removal? Read from the Backups of a schedule, wherever they come from.

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

use crate::api::backup::{MADE_FOR_ANNOTATION, SCHEDULE_LABEL};
use crate::api::retention_policy::BackupGuard;
use crate::api::{GROUP, VERSION};

/// Why no backup satisfies the guard; `None` where one does. What cannot be read does not count as a backup.
pub async fn missing(client: &Client, namespace: &str, guard: &BackupGuard, now: Timestamp) -> Option<String> {
    let schedule = &guard.schedule_ref.name;
    let kind = if guard.verified { "verified Backup" } else { "complete Backup" };
    let wanted = format!("guards.backup wants a {kind} of BackupSchedule {schedule} from the last {}", guard.within);
    let within = match guard.within.to_std().map(SignedDuration::try_from) {
        Ok(Ok(within)) => within,
        Ok(Err(_)) => SignedDuration::MAX,
        Err(error) => return Some(format!("guards.backup.within: {error}")),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, "Backup"), "backups");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let found = match api.list(&ListParams::default().labels(&format!("{SCHEDULE_LABEL}={schedule}"))).await {
        Ok(found) => found.items,
        // A kind that is not installed is answered without a reason.
        Err(kube::Error::Api(status)) if status.code == 404 => return Some(format!("{wanted}; there is none")),
        Err(error) => return Some(format!("{wanted}, and the Backups cannot be read: {error}")),
    };
    let newest = found.iter().filter_map(|backup| Some((completed(backup, guard.verified)?, backup.name_any()))).max();
    match newest {
        Some((at, _)) if now.duration_since(at) <= within => None,
        Some((at, name)) => Some(format!("{wanted}; the newest is {name} of {at}")),
        None => Some(format!("{wanted}; there is none")),
    }
}

/// When a backup was complete, if it is, and verified where that is asked for.
fn completed(backup: &DynamicObject, verified: bool) -> Option<Timestamp> {
    let is_foreign = backup.annotations().contains_key(MADE_FOR_ANNOTATION) && backup.data["spec"]["hold"] == true;
    // The dump of another database says nothing of this one's rows.
    let status = backup.data.get("status").filter(|_| !is_foreign)?;
    let conditions = status.get("conditions").and_then(Value::as_array)?;
    let is_true = |kind: &str| conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True");
    let counts = is_true("Complete") && (!verified || is_true("Verified"));
    status.get("completedAt").and_then(Value::as_str).filter(|_| counts)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn backup(conditions: &[&str]) -> DynamicObject {
        let conditions: Vec<Value> = conditions.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        serde_json::from_value(
            json!({"metadata": {"name": "b"}, "status": {"completedAt": "2026-11-21T02:10:00Z", "conditions": conditions}}),
        )
        .unwrap()
    }

    #[test]
    fn only_what_is_complete_counts_and_verified_where_that_is_asked() {
        assert_eq!(completed(&backup(&["Failed"]), false), None);
        assert_eq!(completed(&backup(&["Complete"]), true), None);
        assert!(completed(&backup(&["Complete"]), false).is_some());
        let mut found = backup(&["Complete", "Verified"]);
        assert!(completed(&found, true).is_some());
        found.annotations_mut().insert(MADE_FOR_ANNOTATION.into(), "unknown".into());
        found.data["spec"] = json!({"hold": true});
        assert_eq!(completed(&found, true), None, "it was made for another database");
        found.data["spec"] = json!({"hold": false});
        assert!(completed(&found, true).is_some(), "and somebody says that it is this one's");
    }
}
