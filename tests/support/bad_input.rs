//! What must be refused? The corpus under `tests/bad-input`, as complete objects.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// Who is to refuse an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Schema or CEL: the API server and `pgreeve validate`.
    #[default]
    Server,
    /// What a schema cannot know: `pgreeve validate`, and in a cluster the condition `Stalled`.
    Meaning,
}

/// An object with one wrong field.
#[derive(Clone, Debug)]
pub struct Case {
    /// The wrong field, such as `spec.window[0].schedule`.
    pub field: String,
    /// The object.
    pub object: Value,
    /// What the refusal must say.
    pub says: Vec<String>,
    /// Who refuses it.
    pub by: By,
}

#[derive(Deserialize)]
struct File {
    base: Value,
    cases: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    field: String,
    patch: Value,
    #[serde(default)]
    says: Vec<String>,
    #[serde(default)]
    by: By,
}

/// The files, one a kind.
const FILES: [&str; 7] = [
    "postgres-database.yaml",
    "partition-policy.yaml",
    "retention-policy.yaml",
    "retention-hold.yaml",
    "backup.yaml",
    "backup-schedule.yaml",
    "restore.yaml",
];

/// The objects that the cases start from, which nobody must refuse.
pub fn bases() -> Vec<Value> {
    FILES.map(|name| read(name).base).into()
}

/// Every case of every kind.
pub fn cases() -> Vec<Case> {
    FILES.into_iter().map(read).flat_map(|file| file.cases.into_iter().map(move |line| line.case(&file.base))).collect()
}

/// The fields of a schema's `spec`, as `spec.window[].schedule`.
pub fn fields(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(&schema["properties"]["spec"], "spec", &mut found);
    found
}

fn collect(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(property, &format!("{path}.{name}"), found);
    }
    if !schema["items"].is_null() {
        collect(&schema["items"], &format!("{path}[]"), found);
    }
}

fn read(name: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-input").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Line {
    fn case(self, base: &Value) -> Case {
        let mut object = base.clone();
        merge(&mut object, &self.patch);
        let says = if self.says.is_empty() { vec![self.field.clone()] } else { self.says };
        Case { field: self.field, object, says, by: self.by }
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Default::default());
    }
    for (key, value) in patch {
        let target = target.as_object_mut().unwrap();
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
