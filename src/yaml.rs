//! How is YAML read and written? The one module that knows which library does it.
//!
//! Documents become JSON, as they do on their way to the API server: merge keys are resolved, a key given twice is an error, and
//! keys that are numbers or booleans become text. A place in a document is found again by its path, for messages.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A place in a text, both counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Why a text is not YAML that could be an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// What is wrong.
    pub message: String,
    /// Where, as far as it is known.
    pub place: Option<Place>,
}

/// A step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the value of a key.
    Key(String),
    /// Into an item of a list.
    Index(usize),
}

/// The documents of a text, empty ones left out. The first error ends them: what follows it cannot be told apart.
///
/// # Errors
/// [`YamlError`], with its place.
pub fn documents(text: &str) -> Result<Vec<(usize, Value)>, YamlError> {
    let mut found = Vec::new();
    for (number, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let mut value = <serde_yaml::Value as serde::Deserialize>::deserialize(document).map_err(YamlError::from)?;
        value.apply_merge().map_err(YamlError::from)?;
        let value = json(value)?;
        if !value.is_null() {
            found.push((number, value));
        }
    }
    Ok(found)
}

/// The text of a value as one YAML document.
///
/// # Errors
/// [`YamlError`] for what has no form in YAML.
pub fn text<T: Serialize>(value: &T) -> Result<String, YamlError> {
    serde_yaml::to_string(value).map_err(YamlError::from)
}

/// Where the deepest part of `path` that exists begins in a document: at its key, or at its list item.
pub fn place(text: &str, document: usize, path: &[Step]) -> Option<Place> {
    (0..=path.len()).rev().find_map(|depth| {
        let document = serde_yaml::Deserializer::from_str(text).nth(document)?;
        let found = Cell::new(false);
        // The library knows where it is only when something fails there, so finding is failing on purpose.
        let error = Find { path: path.get(..depth)?, found: &found }.deserialize(document).err()?;
        found.get().then(|| error.location().map(|at| Place { line: at.line(), column: at.column() })).flatten()
    })
}

impl From<serde_yaml::Error> for YamlError {
    fn from(error: serde_yaml::Error) -> Self {
        let place = error.location().map(|at| Place { line: at.line(), column: at.column() });
        Self { message: error.to_string(), place }
    }
}

fn json(value: serde_yaml::Value) -> Result<Value, YamlError> {
    let error = |message: String| YamlError { message, place: None };
    Ok(match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => Value::Bool(value),
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Number(number) => serde_json::to_value(&number)
            .ok()
            .filter(Value::is_number)
            .ok_or_else(|| error(format!("the number {number} has no form in JSON")))?,
        serde_yaml::Value::Sequence(items) => Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?),
        serde_yaml::Value::Mapping(entries) => {
            let mut object = serde_json::Map::new();
            for (key, value) in entries {
                let key = match key {
                    serde_yaml::Value::String(key) => key,
                    serde_yaml::Value::Number(key) => key.to_string(),
                    serde_yaml::Value::Bool(key) => key.to_string(),
                    _ => return Err(error("a key must be text".into())),
                };
                if object.contains_key(&key) {
                    return Err(error(format!("the key \"{key}\" is given twice")));
                }
                object.insert(key, json(value)?);
            }
            Value::Object(object)
        }
        serde_yaml::Value::Tagged(tagged) => return Err(error(format!("the tag {} means nothing here: remove it", tagged.tag))),
    })
}

/// Fails at the place it looks for.
struct Find<'a> {
    path: &'a [Step],
    found: &'a Cell<bool>,
}

impl Find<'_> {
    fn here<E: serde::de::Error>(&self) -> E {
        self.found.set(true);
        E::custom("here")
    }
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: serde::de::Error>(self, _: $type) -> Result<(), E> {
            if self.path.is_empty() { Err(self.here()) } else { Ok(()) }
        })*
    };
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        if self.path.is_empty() { Err(self.here()) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else { return Err(self.here()) };
        let mut at = 0;
        loop {
            let is_wanted = *step == Step::Index(at);
            let more = match is_wanted {
                true => items.next_element_seed(Find { path: rest, found: self.found })?.is_some(),
                false => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(());
            }
            at += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else { return Err(self.here()) };
        let Step::Key(wanted) = step else { return while_any(entries) };
        loop {
            let key = Key { wanted, is_last: rest.is_empty(), found: self.found };
            match entries.next_key_seed(key)? {
                None => return Ok(()),
                Some(true) => entries.next_value_seed(Find { path: rest, found: self.found })?,
                Some(false) => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
    }
}

fn while_any<'de, A: MapAccess<'de>>(mut entries: A) -> Result<(), A::Error> {
    while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Says whether a key is the wanted one, and fails there if it is the last of the path.
struct Key<'a> {
    wanted: &'a str,
    is_last: bool,
    found: &'a Cell<bool>,
}

impl Key<'_> {
    fn compare<E: serde::de::Error>(&self, key: &str) -> Result<bool, E> {
        if key == self.wanted && self.is_last {
            self.found.set(true);
            return Err(E::custom("here"));
        }
        Ok(key == self.wanted)
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        self.compare(key)
    }

    fn visit_bool<E: serde::de::Error>(self, key: bool) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, key: i64) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, key: u64) -> Result<bool, E> {
        self.compare(&key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TEXT: &str = "a: 1\n---\n# a comment\nspec:\n  table:\n    name: x\n  window:\n  - schedule: y\n  - schedule: z\n    duration: 1h\n---\n";

    fn path(text: &str) -> Vec<Step> {
        let step = |word: &str| word.parse().map_or_else(|_| Step::Key(word.to_owned()), Step::Index);
        text.split('.').filter(|word| !word.is_empty()).map(step).collect()
    }

    #[rstest]
    #[case(0, "a", 1)]
    #[case(1, "spec", 4)]
    #[case(1, "spec.table.name", 6)]
    #[case(1, "spec.window", 7)]
    #[case(1, "spec.window.1", 9)]
    #[case(1, "spec.window.1.duration", 10)]
    // What is not there is looked for at its parent.
    #[case(1, "spec.table.schema", 5)]
    #[case(1, "", 4)]
    fn a_path_is_found_at_its_line(#[case] document: usize, #[case] at: &str, #[case] line: usize) {
        assert_eq!(place(TEXT, document, &path(at)).map(|place| place.line), Some(line));
    }

    #[test]
    fn documents_become_json_and_empty_ones_are_left_out() {
        let found = documents(TEXT).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, 1);
        assert_eq!(found[0].1, serde_json::json!({"a": 1}));
        assert_eq!(documents("x: &a {b: 1}\ny:\n  <<: *a\n").unwrap()[0].1["y"]["b"], 1);
    }

    #[rstest]
    #[case("a: 1\na: 2\n", "duplicate entry")]
    #[case("1: a\n\"1\": b\n", "given twice")]
    #[case("a: [1\n", "did not find expected")]
    #[case("a: !secret x\n", "means nothing here")]
    #[case("a: .inf\n", "no form in JSON")]
    fn what_is_not_an_object_is_refused(#[case] text: &str, #[case] says: &str) {
        let error = documents(text).unwrap_err();
        assert!(error.message.contains(says), "{error}");
    }
}
