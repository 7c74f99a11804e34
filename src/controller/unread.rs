//! What becomes of an object whose status cannot be read? It is told and nothing else: what such a status remembers was done once, and whoever
//! takes it for a new object does it again.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::kind::Report;
use crate::api::Reason;
use crate::api::condition::{Conditions, READY, RECONCILING, STALLED};
use crate::plan::action::Blocked;
use crate::plan::status::State;

/// The fields of a status that type `S` cannot read, each with the reason; none where it can be read, or there is no status.
pub(super) fn fields<S: DeserializeOwned>(status: &Value) -> Vec<String> {
    let Err(whole) = serde_json::from_value::<Option<S>>(status.clone()) else { return vec![] };
    let alone = |(name, value): (&String, &Value)| {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<S>(alone.into()).err().map(|error| format!("status.{name}: {error}"))
    };
    let found: Vec<String> = status.as_object().into_iter().flatten().filter_map(alone).collect();
    if found.is_empty() { vec![format!("status: {whole}")] } else { found }
}

/// What it says.
pub(super) fn blocked(kind: &str, object: &DynamicObject, fields: &[String]) -> Blocked {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let kept = if object.metadata.deletion_timestamp.is_some() { "; deleted, and kept until then" } else { "" };
    let message = format!(
        "{kind} {namespace}/{name} is left alone, since its status cannot be read ({}): run the version of pgreeve that wrote it; only who knows \
         that nothing of it is needed removes the status, and it begins anew{kept}",
        fields.join("; ")
    );
    Blocked::new(Reason::StatusUnreadable, message)
}

/// Nothing is planned, and every Job stays.
pub(super) fn report(object: &DynamicObject, blocked: &Blocked, now: Timestamp) -> Report {
    let before = object.data.get("status").cloned().unwrap_or(Value::Null);
    let status = told(before, object, blocked, now).unwrap_or(Value::Null);
    let state = State { ready: false, reason: blocked.reason, message: blocked.message.clone(), drifted: false };
    Report { status, state, applied: None, due: None, pending: 0, tasks: None }
}

/// The same status with what it says in its conditions; `None` where that would lose a part of it.
fn told(mut status: Value, object: &DynamicObject, blocked: &Blocked, now: Timestamp) -> Option<Value> {
    let mut fields = object.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.fields_v1.as_ref());
    if fields.any(|fields| fields.0.get("f:status").is_some_and(|written| hides(written, &status))) {
        return None;
    }
    let found = status.get("conditions").cloned().unwrap_or_else(|| json!([]));
    let mut all: Vec<Condition> = serde_json::from_value(found).ok()?;
    let said = Conditions::after(&all, object.metadata.generation, now)
        .set(READY, false, blocked.reason, &blocked.message)
        .set(RECONCILING, false, blocked.reason, &blocked.message)
        .set(STALLED, true, blocked.reason, &blocked.message)
        .finish();
    for condition in said {
        match all.iter_mut().find(|known| known.type_ == condition.type_) {
            Some(known) => *known = condition,
            None => all.push(condition),
        }
    }
    status["observedGeneration"] = json!(object.metadata.generation);
    status["conditions"] = serde_json::to_value(all).ok()?;
    Some(status)
}

/// Whether a field was written that is not to be seen: the CRD of an older version hides it, and whatever is written next removes it.
fn hides(written: &Value, seen: &Value) -> bool {
    written.as_object().into_iter().flatten().any(|(key, below)| match key.strip_prefix("f:") {
        Some(name) => seen.get(name).is_none_or(|seen| hides(below, seen)),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::restore::RestoreStatus;

    fn object(status: Value, written: Value) -> DynamicObject {
        let managed = json!([{"manager": "pgreeve-restore", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:status": written}}]);
        let metadata = json!({"name": "back", "namespace": "shop", "generation": 3, "managedFields": managed});
        serde_json::from_value(json!({"metadata": metadata, "spec": {}, "status": status})).unwrap()
    }

    #[test]
    fn the_fields_that_cannot_be_read_are_named() {
        assert_eq!(fields::<RestoreStatus>(&Value::Null), [""; 0]);
        assert_eq!(fields::<RestoreStatus>(&json!({"step": "Done", "of a later version": 1})), [""; 0]);
        let found = fields::<RestoreStatus>(&json!({"step": "Sealing", "attempts": 1, "workloads": {"a": 1}}));
        assert!(found.len() == 2 && found[0].starts_with("status.step: unknown variant `Sealing`"), "{found:?}");
        assert!(found[1].starts_with("status.workloads: "), "{found:?}");
        assert_eq!(fields::<RestoreStatus>(&json!("Done")).len(), 1);
    }

    #[test]
    fn all_of_the_status_stays_beside_what_is_said() {
        let complete = json!({"type": "Complete", "status": "True", "reason": "Restored", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"step": "Sealing", "attempts": 2, "conditions": [complete]});
        let object = object(status.clone(), json!({"f:step": {}, "f:conditions": {".": {}, "k:{\"type\":\"Complete\"}": {}}}));
        let blocked = blocked("Restore", &object, &fields::<RestoreStatus>(&status));
        let report = report(&object, &blocked, Timestamp::UNIX_EPOCH);
        assert_eq!((&report.status["step"], &report.status["attempts"]), (&json!("Sealing"), &json!(2)));
        let types = report.status["conditions"].as_array().unwrap().iter().map(|found| found["type"].clone());
        assert_eq!(types.collect::<Vec<_>>(), ["Complete", "Ready", "Reconciling", "Stalled"]);
        assert!(report.state.message.contains("Restore shop/back") && report.state.message.contains("status.step"));
    }

    #[test]
    fn what_an_older_schema_hides_is_not_written_over() {
        let status = json!({"step": "Sealing", "chosen": {"url": "u"}});
        let blocked = Blocked::new(Reason::StatusUnreadable, "");
        let told = |written| report(&object(status.clone(), written), &blocked, Timestamp::UNIX_EPOCH).status;
        assert_eq!(told(json!({"f:step": {}, "f:chosen": {"f:url": {}, "f:seal": {}}})), Value::Null);
        assert_ne!(told(json!({"f:step": {}, "f:chosen": {"f:url": {}}})), Value::Null);
    }
}
