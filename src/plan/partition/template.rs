//! What must a partition have beyond what its parent gives it? The template where it speaks, the newest sibling where it is silent.

use std::collections::BTreeSet;

use super::super::action::Change;
use super::super::snapshot::Properties;
use crate::api::partition_policy::{IndexMethod, PartitionIndex, Privilege, ReplicaIdentity, Template};
use crate::plan::naming;

/// Largest existing partition on which a pass builds an index: about ten seconds of work. A larger one is reported.
const LARGEST_INDEXED: i64 = 256 << 20;

/// Indexes of the template that an existing partition lacks and that are too long to build in a pass.
pub(super) fn too_large_to_index(template: &Template, found: &Properties, name: &str) -> Vec<String> {
    let lacking = template.indexes.iter().map(|index| index_name(name, &index.name));
    lacking.filter(|index| found.bytes > LARGEST_INDEXED && !found.indexes.contains_key(index)).collect()
}

/// The partition that a new one is made like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sibling<'a> {
    /// Its name, which its indexes' names begin with.
    pub name: &'a str,
    /// What it has.
    pub properties: &'a Properties,
}

/// What a new partition gets: everything of its sibling, with the template's word above it.
pub(super) fn for_new(template: &Template, sibling: Option<Sibling<'_>>, parent_owner: &str, name: &str) -> Vec<Change> {
    let none = Properties { owner: parent_owner.to_owned(), replica_identity: 'd', ..Properties::default() };
    let (like, like_name) = sibling.map_or((&none, ""), |sibling| (sibling.properties, sibling.name));
    let mut changes = Vec::new();
    if let Some(tablespace) = template.tablespace.as_ref().or(like.tablespace.as_ref()) {
        changes.push(Change::Tablespace { name: tablespace.clone() });
    }
    changes.extend(storage(template, like));
    changes.extend(statistics(template, like));
    changes.extend(sibling_indexes(template, (like, like_name), name));
    changes.extend(template.indexes.iter().map(|index| template_index(index, name, false)));
    changes.extend(identity(template, like));
    changes.extend(security(template, like));
    changes.extend(
        like.policies.iter().map(|(policy, definition)| Change::Policy { name: policy.clone(), definition: definition.clone() }),
    );
    changes.extend(grants(template, like));
    if let Some(text) = &like.comment {
        changes.push(Change::Comment { text: text.clone() });
    }
    let owner = template.owner.as_ref().unwrap_or(&like.owner);
    if owner != parent_owner {
        changes.push(Change::Owner { role: owner.clone() });
    }
    changes
}

/// What an existing partition lacks of what the template says. What the template does not speak of is left as it is.
pub(super) fn drift(template: &Template, found: &Properties, name: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    for parameter in &template.storage_parameters {
        if found.storage_parameters.get(&parameter.name) != Some(&parameter.value) {
            changes.push(Change::StorageParameter { name: parameter.name.clone(), value: parameter.value.clone() });
        }
    }
    for statistics in &template.statistics {
        if found.statistics.get(&statistics.column) != Some(&statistics.target) {
            changes.push(Change::Statistics { column: statistics.column.clone(), target: statistics.target });
        }
    }
    for index in &template.indexes {
        let index_name = index_name(name, &index.name);
        if !found.indexes.contains_key(&index_name) && found.bytes <= LARGEST_INDEXED {
            changes.push(template_index(index, name, found.invalid_indexes.contains(&index_name)));
        }
    }
    if let Some(wanted) = template.replica_identity
        && letter(wanted) != found.replica_identity
    {
        changes.push(Change::ReplicaIdentity { identity: identity_name(letter(wanted)).into() });
    }
    if let Some(wanted) = template.row_security
        && (wanted.enabled, wanted.forced) != (found.row_security, found.row_security_forced)
    {
        changes.push(Change::RowSecurity { enabled: wanted.enabled, forced: wanted.forced });
    }
    for grant in &template.grants {
        let held = found.grants.get(&grant.role);
        let lacking: BTreeSet<&str> = grant.privileges.iter().map(|privilege| privilege_name(*privilege)).collect();
        let lacking: Vec<String> =
            lacking.into_iter().filter(|name| !held.is_some_and(|held| held.contains(*name))).map(str::to_owned).collect();
        if !lacking.is_empty() && grant.role != found.owner {
            changes.push(Change::Grant { role: grant.role.clone(), privileges: lacking });
        }
    }
    if let Some(owner) = &template.owner
        && *owner != found.owner
    {
        changes.push(Change::Owner { role: owner.clone() });
    }
    changes
}

fn storage(template: &Template, like: &Properties) -> Vec<Change> {
    let mut wanted = like.storage_parameters.clone();
    wanted.extend(template.storage_parameters.iter().map(|parameter| (parameter.name.clone(), parameter.value.clone())));
    wanted.into_iter().map(|(name, value)| Change::StorageParameter { name, value }).collect()
}

fn statistics(template: &Template, like: &Properties) -> Vec<Change> {
    let mut wanted = like.statistics.clone();
    wanted.extend(template.statistics.iter().map(|statistics| (statistics.column.clone(), statistics.target)));
    wanted.into_iter().map(|(column, target)| Change::Statistics { column, target }).collect()
}

/// Indexes of the sibling that neither its parent nor the template accounts for. They are told apart by what they index: the name
/// of a copy begins with the new partition's.
fn sibling_indexes(template: &Template, (like, like_name): (&Properties, &str), name: &str) -> Vec<Change> {
    let of_template: BTreeSet<String> = template.indexes.iter().map(|wanted| index_name(like_name, &wanted.name)).collect();
    let others = like.indexes.iter().filter(|(index, _)| !of_template.contains(*index));
    others
        .enumerate()
        .map(|(number, (_, definition))| {
            let (unique, definition) = match definition.strip_prefix("UNIQUE ") {
                Some(rest) => (true, rest),
                None => (false, definition.as_str()),
            };
            Change::IndexLike { name: index_name(name, &format!("idx{}", number + 1)), definition: definition.to_owned(), unique }
        })
        .collect()
}

fn template_index(index: &PartitionIndex, partition: &str, replaces_invalid: bool) -> Change {
    Change::Index {
        name: index_name(partition, &index.name),
        columns: index.columns.clone(),
        method: method_name(index.method).into(),
        unique: index.unique,
        replaces_invalid,
    }
}

/// The name of an index of a partition: the partition's name and the index's own, at most 63 bytes.
fn index_name(partition: &str, index: &str) -> String {
    naming::unique(&format!("{partition}_{index}"), &BTreeSet::new())
}

fn identity(template: &Template, like: &Properties) -> Option<Change> {
    // An index as identity belongs to the sibling; its counterpart on the new partition comes from the parent's index at ATTACH.
    let found = if like.replica_identity == 'i' { 'd' } else { like.replica_identity };
    let wanted = template.replica_identity.map_or(found, letter);
    (wanted != 'd').then(|| Change::ReplicaIdentity { identity: identity_name(wanted).into() })
}

fn security(template: &Template, like: &Properties) -> Option<Change> {
    let (enabled, forced) = match template.row_security {
        Some(wanted) => (wanted.enabled, wanted.forced),
        None => (like.row_security, like.row_security_forced),
    };
    (enabled || forced).then_some(Change::RowSecurity { enabled, forced })
}

fn grants(template: &Template, like: &Properties) -> Vec<Change> {
    let mut wanted = like.grants.clone();
    for grant in &template.grants {
        wanted.entry(grant.role.clone()).or_default().extend(grant.privileges.iter().map(|p| privilege_name(*p).to_owned()));
    }
    wanted.into_iter().map(|(role, privileges)| Change::Grant { role, privileges: privileges.into_iter().collect() }).collect()
}

fn letter(identity: ReplicaIdentity) -> char {
    match identity {
        ReplicaIdentity::Default => 'd',
        ReplicaIdentity::Full => 'f',
        ReplicaIdentity::Nothing => 'n',
    }
}

fn identity_name(letter: char) -> &'static str {
    match letter {
        'f' => "FULL",
        'n' => "NOTHING",
        _ => "DEFAULT",
    }
}

fn method_name(method: IndexMethod) -> &'static str {
    match method {
        IndexMethod::Btree => "btree",
        IndexMethod::Brin => "brin",
        IndexMethod::Hash => "hash",
        IndexMethod::Gin => "gin",
        IndexMethod::Gist => "gist",
    }
}

/// A privilege in PostgreSQL's name.
pub(super) fn privilege_name(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Select => "SELECT",
        Privilege::Insert => "INSERT",
        Privilege::Update => "UPDATE",
        Privilege::Delete => "DELETE",
        Privilege::Truncate => "TRUNCATE",
        Privilege::References => "REFERENCES",
        Privilege::Trigger => "TRIGGER",
    }
}
