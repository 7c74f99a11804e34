//! How is an adopted policy written? As a person would write it, with what was noticed beside it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::partman::Partman;
use crate::plan::adopt::Proposal;
use crate::plan::key::Encoding;

/// Names that come from the command line.
pub struct Names {
    /// The PostgresDatabase.
    pub database: String,
    /// The namespace, if one is to be written.
    pub namespace: Option<String>,
}

/// The YAML of a policy. Writing to a String cannot fail.
pub fn policy(proposal: &Proposal, partman: Option<&Partman>, names: &Names, taken: &mut BTreeSet<String>) -> String {
    let mut text = format!("---\n# {} of {} partitions lie on this grid", proposal.aligned, proposal.partitions);
    text.push_str(if proposal.has_default { "; there is a default partition.\n" } else { ".\n" });
    for remark in partman.iter().flat_map(|partman| &partman.remarks) {
        let _ = writeln!(text, "# {remark}.");
    }
    if let Some(partman) = partman {
        let _ = writeln!(text, "# Two keepers of one table get in each other's way: before mode Apply, {}", partman.goodbye());
    }
    let table = &proposal.table;
    let name = unique(if table.schema == "public" { table.name.clone() } else { table.to_string() }, taken);
    text.push_str("apiVersion: pgreeve.dev/v1alpha1\nkind: PartitionPolicy\nmetadata:\n");
    let _ = writeln!(text, "  name: {}", scalar(&name));
    if let Some(namespace) = &names.namespace {
        let _ = writeln!(text, "  namespace: {}", scalar(namespace));
    }
    let _ = write!(
        text,
        "spec:\n  databaseRef: {{name: {}}}\n  mode: Observe # Apply carries plans out\n  table: {{schema: {}, name: {}}}\n  key: {{column: {}{}}}\n  interval: {}\n",
        scalar(&names.database),
        scalar(&table.schema),
        scalar(&table.name),
        scalar(&proposal.column),
        encoding(proposal.encoding),
        scalar(&proposal.interval.to_string()),
    );
    optional(&mut text, proposal, partman);
    text
}

fn optional(text: &mut String, proposal: &Proposal, partman: Option<&Partman>) {
    if proposal.time_zone != "UTC" {
        let _ = writeln!(text, "  timeZone: {}", scalar(&proposal.time_zone));
    }
    if let Some(anchor) = proposal.anchor {
        let _ = writeln!(text, "  anchor: {}", scalar(&anchor.to_string()));
    }
    if let Some(premake) = partman.and_then(|partman| partman.premake) {
        let _ = writeln!(text, "  create: {{ahead: {premake}}}");
    }
    if let Some(naming) = &proposal.naming {
        let _ = writeln!(text, "  naming: {}", scalar(naming));
    }
}

fn encoding(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Native => "",
        Encoding::EpochSeconds => ", encoding: EpochSeconds",
        Encoding::EpochMilliseconds => ", encoding: EpochMilliseconds",
        Encoding::EpochMicroseconds => ", encoding: EpochMicroseconds",
        Encoding::Uuidv7 => ", encoding: Uuidv7",
        Encoding::Ulid => ", encoding: Ulid",
    }
}

/// A text as YAML takes it, in quotes unless it is a plain word.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "_-/.".contains(character))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    // A JSON string is a YAML string.
    if is_word { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// A name that Kubernetes takes: lower-case letters, digits and hyphens, at most 63.
pub fn kubernetes_name(text: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(plain).take(56).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "table".into() } else { name.to_owned() }
}

fn unique(text: String, taken: &mut BTreeSet<String>) -> String {
    let name = kubernetes_name(&text);
    let candidates = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
    for candidate in candidates {
        if taken.insert(candidate.clone()) {
            return candidate;
        }
    }
    name
}
