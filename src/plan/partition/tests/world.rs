//! A catalog in memory: it answers what a plan needs to know, carries actions out, and refuses what PostgreSQL refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::super::action::{Action, Change, CreatePartition, ObjectId, Plan};
use super::super::super::key::{Key, Range, parse_bounds};
use super::super::super::snapshot::{
    Details, KeyColumn, Needs, Oid, Parent, Partition, Properties, Server, Strategy, TableName, Tree,
};
use super::super::{Coverage, Facts, needs, plan};
use crate::api::{Interval, PartitionPolicySpec};

/// The root of every tree.
pub const ROOT: Oid = 1_000;

/// The moment at which the tests take place, unless they say otherwise.
pub const NOW: &str = "2026-11-21T08:00:00Z";

/// A table and what is around it.
#[derive(Clone, Debug)]
pub struct World {
    pub tree: Tree,
    pub server: Server,
    pub properties: BTreeMap<Oid, Properties>,
    /// Relations outside of the tree, as `schema.name`.
    pub others: BTreeSet<String>,
    /// Rows of default partitions: the bounds of a range that holds them all, and their number.
    pub default_rows: Vec<(String, String, i64)>,
    pub foreign_keys: BTreeSet<String>,
    pub now: Timestamp,
    next: Oid,
}

impl World {
    /// `public.events`, divided by `at`, without a partition.
    pub fn new(type_name: &str) -> Self {
        let table = TableName { schema: "public".into(), name: "events".into() };
        let tree = Tree { table: table.clone(), oid: ROOT, parents: vec![parent(ROOT, table, None, type_name)] };
        Self {
            tree,
            server: server(),
            properties: BTreeMap::new(),
            others: BTreeSet::new(),
            default_rows: vec![],
            foreign_keys: BTreeSet::new(),
            now: at(NOW),
            next: 2_000,
        }
    }

    /// The same at another time.
    pub fn at(mut self, now: &str) -> Self {
        self.now = at(now);
        self
    }

    /// With a partition of these bounds; `MINVALUE` and `MAXVALUE` are understood.
    pub fn with(mut self, name: &str, lower: &str, upper: &str) -> Self {
        self.add(ROOT, name, bounds(lower, upper));
        self
    }

    /// With a default partition of this size.
    pub fn with_default(mut self, bytes: i64) -> Self {
        let oid = self.add(ROOT, "events_default", "DEFAULT".into());
        let default = self.partition(oid);
        (default.bytes, default.has_blocks, default.tuples) = (Some(bytes), Some(bytes > 0), bytes / 100);
        self
    }

    /// With the last partition changed.
    pub fn but(mut self, change: impl FnOnce(&mut Partition)) -> Self {
        let last = self.next - 1;
        change(self.partition(last));
        self
    }

    /// Adds a partition below a parent, as its owner, and returns its OID.
    pub fn add(&mut self, parent: Oid, name: &str, bound: String) -> Oid {
        let oid = self.next;
        self.next += 1;
        let parent = self.tree.parents.iter_mut().find(|candidate| candidate.oid == parent).unwrap();
        parent.partitions.push(Partition {
            oid,
            table: TableName { schema: parent.table.schema.clone(), name: name.into() },
            bound,
            kind: 'r',
            detach_pending: false,
            pages: 0,
            tuples: -1,
            has_blocks: Some(false),
            bytes: None,
            leftover_guards: vec![],
        });
        let owner = parent.owner.clone();
        self.properties.insert(oid, Properties { owner, replica_identity: 'd', ..Properties::default() });
        oid
    }

    /// A level between the root and its partitions: the root is divided by list.
    pub fn add_child(&mut self, name: &str, type_name: &str) -> Oid {
        let oid = self.add(ROOT, name, format!("FOR VALUES IN ('{name}')"));
        self.partition(oid).kind = 'p';
        self.tree.parents[0].strategy = Some(Strategy::List);
        self.tree.parents[0].key[0].name = "tenant".into();
        let table = TableName { schema: "public".into(), name: name.into() };
        self.tree.parents.push(parent(oid, table, Some(ROOT), type_name));
        oid
    }

    pub fn partition(&mut self, oid: Oid) -> &mut Partition {
        self.tree.parents.iter_mut().flat_map(|parent| &mut parent.partitions).find(|partition| partition.oid == oid).unwrap()
    }

    /// The plan, after the two looks that a pass takes.
    pub fn plan(&self, spec: &PartitionPolicySpec) -> Plan {
        let details = self.details(spec);
        plan(object(), spec, &self.facts(&details), self.now)
    }

    pub fn coverage(&self, spec: &PartitionPolicySpec) -> Option<Coverage> {
        Coverage::of(spec, &self.facts(&Details::default()), self.now)
    }

    fn facts<'a>(&'a self, details: &'a Details) -> Facts<'a> {
        Facts { server: &self.server, tree: Some(&self.tree), details }
    }

    fn details(&self, spec: &PartitionPolicySpec) -> Details {
        let first = self.answer(spec, &needs(spec, &self.facts(&Details::default()), self.now));
        if first.taken.values().all(BTreeSet::is_empty) {
            return first;
        }
        self.answer(spec, &needs(spec, &self.facts(&first), self.now))
    }

    fn answer(&self, spec: &PartitionPolicySpec, needs: &Needs) -> Details {
        let mut details = Details::default();
        for oid in &needs.properties {
            details.properties.insert(*oid, self.properties[oid].clone());
        }
        for (schema, names) in &needs.names {
            let taken = names.iter().filter(|name| self.exists(schema, name)).cloned().collect();
            details.taken.insert(schema.clone(), taken);
        }
        for oid in &needs.foreign_keys {
            details.foreign_keys.insert(*oid, self.foreign_keys.clone());
        }
        for question in &needs.default_rows {
            let rows = self.rows_within(spec, &bounds(&question.lower, &question.upper));
            details.default_rows.insert(question.clone(), rows);
        }
        details
    }

    fn rows_within(&self, spec: &PartitionPolicySpec, bound: &str) -> i64 {
        let key = self.key(spec);
        let range = parse_bounds(bound, &key).unwrap();
        let held = self
            .default_rows
            .iter()
            .filter(|(lower, upper, _)| parse_bounds(&bounds(lower, upper), &key).unwrap().overlaps(&range));
        held.map(|(_, _, rows)| rows).sum()
    }

    fn exists(&self, schema: &str, name: &str) -> bool {
        self.others.contains(&format!("{schema}.{name}"))
            || self.relations().any(|table| table.schema == schema && table.name == name)
    }

    fn relations(&self) -> impl Iterator<Item = &TableName> {
        self.tree
            .parents
            .iter()
            .flat_map(|parent| parent.partitions.iter().map(|partition| &partition.table).chain([&parent.table]))
    }

    /// The key of the parents that are divided by `at`.
    pub fn key(&self, spec: &PartitionPolicySpec) -> Key {
        let column = self.tree.parents.iter().flat_map(|parent| &parent.key).find(|column| column.name == "at").unwrap();
        Key::new(column.type_name.parse().unwrap(), spec.key.encoding).unwrap()
    }

    /// Carries out a plan, or its beginning.
    pub fn apply(&mut self, spec: &PartitionPolicySpec, actions: &[Action]) {
        for action in actions {
            match action {
                Action::CreatePartition(create) => self.create(spec, create),
                Action::CreateDefault(create) => {
                    let parent = self.tree.parents.iter().find(|parent| parent.oid == create.parent.oid).unwrap();
                    assert!(parent.partitions.iter().all(|p| p.bound != "DEFAULT"), "42P17: a default partition exists");
                    let oid = self.add_new(create.parent.oid, &create.name, "DEFAULT".into(), &create.role, &create.properties);
                    (self.partition(oid).has_blocks, self.partition(oid).bytes) = (Some(false), Some(0));
                }
                Action::RepairPartition(repair) => {
                    let properties = self.properties.get_mut(&repair.partition.oid).unwrap();
                    assert_eq!(properties.owner, repair.role, "42501: must be owner");
                    repair.changes.iter().for_each(|change| set(properties, change));
                }
                Action::DropGuard(drop) => {
                    self.partition(drop.default.oid).leftover_guards.retain(|guard| *guard != drop.constraint);
                }
                _ => panic!("no action of a partition policy: {action}"),
            }
        }
    }

    fn create(&mut self, spec: &PartitionPolicySpec, create: &CreatePartition) {
        let key = self.key(spec);
        let bound = bounds(&create.lower, &create.upper);
        let range = parse_bounds(&bound, &key).unwrap_or_else(|error| panic!("42P17: {error}"));
        let parent = self.tree.parents.iter().find(|parent| parent.oid == create.parent.oid).unwrap();
        for sibling in parent.partitions.iter().filter(|sibling| sibling.bound != "DEFAULT") {
            let Ok(held) = parse_bounds(&sibling.bound, &key) else { continue };
            assert!(!held.overlaps(&range), "42P17: {bound} would overlap {} {}", sibling.table, sibling.bound);
        }
        if parent.partitions.iter().any(|sibling| sibling.bound == "DEFAULT") {
            assert_eq!(self.rows_within(spec, &bound), 0, "23514: rows of {bound} are in the default partition");
        }
        self.add_new(create.parent.oid, &create.name, bound, &create.role, &create.properties);
    }

    fn add_new(&mut self, parent: Oid, name: &str, bound: String, role: &str, changes: &[Change]) -> Oid {
        assert!(!name.is_empty() && name.len() <= 63, "42602: {name:?}");
        assert!(!self.exists("public", name), "42P07: {name} exists");
        let oid = self.add(parent, name, bound);
        let mut properties = Properties { owner: role.into(), replica_identity: 'd', ..Properties::default() };
        changes.iter().for_each(|change| set(&mut properties, change));
        self.properties.insert(oid, properties);
        oid
    }

    /// The ranges that take rows, in order.
    pub fn ranges(&self, spec: &PartitionPolicySpec, parent: Oid) -> Vec<Range> {
        let key = self.key(spec);
        let parent = self.tree.parents.iter().find(|candidate| candidate.oid == parent).unwrap();
        let attached = parent.partitions.iter().filter(|partition| !partition.detach_pending);
        let mut ranges: Vec<Range> = attached.filter_map(|partition| parse_bounds(&partition.bound, &key).ok()).collect();
        ranges.sort();
        ranges
    }

    /// Name and bounds of the partitions, in order of their bounds' text.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.tree.parents.iter().flat_map(|parent| &parent.partitions).map(|p| p.table.name.clone()).collect();
        names.sort();
        names
    }
}

fn set(properties: &mut Properties, change: &Change) {
    match change.clone() {
        Change::Tablespace { name } => properties.tablespace = Some(name),
        Change::StorageParameter { name, value } => drop(properties.storage_parameters.insert(name, value)),
        Change::Statistics { column, target } => drop(properties.statistics.insert(column, target)),
        Change::Index { name, columns, .. } => {
            assert!(properties.indexes.insert(name, columns.join(", ")).is_none(), "42P07: the index exists");
        }
        Change::IndexLike { name, definition, .. } => drop(properties.indexes.insert(name, definition)),
        Change::ReplicaIdentity { identity } => {
            properties.replica_identity = identity.to_lowercase().chars().next().unwrap();
        }
        Change::RowSecurity { enabled, forced } => {
            (properties.row_security, properties.row_security_forced) = (enabled, forced);
        }
        Change::Policy { name, definition } => drop(properties.policies.insert(name, definition)),
        Change::Grant { role, privileges } => properties.grants.entry(role).or_default().extend(privileges),
        Change::Comment { text } => properties.comment = Some(text),
        Change::Owner { role } => properties.owner = role,
    }
}

fn parent(oid: Oid, table: TableName, parent: Option<Oid>, type_name: &str) -> Parent {
    Parent {
        oid,
        table,
        parent,
        strategy: Some(Strategy::Range),
        key: vec![KeyColumn { name: "at".into(), type_name: type_name.into(), collation: Some("C".into()), not_null: true }],
        owner: "app_owner".into(),
        may_act_as_owner: true,
        owner_may_create: true,
        partitions: vec![],
    }
}

fn server() -> Server {
    Server {
        version_num: 160_014,
        version: "16.14".into(),
        database: "shop".into(),
        role: "pgreeve".into(),
        superuser: false,
        in_recovery: false,
        read_only: false,
        system_identifier: None,
    }
}

pub fn object() -> ObjectId {
    ObjectId { kind: "PartitionPolicy".into(), namespace: "shop".into(), name: "events".into() }
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// As the catalog prints it.
pub fn bounds(lower: &str, upper: &str) -> String {
    let quote = |text: &str| if matches!(text, "MINVALUE" | "MAXVALUE") { text.to_owned() } else { format!("'{text}'") };
    format!("FOR VALUES FROM ({}) TO ({})", quote(lower), quote(upper))
}

/// A policy for `public.events` with these fields beyond the required ones.
pub fn spec(interval: &str, more: Value) -> PartitionPolicySpec {
    let mut spec = json!({
        "databaseRef": {"name": "db"},
        "table": {"name": "events"},
        "key": {"column": "at"},
        "interval": interval,
    });
    let (Value::Object(fields), Value::Object(more)) = (&mut spec, more) else { panic!("not an object") };
    fields.extend(more);
    serde_json::from_value(spec).unwrap()
}

/// A plan as a person reads it.
pub fn show(plan: &Plan) -> String {
    let mut text = format!("{}\n", plan.headline);
    for action in &plan.actions {
        let _ = writeln!(text, "+ {action}");
        if let Action::CreatePartition(create) = action {
            for change in &create.properties {
                let _ = writeln!(text, "    {}", change.describe());
            }
            if let Some(default) = &create.default {
                let _ = writeln!(text, "    default {}, guard {:?}", default.relation.table, default.guard);
            }
        }
    }
    for blocked in &plan.blocked {
        let _ = writeln!(text, "! {}: {}", blocked.reason, blocked.message);
    }
    for note in &plan.notes {
        let _ = writeln!(text, "# {} {}: {}", note.id, note.object, note.message);
    }
    let due = plan.due.map_or_else(|| "never".to_owned(), |due| due.to_string());
    let _ = write!(text, "due {due}");
    text
}

/// Names and bounds of what a plan creates.
pub fn created(plan: &Plan) -> Vec<String> {
    let creates = plan.actions.iter().filter(|action| action.verb() == "create");
    creates.map(|action| format!("{} {}", action.subject(), action.detail())).collect()
}

/// Whether a key tells the time.
pub fn is_timed(spec: &PartitionPolicySpec) -> bool {
    matches!(spec.interval, Interval::Time { .. })
}
