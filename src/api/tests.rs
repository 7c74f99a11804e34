//! Do the generated CRDs keep every convention of the Kubernetes API that users and their tools rely on?

use serde_json::Value;

use super::crds;

fn each(visit: &mut dyn FnMut(&str, &str, &Value)) {
    for crd in crds() {
        let kind = crd.spec.names.kind.clone();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        walk(&kind, "", &schema["openAPIV3Schema"], visit);
    }
}

fn walk(kind: &str, path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &str, &Value)) {
    visit(kind, path, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(kind, &format!("{path}.{name}"), field, visit);
    }
    if schema["items"].is_object() {
        walk(kind, &format!("{path}[]"), &schema["items"], visit);
    }
}

#[test]
fn every_field_has_a_description() {
    let mut bare = Vec::new();
    each(&mut |kind, path, schema| {
        let is_field = !path.is_empty() && !path.ends_with("[]") && path != ".metadata";
        if is_field && schema["description"].as_str().is_none_or(str::is_empty) {
            bare.push(format!("{kind}{path}"));
        }
    });
    assert_eq!(bare, [""; 0]);
}

#[test]
fn there_are_no_floats_no_unsigned_numbers_and_no_maps_of_objects() {
    each(&mut |kind, path, schema| {
        assert_ne!(schema["type"], "number", "{kind}{path}");
        let format = schema["format"].as_str().unwrap_or_default();
        assert!(!format.starts_with("uint") && !matches!(format, "float" | "double"), "{kind}{path}: {format}");
        assert!(!schema["additionalProperties"].is_object(), "{kind}{path} is a map");
    });
}

#[test]
fn lists_of_objects_merge_by_their_key_and_are_bounded_in_specs() {
    each(&mut |kind, path, schema| {
        if schema["type"] != "array" || !path.starts_with(".spec") {
            return;
        }
        assert!(schema["maxItems"].is_number(), "{kind}{path} has no limit");
    });
    each(&mut |kind, path, schema| {
        if path == ".status.conditions" {
            assert_eq!(schema["x-kubernetes-list-type"], "map", "{kind}");
            assert_eq!(schema["x-kubernetes-list-map-keys"][0], "type", "{kind}");
        }
    });
}

#[test]
fn every_string_of_a_spec_is_bounded_by_a_length_a_pattern_or_an_enum() {
    let mut unbounded = Vec::new();
    each(&mut |kind, path, schema| {
        let is_bounded = ["maxLength", "pattern", "enum"].iter().any(|word| !schema[*word].is_null());
        if schema["type"] == "string" && path.starts_with(".spec") && !is_bounded {
            unbounded.push(format!("{kind}{path}"));
        }
    });
    assert_eq!(unbounded, [""; 0]);
}

#[test]
fn every_kind_reports_as_kstatus_and_kubectl_wait_expect() {
    for crd in crds() {
        let (kind, version) = (&crd.spec.names.kind, &crd.spec.versions[0]);
        let schema = serde_json::to_value(&version.schema).unwrap();
        let status = &schema["openAPIV3Schema"]["properties"]["status"]["properties"];
        for field in ["observedGeneration", "conditions", "lastHandledReconcileAt"] {
            assert!(status[field].is_object(), "{kind}: status.{field}");
        }
        assert!(version.subresources.as_ref().is_some_and(|sub| sub.status.is_some()), "{kind}");
    }
}

#[test]
fn printer_columns_begin_with_the_outcome_and_end_with_age() {
    for crd in crds() {
        let kind = &crd.spec.names.kind;
        let columns = crd.spec.versions[0].additional_printer_columns.clone().unwrap();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        // What runs once and ends is complete some day; what lasts is ready.
        let first = if matches!(kind.as_str(), "Backup" | "Restore") { "Complete" } else { "Ready" };
        assert_eq!((names.first(), names.last()), (Some(&first), Some(&"Age")), "{kind}");
        let status = columns.iter().find(|column| column.name == "Status").unwrap();
        assert_eq!(status.priority, Some(1), "{kind}");
        let facts = columns.iter().filter(|column| column.priority.unwrap_or(0) == 0).count() - 2;
        assert!((2..=4).contains(&facts), "{kind} shows {facts} facts");
    }
}

#[test]
fn names_are_short_and_no_core_kind_has_them() {
    // Short names of Kubernetes itself and of widely installed operators.
    let taken = [
        "po", "svc", "pv", "pvc", "ns", "no", "cm", "ep", "ds", "rs", "sts", "ss", "es", "hr", "cert", "cr", "pc", "pdb", "psp",
        "cj", "hpa", "ing",
    ];
    for crd in crds() {
        let names = crd.spec.names;
        assert_eq!(names.categories.as_deref(), Some(&["pgreeve".to_owned()][..]), "{}", names.kind);
        for short in names.short_names.unwrap() {
            assert!(!taken.contains(&short.as_str()), "{short}");
        }
    }
}

#[test]
fn references_never_name_a_namespace() {
    each(&mut |kind, path, _| assert!(!(path.starts_with(".spec") && path.ends_with(".namespace")), "{kind}{path}"));
}

#[test]
fn what_identifies_a_policy_cannot_be_changed_and_says_what_to_do_instead() {
    let mut found = Vec::new();
    each(&mut |kind, path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            if rule["rule"] == "self == oldSelf" {
                let message = rule["message"].as_str().unwrap();
                let says = ["delete this policy", "create another hold", "delete this schedule"]
                    .iter()
                    .any(|next| message.contains(next));
                assert!(says, "{kind}{path}");
                found.push(format!("{kind}{path}"));
            }
        }
    });
    let of_both = |kind: &str| ["databaseRef", "table"].map(|field| format!("{kind}.spec.{field}"));
    let of_tables = ["PartitionPolicy", "RetentionPolicy", "RetentionHold"].map(of_both).concat();
    assert_eq!(found, [of_tables, vec!["BackupSchedule.spec.databaseRef".to_owned()]].concat());
}
