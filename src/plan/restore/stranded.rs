//! What does a restore do that cannot get at its server? As long as nobody was kept out of the database, workloads come back.

use jiff::Timestamp;

use super::exchange::is_late_at;
use super::is_up;
use crate::api::restore::{OnFailure, RestoreSpec, RestoreStatus, Step};

/// What is done without the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing.
    Wait,
    /// It has failed for this reason, and workloads come back.
    GiveUp(String),
    /// The names are as they were, and workloads come back: a rollback is tried again.
    Back,
    /// Workloads come back.
    Raise,
}

/// Decides. While workloads go nothing is closed yet, and once they come back nothing is closed any more.
pub fn without(spec: &RestoreSpec, status: &RestoreStatus, now: Timestamp) -> Without {
    let stays_down = status.failure.is_some() && spec.on_failure == OnFailure::StayDown;
    match status.step {
        Step::Quiescing if !is_late_at(spec, status, now) => Without::Wait,
        Step::Quiescing if status.completed_at.is_some() => Without::Back,
        Step::Quiescing => {
            Without::GiveUp(format!("the server could not be reached within quiesceTimeout ({})", spec.quiesce_timeout))
        }
        Step::ScalingUp if !stays_down && !is_up(&status.workloads) => Without::Raise,
        _ => Without::Wait,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn decided(spec: Value, status: Value) -> Without {
        let mut wanted = json!({"databaseRef": {"name": "db"}, "source": {"backupRef": {"name": "b"}}, "quiesceTimeout": "5m"});
        wanted.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let workload =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": "u", "fought": 0, "state": "Down"});
        let mut found = json!({"workloads": [workload], "stepAt": "2026-11-22T08:00:00Z"});
        found.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        let (spec, status) = (serde_json::from_value(wanted).unwrap(), serde_json::from_value(found).unwrap());
        without(&spec, &status, "2026-11-22T08:05:01Z".parse().unwrap())
    }

    #[test]
    fn workloads_come_back_where_nothing_is_closed_and_only_there() {
        let late = "the server could not be reached within quiesceTimeout (5m)".to_owned();
        assert_eq!(decided(json!({}), json!({"step": "Quiescing"})), Without::GiveUp(late));
        assert_eq!(decided(json!({"quiesceTimeout": "6m"}), json!({"step": "Quiescing"})), Without::Wait);
        let complete = json!({"step": "Quiescing", "completedAt": "2026-11-22T07:00:00Z"});
        assert_eq!(decided(json!({}), complete), Without::Back);
        assert_eq!(decided(json!({}), json!({"step": "ScalingUp"})), Without::Raise);
        let failed = json!({"step": "ScalingUp", "failure": "it differs"});
        assert_eq!(decided(json!({}), failed.clone()), Without::Raise);
        assert_eq!(decided(json!({"onFailure": "StayDown"}), failed), Without::Wait);
        for step in ["Restoring", "Verifying", "Fencing", "Swapping", "Unfencing", "Keeping"] {
            assert_eq!(decided(json!({}), json!({"step": step})), Without::Wait, "{step}");
        }
    }
}
