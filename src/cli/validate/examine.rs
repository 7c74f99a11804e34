//! What is the verdict on one object? Form, rules and meaning, in the order in which the API server and the operator look.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::cel::Validator;
use serde_json::Value;

use super::flaw::{By, Flaw, nearest};
use super::{meaning, metadata, schema};
use crate::api::{GROUP, VERSION};

/// The schemas of every kind, read once.
pub struct Examiner {
    kinds: Vec<(String, Value)>,
    rules: Validator,
    now: Timestamp,
}

/// What was found out about an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is none of ours; why it was not looked at.
    Skipped(String),
    /// It is one of ours.
    Examined {
        /// The kind, or what was given for it.
        kind: String,
        /// The object with its defaults, as the API server would store it.
        completed: Value,
        /// What is wrong.
        flaws: Vec<Flaw>,
    },
}

impl Examiner {
    /// Reads the schemas. `now` is the moment for which schedules and horizons are tried.
    pub fn new(now: Timestamp) -> Self {
        let kinds = crate::api::crds().iter().filter_map(|crd| Some((crd.spec.names.kind.clone(), schema_of(crd)?))).collect();
        Self { kinds, rules: Validator::new(), now }
    }

    /// The verdict on an object. `named` is whether its file was given by name: then what is no object at all is an error.
    pub fn examine(&self, object: &Value, named: bool) -> Verdict {
        let (Some(version), Some(kind)) = (object["apiVersion"].as_str(), object["kind"].as_str()) else {
            if !named {
                return Verdict::Skipped("no Kubernetes object".into());
            }
            let lacking = if object["apiVersion"].is_string() { "kind" } else { "apiVersion" };
            return examined(
                object,
                Flaw::at(lacking, By::Schema, "is required", format!("write apiVersion: {GROUP}/{VERSION} and a kind")),
            );
        };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        if group != GROUP {
            return Verdict::Skipped(format!("{kind} of {version} is not of {GROUP}"));
        }
        if version != format!("{GROUP}/{VERSION}") {
            let message = format!("{version} is not a version that is served");
            return examined(object, Flaw::at("apiVersion", By::Schema, message, format!("write {GROUP}/{VERSION}")));
        }
        match self.kinds.iter().find(|(known, _)| known == kind) {
            Some((_, schema)) => self.judge(kind, schema, object),
            None => examined(object, self.unknown_kind(kind)),
        }
    }

    fn unknown_kind(&self, kind: &str) -> Flaw {
        let kinds = self.kinds.iter().map(|(kind, _)| kind.as_str());
        let near = nearest(kind, kinds.clone()).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
        let help = format!("{near}the kinds are {}", kinds.collect::<Vec<_>>().join(", "));
        Flaw::at("kind", By::Schema, format!("\"{kind}\" is no kind of {GROUP}/{VERSION}"), help)
    }

    fn judge(&self, kind: &str, schema: &Value, object: &Value) -> Verdict {
        let mut flaws = metadata::check(object);
        let mut completed = object.clone();
        // The schema speaks of metadata as of any object; the status is dropped by the API server before it looks.
        let fields = completed.as_object_mut();
        let metadata = fields.and_then(|fields| {
            fields.remove("status");
            fields.remove("metadata")
        });
        schema::unknown_fields(schema, &completed, &mut vec![], &mut flaws);
        schema::complete(schema, &mut completed);
        schema::check(schema, &completed, &mut vec![], &mut flaws);
        if flaws.is_empty() {
            let name = metadata.as_ref().and_then(|metadata| metadata.get("name"));
            flaws.extend(self.broken_rules(schema, &completed, name));
        }
        if let (Some(fields), Some(metadata)) = (completed.as_object_mut(), metadata) {
            fields.insert("metadata".into(), metadata);
        }
        if flaws.is_empty() {
            flaws.extend(meaning::check(kind, &completed, self.now));
        }
        Verdict::Examined { kind: kind.to_owned(), completed, flaws }
    }

    /// Rules see the name beside the rest, and nothing else of the metadata.
    fn broken_rules(&self, schema: &Value, completed: &Value, name: Option<&Value>) -> Vec<Flaw> {
        let mut seen = completed.clone();
        if let Some(fields) = seen.as_object_mut() {
            let name = name.map(|name| ("name".to_owned(), name.clone()));
            fields.insert("metadata".into(), Value::Object(name.into_iter().collect()));
        }
        let Err(errors) = self.rules.validate(schema, &seen, None) else { return vec![] };
        let flaw = |error: kube::core::cel::ValidationError| {
            let (message, help) = match error.message.split_once([':', ';']) {
                Some((message, help)) => (message.to_owned(), help.trim().to_owned()),
                None => (error.message.clone(), "change one of the two fields".to_owned()),
            };
            // A rule over the whole object speaks of its name.
            let field = if error.field_path.is_empty() { "metadata.name" } else { &error.field_path };
            Flaw::at(field, By::Schema, message, help)
        };
        errors.into_vec().into_iter().map(flaw).collect()
    }
}

fn examined(object: &Value, flaw: Flaw) -> Verdict {
    let kind = object["kind"].as_str().unwrap_or("object").to_owned();
    Verdict::Examined { kind, completed: object.clone(), flaws: vec![flaw] }
}

fn schema_of(crd: &CustomResourceDefinition) -> Option<Value> {
    let schema = crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()?;
    let mut schema = serde_json::to_value(schema).ok()?;
    // Every object has these, whether or not the schema of a kind says so.
    let properties = schema.get_mut("properties")?.as_object_mut()?;
    for name in ["apiVersion", "kind"] {
        properties.insert(name.into(), serde_json::json!({"type": "string"}));
    }
    Some(schema)
}
