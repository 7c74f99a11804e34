//! By which steps does a partition leave? From an attached partition to what the policy wants of it.

use super::super::action::{Action, Blocked, Relation};
use super::super::key::{self, Bound, parse_bounds};
use super::super::removal::{
    Afterlife, DetachPartition, DropForeignKey, DropTable, ExportPartition, ExportProof, MoveToArchive, MoveToSchema,
};
use super::super::snapshot::{Oid, Strategy};
use super::facts::{Archive, Detail, Facts, Mark, Retired};
use super::members::{Member, Members};
use crate::api::retention_policy::{PartitionAction, PartitionRetention};
use crate::api::{Reason, RetentionPolicySpec};
use jiff::{SignedDuration, Timestamp};

/// How old the proof of an export may be when its table is dropped; an older one is read back again.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

/// Blocks of a table that refers to ours up to which a plain DETACH may scan it under its lock: 8 MiB, some milliseconds.
const SMALL: i64 = 1_024;

/// What an attached partition is to become.
pub(super) struct Leaving<'a> {
    pub spec: &'a RetentionPolicySpec,
    pub partitions: &'a PartitionRetention,
    pub facts: Facts<'a>,
    /// The policy, as `namespace/name`.
    pub policy: &'a str,
    pub now: Timestamp,
}

impl Leaving<'_> {
    /// The steps of a partition that is still attached.
    pub fn of_member(&self, members: &Members<'_>, member: &Member<'_>) -> Result<Vec<Action>, Blocked> {
        let relation = Relation { oid: member.partition.oid, table: member.partition.table.clone() };
        let parent = Relation { oid: members.parent.oid, table: members.parent.table.clone() };
        let nothing = Detail::default();
        let detail = self.facts.catalog.details.get(&relation.oid).unwrap_or(&nothing);
        if detail.owner != members.parent.owner {
            let message = format!(
                "{} belongs to {} and its parent {} to {}: give both one owner (ALTER TABLE … OWNER TO)",
                relation.table, detail.owner, parent.table, members.parent.owner
            );
            return Err(Blocked::new(Reason::MissingPrivilege, message));
        }
        self.keep_references(members, &relation)?;
        if self.partitions.action == PartitionAction::MoveToTable {
            return Ok(vec![self.move_to_archive(members, member, relation, parent, detail)?]);
        }
        let concurrently = self.concurrently(members, &relation)?;
        let mut steps = Vec::new();
        let export = self.proof(relation.oid);
        if export == ExportProof::Awaited {
            steps.extend(self.export(&relation, &parent, &member.partition.bound, &detail.owner));
        }
        let then = match self.partitions.action {
            PartitionAction::Drop => Afterlife::Drop,
            PartitionAction::MoveToSchema => Afterlife::Move,
            PartitionAction::Detach | PartitionAction::MoveToTable => Afterlife::Stay,
        };
        let referencing = self.facts.catalog.incoming.iter().map(|incoming| incoming.key.table.table.to_string()).collect();
        steps.push(Action::DetachPartition(DetachPartition {
            parent,
            bound: member.partition.bound.clone(),
            role: detail.owner.clone(),
            concurrently,
            referencing,
            then,
            comment: detail.comment.as_deref().and_then(Mark::former).map(str::to_owned),
            policy: self.policy.to_owned(),
            export,
            partition: relation,
        }));
        Ok(steps)
    }

    /// The steps that are left for a detached partition, and when its grace is over where that is to come.
    pub fn of_retired(&self, retired: &Retired) -> (Vec<Action>, Option<Timestamp>) {
        let is_ours = retired.mark.oid == retired.table.oid && retired.mark.policy == self.policy && retired.may_act_as_owner;
        match (is_ours, retired.mark.then, self.partitions.action) {
            (true, Afterlife::Drop, PartitionAction::Drop) => match self.drop_after(retired) {
                Some(over) if over <= self.now => (self.drop(retired), None),
                later => (vec![], later),
            },
            (true, Afterlife::Move, PartitionAction::MoveToSchema) => (self.move_to_schema(retired), None),
            _ => (vec![], None),
        }
    }

    /// When the grace of a detached partition is over; `None` where the mark cannot be read: then never.
    pub fn drop_after(&self, retired: &Retired) -> Option<Timestamp> {
        let since: Timestamp = retired.mark.retired_at.parse().ok()?;
        let zoned = since.to_zoned(jiff::tz::TimeZone::UTC);
        self.partitions.grace.add_to(&zoned).ok().map(|over| over.timestamp())
    }

    fn drop(&self, retired: &Retired) -> Vec<Action> {
        let mut steps = Vec::new();
        let export = self.fresh_proof(retired.table.oid);
        if export == ExportProof::Awaited {
            let parent = Relation { oid: 0, table: retired.mark.parent.clone() };
            steps.extend(self.export(&retired.table, &parent, &retired.mark.bound, &retired.owner));
        }
        for (constraint, target) in &retired.foreign_keys {
            steps.push(Action::DropForeignKey(DropForeignKey {
                table: retired.table.clone(),
                constraint: constraint.clone(),
                target: target.clone(),
                role: retired.owner.clone(),
            }));
        }
        steps.push(Action::DropTable(DropTable {
            table: retired.table.clone(),
            bound: retired.mark.bound.clone(),
            role: retired.owner.clone(),
            export,
            bytes: retired.bytes,
        }));
        steps
    }

    fn move_to_schema(&self, retired: &Retired) -> Vec<Action> {
        let schema = self.partitions.schema.clone().unwrap_or_default();
        if retired.table.table.schema == schema {
            return vec![];
        }
        vec![Action::MoveToSchema(MoveToSchema { table: retired.table.clone(), schema, role: retired.owner.clone() })]
    }

    fn export(&self, relation: &Relation, parent: &Relation, bound: &str, owner: &str) -> Option<Action> {
        let export = self.spec.export.as_ref()?;
        Some(Action::ExportPartition(Box::new(ExportPartition {
            parent: parent.clone(),
            partition: relation.clone(),
            bound: bound.to_owned(),
            role: owner.to_owned(),
            destination: export.destination.clone(),
            format: export.format,
            compression: export.compression,
            job: export.job.clone(),
        })))
    }

    /// Whether this relation is closed by an export that was verified.
    fn proof(&self, oid: Oid) -> ExportProof {
        if self.spec.export.is_none() {
            return ExportProof::NotAsked;
        }
        match (self.facts.catalog.closed.get(&oid), self.facts.surroundings.proofs.get(&oid)) {
            (Some(closed), Some(proof)) if *closed == proof.export => ExportProof::Verified(closed.clone()),
            _ => ExportProof::Awaited,
        }
    }

    fn fresh_proof(&self, oid: Oid) -> ExportProof {
        let verified_at = self.facts.surroundings.proofs.get(&oid).map(|proof| proof.verified_at);
        match self.proof(oid) {
            ExportProof::Verified(_) if verified_at.is_none_or(|at| self.now.duration_since(at) > FRESH) => ExportProof::Awaited,
            proof => proof,
        }
    }

    /// A partition to which rows refer stays; which is known where it was asked.
    fn keep_references(&self, members: &Members<'_>, relation: &Relation) -> Result<(), Blocked> {
        let referring = self.facts.catalog.incoming.iter().find(|incoming| incoming.referenced.contains(&relation.oid));
        let Some(incoming) = referring else { return Ok(()) };
        let message = format!(
            "{} stays: rows of {} refer to its rows by the foreign key {}; let those go first (a RetentionPolicy for {}), {} follows by itself",
            relation.table, incoming.key.table.table, incoming.key.constraint, incoming.key.table.table, members.parent.table
        );
        Err(Blocked::new(Reason::Referenced, message))
    }

    /// Whether to detach in two transactions. Only where another table refers to this one, because between the two the partition's
    /// rows can be seen nowhere, and never beside a default partition, where PostgreSQL refuses it.
    fn concurrently(&self, members: &Members<'_>, relation: &Relation) -> Result<bool, Blocked> {
        let large = self.facts.catalog.incoming.iter().find(|incoming| incoming.pages > SMALL);
        match (large, members.has_default) {
            (_, false) => Ok(!self.facts.catalog.incoming.is_empty()),
            (None, true) => Ok(false),
            (Some(incoming), true) => {
                let message = format!(
                    "{} stays: to detach it, PostgreSQL would scan {} under a lock (its foreign key {} refers to {}), and it refuses CONCURRENTLY beside a default partition; detach the default partition of {}",
                    relation.table, incoming.key.table.table, incoming.key.constraint, members.parent.table, members.parent.table
                );
                Err(Blocked::new(Reason::Referenced, message))
            }
        }
    }

    fn move_to_archive(
        &self,
        members: &Members<'_>,
        member: &Member<'_>,
        partition: Relation,
        parent: Relation,
        detail: &Detail,
    ) -> Result<Action, Blocked> {
        let archive = self.archive(members, member, detail)?;
        let text = |bound: Bound| match bound {
            Bound::MinValue => "MINVALUE".to_owned(),
            Bound::MaxValue => "MAXVALUE".to_owned(),
            Bound::Value(value) => key::literal(&value, members.grid.key()),
        };
        Ok(Action::MoveToArchive(MoveToArchive {
            parent,
            partition,
            archive: Relation { oid: archive.tree.oid, table: archive.tree.table.clone() },
            bound: member.partition.bound.clone(),
            column: members.column.name.clone(),
            type_name: members.column.type_name.clone(),
            lower: text(member.range.lower()),
            upper: text(member.range.upper()),
            role: detail.owner.clone(),
        }))
    }

    /// The archive table, if this partition can become one of its partitions in a moment.
    fn archive(&self, members: &Members<'_>, member: &Member<'_>, detail: &Detail) -> Result<&Archive, Blocked> {
        let name = self.partitions.archive_table.as_ref().map(ToString::to_string).unwrap_or_default();
        let refuse = |reason: Reason, message: String| Err(Blocked::new(reason, message));
        let Some(archive) = &self.facts.catalog.archive else {
            return refuse(
                Reason::TableNotFound,
                format!(
                    "the archive table {name} does not exist: create it with CREATE TABLE {name} (LIKE {} INCLUDING ALL) PARTITION BY RANGE ({})",
                    members.parent.table, members.column.name
                ),
            );
        };
        let root = archive.tree.parents.iter().find(|parent| parent.oid == archive.tree.oid);
        let Some(root) = root.filter(|root| root.strategy == Some(Strategy::Range)) else {
            return refuse(Reason::NotPartitioned, format!("the archive table {name} is not partitioned by RANGE"));
        };
        let is_same = root
            .key
            .as_slice()
            .iter()
            .map(|key| (&key.name, &key.type_name))
            .eq([(&members.column.name, &members.column.type_name)]);
        if !is_same {
            let message =
                format!("the archive table {name} is not divided by {} {}", members.column.name, members.column.type_name);
            return refuse(Reason::KeyMismatch, message);
        }
        if root.owner != members.parent.owner {
            let message = format!(
                "the archive table {name} belongs to {}, and {} to {}: give both one owner",
                root.owner, members.parent.table, members.parent.owner
            );
            return refuse(Reason::MissingPrivilege, message);
        }
        if let Some(in_the_way) = root.partitions.iter().find(|other| other.bound == "DEFAULT") {
            let message = format!(
                "the archive table {name} has the default partition {}, which would be scanned under a lock for each arrival: detach it",
                in_the_way.table.name
            );
            return refuse(Reason::DefaultForbidden, message);
        }
        let overlaps = |other: &&super::super::snapshot::Partition| {
            parse_bounds(&other.bound, members.grid.key()).is_ok_and(|range| range.overlaps(&member.range))
        };
        if let Some(other) = root.partitions.iter().find(overlaps) {
            let message = format!(
                "{} overlaps {} of the archive table {name}: move one of them away",
                member.partition.table.name, other.table.name
            );
            return refuse(Reason::Overlap, message);
        }
        if let Some(key) = archive.foreign_keys.first() {
            let message = format!(
                "the archive table {name} has the foreign key {key}: an archive takes partitions in a moment only without one; drop it"
            );
            return refuse(Reason::Unsupported, message);
        }
        if let Some(incoming) = self.facts.catalog.incoming.first() {
            let message = format!(
                "{} is referred to by the foreign key {} of {}: its partitions cannot move to another table",
                members.parent.table, incoming.key.constraint, incoming.key.table.table
            );
            return refuse(Reason::Referenced, message);
        }
        if let Some((index, definition)) = archive.indexes.iter().find(|(_, definition)| !detail.indexes.contains(*definition)) {
            let message = format!(
                "{} has no index like {index} of the archive table {name} ({definition}), so PostgreSQL would build it under a lock: create it on {} first, or drop it from the archive",
                member.partition.table.name, members.parent.table
            );
            return refuse(Reason::Unsupported, message);
        }
        Ok(archive)
    }
}
