//! Does the spec mean something that can be done? What a schema cannot know of a Restore.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::selector;
use crate::api::restore::{RestoreSource, Workload};
use crate::api::{RestoreSpec, Span};
use crate::plan::backup::check::scratch;
use crate::plan::wrong::{Wrong, counted, fixed};

/// Kinds of Kubernetes that can be brought to nothing, whose API version is known.
pub const OWN_KINDS: [&str; 4] = ["Deployment", "StatefulSet", "ReplicaSet", "CronJob"];

/// What is wrong with a Restore.
pub fn check(spec: &RestoreSpec, now: Timestamp) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    wrong.extend(elsewhere(&spec.source));
    if let Some(name) = spec.target_database.as_deref().filter(|name| matches!(*name, "template0" | "template1")) {
        let message = format!("\"{name}\" is a template of the server, without which no database can be made");
        wrong.push(Wrong::new("targetDatabase", message, "name another one"));
    }
    wrong.extend(workloads(&spec.workloads));
    wrong.extend(counted("keepPrevious", spec.keep_previous, &now.to_zoned(TimeZone::UTC), Span::add_to));
    match spec.quiesce_timeout.to_std() {
        Ok(length) if length.as_secs() == 0 => {
            let message = format!("\"{}\" is over before anything is gone", spec.quiesce_timeout);
            wrong.push(Wrong::new("quiesceTimeout", message, "write for example 5m"));
        }
        _ => wrong.extend(fixed("quiesceTimeout", spec.quiesce_timeout)),
    }
    wrong.extend(spec.scratch.as_ref().and_then(scratch));
    wrong.extend(fixed("job.activeDeadline", spec.job.active_deadline));
    wrong
}

/// A URL whose store is another one than that which is opened.
fn elsewhere(source: &RestoreSource) -> Option<Wrong> {
    let (url, destination) = source.url.as_ref().zip(source.destination.as_ref())?;
    let is_within = url.strip_prefix(&format!("{destination}/")).is_some_and(|key| key.contains('/'));
    let message = || format!("\"{url}\" does not lie in the destination {destination}");
    (!is_within).then(|| Wrong::new("source.url", message(), "correct one of them"))
}

fn workloads(workloads: &[Workload]) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for (index, workload) in workloads.iter().enumerate() {
        let at = |field: &str| format!("workloads[{index}]{field}");
        let kind = &workload.kind;
        if workload.api_version.is_none() && !OWN_KINDS.contains(&kind.as_str()) {
            let message = format!("\"{kind}\" is none of {}", OWN_KINDS.join(", "));
            wrong.push(Wrong::new(at(".kind"), message, "give its apiVersion"));
        }
        if let Some(flaw) = workload.selector.as_deref().and_then(selector::flaw) {
            wrong.push(Wrong::new(at(".selector"), flaw, "write for example tier=backend,app in (api-gateway, ml-service)"));
        }
        let which = workload.name.as_ref().or(workload.selector.as_ref());
        if !known.insert((kind, which)) {
            let message = format!("names {kind} {} a second time", which.map_or("", String::as_str));
            wrong.push(Wrong::new(at(""), message, "name it once"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wrong(more: Value) -> Vec<String> {
        let mut spec = json!({"databaseRef": {"name": "shop"}, "source": {"backupRef": {"name": "shop-1"}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let spec: RestoreSpec = serde_json::from_value(spec).unwrap();
        check(&spec, "2026-11-21T12:00:00Z".parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_can_be_done_is_right() {
        assert_eq!(wrong(json!({})), Vec::<String>::new());
        let workloads = json!([
            {"kind": "Deployment", "name": "api"}, {"kind": "StatefulSet", "name": "api"},
            {"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "selector": "tier=backend"},
        ]);
        assert_eq!(wrong(json!({"workloads": workloads, "keepPrevious": "1 month"})), Vec::<String>::new());
    }

    #[test]
    fn a_url_lies_in_its_destination() {
        let source = |url: &str| {
            let destination = json!({"s3": {"bucket": "backups", "prefix": "shop"}});
            wrong(json!({"source": {"url": url, "destination": destination}}))
        };
        assert!(source("s3://backups/shop/shop/nightly-1/manifest.json").is_empty());
        for elsewhere in
            ["s3://backups/shopping/shop/manifest.json", "gs://backups/shop/a/manifest.json", "s3://backups/shop/manifest.json"]
        {
            let said = source(elsewhere);
            assert!(said[0].contains("does not lie in the destination s3://backups/shop: correct one of them"), "{said:?}");
        }
    }

    #[test]
    fn a_workload_is_named_once_and_can_be_found() {
        let workloads = |workloads: Value| wrong(json!({"workloads": workloads}));
        let said = workloads(json!([{"kind": "Rollout", "name": "api"}]));
        assert!(said[0].starts_with("spec.workloads[0].kind \"Rollout\" is none of Deployment"), "{said:?}");
        let said = workloads(json!([{"kind": "Deployment", "name": "api"}, {"kind": "Deployment", "name": "api"}]));
        assert_eq!(said, ["spec.workloads[1] names Deployment api a second time: name it once"]);
        let said = workloads(json!([{"kind": "Deployment", "selector": "tier in backend"}]));
        assert!(said[0].starts_with("spec.workloads[0].selector \"tier in backend\" is no key of a label"), "{said:?}");
    }

    #[test]
    fn lengths_that_cannot_be_waited_for_are_wrong() {
        assert!(wrong(json!({"quiesceTimeout": "0s"}))[0].starts_with("spec.quiesceTimeout \"0s\" is over before"));
        assert!(wrong(json!({"quiesceTimeout": "1 month"}))[0].contains("no fixed length"));
        assert!(wrong(json!({"keepPrevious": "99999 years"}))[0].starts_with("spec.keepPrevious"));
        assert!(wrong(json!({"targetDatabase": "template1"}))[0].starts_with("spec.targetDatabase \"template1\""));
    }

    #[test]
    fn a_month_is_kept_for_a_month() {
        let spec = json!({"databaseRef": {"name": "a"}, "source": {"backupRef": {"name": "b"}}, "keepPrevious": "1 month"});
        let spec: RestoreSpec = serde_json::from_value(spec).unwrap();
        let status = serde_json::from_value(json!({"completedAt": "2026-02-10T12:00:00Z"})).unwrap();
        assert_eq!(super::super::kept_until(&spec, &status), Some("2026-03-10T12:00:00Z".parse().unwrap()));
    }
}
