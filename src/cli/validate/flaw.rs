//! What is wrong with an object, and where? One flaw: a field, what is so, and what to do about it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::yaml::Step;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Flaw {
    /// The way to the field.
    #[serde(skip)]
    pub path: Vec<Step>,
    /// The field as it is written in messages, such as `spec.window[0].schedule`.
    pub field: String,
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// Who refuses it.
    pub by: By,
}

/// Who refuses an object with a flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum By {
    /// Everybody who reads YAML.
    Syntax,
    /// The API server, by the schema or the CEL rules of the CRD.
    Schema,
    /// The operator, which would set the condition Stalled.
    Meaning,
}

impl Flaw {
    /// A flaw that the schema tells.
    pub fn new(path: &[Step], message: String, help: String) -> Self {
        Self { path: path.to_vec(), field: written(path), message, help, by: By::Schema }
    }

    /// A flaw at a field given as text.
    pub fn at(field: &str, by: By, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { path: steps(field), field: field.to_owned(), message: message.into(), help: help.into(), by }
    }
}

fn written(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        // Writing to a String cannot fail.
        let _ = match step {
            Step::Index(index) => write!(text, "[{index}]"),
            Step::Key(key) if text.is_empty() => write!(text, "{key}"),
            Step::Key(key) => write!(text, ".{key}"),
        };
    }
    text
}

/// The steps of a field such as `spec.window[0].schedule`.
fn steps(field: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in field.split('.').filter(|part| !part.is_empty()) {
        let (key, indices) = part.split_once('[').unwrap_or((part, ""));
        steps.push(Step::Key(key.to_owned()));
        steps.extend(indices.split(['[', ']']).filter_map(|index| index.parse().ok()).map(Step::Index));
    }
    steps
}

/// The candidate that was probably meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    let close = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    close.filter(|(distance, candidate)| *distance <= candidate.len() / 3).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_reads_back_from_its_text() {
        let text = "spec.window[0].schedule";
        assert_eq!(
            steps(text),
            [Step::Key("spec".into()), Step::Key("window".into()), Step::Index(0), Step::Key("schedule".into())]
        );
        assert_eq!(written(&steps(text)), text);
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_word_and_a_foreign_word_does_not() {
        let fields = ["interval", "timeZone", "table"];
        assert_eq!(nearest("timezone", fields), Some("timeZone"));
        assert_eq!(nearest("intervall", fields), Some("interval"));
        assert_eq!(nearest("retention", fields), None);
    }
}
