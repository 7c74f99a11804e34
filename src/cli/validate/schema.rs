//! Does a value have the form that the CRD's schema asks for? What the API server checks before it evaluates CEL rules.
//!
//! The steps and their order are those of the API server: unknown fields (strict field validation), nulls, defaults, then types
//! and limits (Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions").

use regex::Regex;
use serde_json::{Map, Value};

use super::flaw::{Flaw, nearest};
use crate::yaml::Step;

/// Fields that the schema does not have, and therefore would be lost.
pub fn unknown_fields(schema: &Value, value: &Value, path: &mut Vec<Step>, flaws: &mut Vec<Flaw>) {
    match value {
        Value::Object(fields) => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
            for (name, value) in fields {
                path.push(Step::Key(name.clone()));
                match properties.get(name) {
                    Some(property) => unknown_fields(property, value, path, flaws),
                    None => flaws.push(unknown(properties, name, path)),
                }
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Index(index));
                unknown_fields(&schema["items"], item, path, flaws);
                path.pop();
            }
        }
        _ => {}
    }
}

fn unknown(properties: &Map<String, Value>, name: &str, path: &[Step]) -> Flaw {
    let names = properties.keys().map(String::as_str);
    let help = match nearest(name, names.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the fields here are {}", names.collect::<Vec<_>>().join(", ")),
    };
    Flaw::new(path, format!("unknown field \"{name}\""), help)
}

/// Takes away nulls where null is no value, and then fills in defaults.
pub fn complete(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
            for (name, property) in properties {
                if fields.get(name).is_some_and(Value::is_null) && !is_nullable(property) {
                    fields.remove(name);
                }
                if let (false, Some(default)) = (fields.contains_key(name), property.get("default")) {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    complete(property, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| complete(&schema["items"], item)),
        _ => {}
    }
}

fn is_nullable(schema: &Value) -> bool {
    schema["nullable"].as_bool() == Some(true)
}

/// Types, required fields, and limits.
pub fn check(schema: &Value, value: &Value, path: &mut Vec<Step>, flaws: &mut Vec<Flaw>) {
    if value.is_null() && is_nullable(schema) {
        return;
    }
    if let Some(flaw) = wrong_type(schema, value, path) {
        flaws.push(flaw);
        return;
    }
    flaws.extend(outside_enum(schema, value, path));
    match value {
        Value::Object(fields) => check_fields(schema, fields, path, flaws),
        Value::Array(items) => check_items(schema, items, path, flaws),
        Value::String(text) => flaws.extend(wrong_text(schema, text, path)),
        Value::Number(number) => flaws.extend(outside_range(schema, number, path)),
        Value::Bool(_) | Value::Null => {}
    }
}

fn wrong_type(schema: &Value, value: &Value, path: &[Step]) -> Option<Flaw> {
    let wanted = schema["type"].as_str()?;
    let fits = match (wanted, value) {
        ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    };
    if fits {
        return None;
    }
    let help = match (wanted, value) {
        ("string", Value::Number(_)) if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("days?")) => {
            format!("a bare number is not accepted: write it with its unit and as text, such as \"{value} days\"")
        }
        ("string", Value::Number(_) | Value::Bool(_)) => format!("put it in quotes: \"{value}\""),
        ("string", _) => "write a text".to_owned(),
        ("boolean", _) => "write true or false, without quotes".to_owned(),
        ("integer", _) => "write a whole number, without quotes".to_owned(),
        ("array", _) => "write a list: each item on a line of its own that begins with \"- \"".to_owned(),
        ("object", _) => format!("write fields: {}", field_names(schema)),
        _ => format!("write a {wanted}"),
    };
    Some(Flaw::new(path, format!("{} is {}, not {}", shown(value), kind(value), article(wanted)), help))
}

fn field_names(schema: &Value) -> String {
    let names = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys());
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn outside_enum(schema: &Value, value: &Value, path: &[Step]) -> Option<Flaw> {
    let allowed = schema["enum"].as_array()?;
    if allowed.contains(value) {
        return None;
    }
    let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
    let near = value.as_str().and_then(|text| nearest(text, names.iter().copied()));
    let near = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
    Some(Flaw::new(path, format!("{} is not one of {}", shown(value), names.join(", ")), format!("{near}case counts")))
}

fn check_fields(schema: &Value, fields: &Map<String, Value>, path: &mut Vec<Step>, flaws: &mut Vec<Flaw>) {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            let description = schema["properties"][name]["description"].as_str().unwrap_or_default();
            path.push(Step::Key(name.to_owned()));
            flaws.push(Flaw::new(path, "is required".to_owned(), format!("add {name}: {}", first_sentence(description))));
            path.pop();
        }
    }
    for (name, value) in fields {
        path.push(Step::Key(name.clone()));
        check(&schema["properties"][name], value, path, flaws);
        path.pop();
    }
}

fn check_items(schema: &Value, items: &[Value], path: &mut Vec<Step>, flaws: &mut Vec<Flaw>) {
    let count = items.len() as u64;
    if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
        flaws.push(Flaw::new(path, format!("has {count} items"), format!("at most {most} are allowed")));
    }
    if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
        flaws.push(Flaw::new(path, format!("has {count} items"), format!("at least {least} is needed")));
    }
    let keys: Vec<&str> =
        schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (index, item) in items.iter().enumerate() {
        path.push(Step::Index(index));
        check(&schema["items"], item, path, flaws);
        let is_again =
            !keys.is_empty() && items.iter().take(index).any(|earlier| keys.iter().all(|key| earlier[key] == item[key]));
        if is_again {
            let key: Vec<String> = keys.iter().map(|key| format!("{key} {}", shown(&item[key]))).collect();
            flaws.push(Flaw::new(
                path,
                format!("Duplicate value: {} is in the list already", key.join(", ")),
                "keep one of them".into(),
            ));
        }
        path.pop();
    }
}

fn wrong_text(schema: &Value, text: &str, path: &[Step]) -> Option<Flaw> {
    let length = text.chars().count() as u64;
    if schema["minLength"].as_u64().is_some_and(|least| length < least) {
        return Some(Flaw::new(
            path,
            format!("\"{text}\" is too short"),
            format!("write at least {} characters", schema["minLength"]),
        ));
    }
    if schema["maxLength"].as_u64().is_some_and(|most| length > most) {
        let message = format!("\"{}\" has {length} characters", crate::api::condition::shorten(text, 80));
        return Some(Flaw::new(path, message, format!("at most {} are allowed", schema["maxLength"])));
    }
    let pattern = schema["pattern"].as_str()?;
    // A pattern of ours that the crate cannot read is refused by the test over the CRDs.
    let fits = Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    (!fits).then(|| Flaw::new(path, format!("\"{text}\" is not accepted here"), remedy(pattern, text)))
}

/// What to write instead. The types that stand behind the two longest patterns say it best themselves.
fn remedy(pattern: &str, text: &str) -> String {
    let by_type = match (pattern.contains("quarters?"), pattern.contains("milliseconds?")) {
        (true, true) => text.parse::<crate::api::Span>().err().map(|error| error.to_string()),
        (true, false) => text.parse::<crate::api::Interval>().err().map(|error| error.to_string()),
        _ if pattern.starts_with("^[0-9]{4}-") => Some("write a date such as 2025-01-01".into()),
        _ if pattern.contains("[0-9]{4}-") => {
            Some("write a date such as 2025-01-01, or a whole number for an integer key".into())
        }
        _ => None,
    };
    by_type.unwrap_or_else(|| format!("it must match {pattern}"))
}

fn outside_range(schema: &Value, number: &serde_json::Number, path: &[Step]) -> Option<Flaw> {
    let value = number.as_f64()?;
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    let is_outside = least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most);
    let help = match (least, most) {
        (Some(least), Some(most)) => format!("write a number from {least} to {most}"),
        (Some(least), None) => format!("write {least} or more"),
        (None, Some(most)) => format!("write {most} or less"),
        (None, None) => return None,
    };
    is_outside.then(|| Flaw::new(path, format!("{number} is out of range"), help))
}

/// A value as a message quotes it.
fn shown(value: &Value) -> String {
    crate::api::condition::shorten(&value.to_string(), 80)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn article(wanted: &str) -> &str {
    match wanted {
        "object" => "an object",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "a boolean",
        "integer" => "a whole number",
        other => other,
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text.trim_end_matches('.'), |(first, _)| first)
}
