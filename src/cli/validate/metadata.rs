//! Is the metadata what the API server takes? Names, labels and annotations.

use serde_json::Value;

use super::flaw::{By, Flaw, nearest};

/// The fields that a person may give (Kubernetes API, ObjectMeta v1); the server's own are taken and ignored.
const FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What is wrong with `metadata`.
pub fn check(object: &Value) -> Vec<Flaw> {
    let flaw = |field: &str, message: String, help: &str| Flaw::at(field, By::Schema, message, help);
    let Some(metadata) = object["metadata"].as_object() else {
        return vec![flaw("metadata", "is required".into(), "add metadata with a name")];
    };
    let mut flaws = Vec::new();
    for field in metadata.keys().filter(|field| !FIELDS.contains(&field.as_str())) {
        let help = nearest(field, FIELDS).map_or("remove it".to_owned(), |near| format!("did you mean {near}?"));
        flaws.push(flaw(&format!("metadata.{field}"), format!("unknown field \"{field}\""), &help));
    }
    match (metadata.get("name"), metadata.get("generateName")) {
        (Some(Value::String(name)), _) if is_subdomain(name) => {}
        (None, Some(_)) => {}
        (None, None) => flaws.push(flaw("metadata.name", "is required".into(), "give the object a name")),
        (Some(name), _) => flaws.push(flaw(
            "metadata.name",
            format!("{name} is not a name"),
            "write lower-case letters, digits, hyphens and dots, at most 253, beginning and ending with a letter or digit",
        )),
    }
    if let Some(namespace) = metadata.get("namespace")
        && !namespace.as_str().is_some_and(is_label)
    {
        let help = "write lower-case letters, digits and hyphens, at most 63, beginning and ending with a letter or digit";
        flaws.push(flaw("metadata.namespace", format!("{namespace} is not a namespace"), help));
    }
    flaws.extend(check_pairs(object));
    flaws
}

fn check_pairs(object: &Value) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    for kind in ["labels", "annotations"] {
        let pairs = &object["metadata"][kind];
        let field = format!("metadata.{kind}");
        if !pairs.is_object() && !pairs.is_null() {
            flaws.push(Flaw::at(&field, By::Schema, "is not an object", "write key: value pairs"));
        }
        for (key, value) in pairs.as_object().into_iter().flatten() {
            let at = |message: String, help: &str| Flaw::at(&field, By::Schema, message, help);
            if !is_qualified(key) {
                flaws.push(at(
                    format!("\"{key}\" is not a key"),
                    "write [domain/]name with letters, digits, hyphens, dots and underscores",
                ));
            }
            match value.as_str() {
                None => flaws.push(at(format!("{key}: {value} is not a text"), &format!("put it in quotes: \"{value}\""))),
                Some(text) if kind == "labels" && !(text.is_empty() || is_word(text)) => {
                    flaws.push(at(
                        format!("{key}: \"{text}\" is not a label's value"),
                        "write at most 63 letters, digits, hyphens, dots and underscores",
                    ));
                }
                Some(_) => {}
            }
        }
    }
    flaws
}

fn is_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<&u8>| byte.copied().is_some_and(fits);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|&byte| fits(byte) || byte == b'-')
}

/// RFC 1123; unlike a label of a namespace its parts are limited together only.
fn is_subdomain(text: &str) -> bool {
    let fits = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = part.as_bytes();
        let ends = |byte: Option<&u8>| byte.copied().is_some_and(letter);
        ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|&byte| letter(byte) || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(fits)
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(fits)
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_subdomain(domain) && is_word(name),
        None => is_word(key),
    }
}
