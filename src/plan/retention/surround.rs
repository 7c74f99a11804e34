//! What does a policy's own status say of its past? The part of its surroundings that needs no look at anything else.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::facts::{Proof, Surroundings};
use crate::api::RetentionPolicy;
use crate::api::retention_policy::{Exported, RetentionRun};
use crate::plan::schedule::Schedule;
use crate::plan::snapshot::Oid;

impl Proof {
    /// The proof that a status has noted, with the partition's OID.
    pub fn of(exported: &Exported) -> Option<(Oid, Self)> {
        let oid = Oid::try_from(exported.oid).ok()?;
        Some((oid, Self { export: exported.export.clone(), verified_at: exported.verified_at.0 }))
    }
}

impl RetentionRun {
    /// The partitions that it is for.
    pub fn oids(&self) -> BTreeSet<Oid> {
        self.partitions.iter().filter_map(|oid| Oid::try_from(*oid).ok()).collect()
    }
}

/// The moment of the schedule that was answered last; the policy's creation before the first one.
pub fn answered(policy: &RetentionPolicy) -> Timestamp {
    let last = policy.status.as_ref().and_then(|status| status.last_slot.as_ref());
    last.or(policy.metadata.creation_timestamp.as_ref()).map_or(Timestamp::MIN, |time| time.0)
}

impl Surroundings {
    /// Of a policy that somebody carries out by hand: it may go now, and who asks approves the whole plan.
    pub fn attended() -> Self {
        Self { is_due: true, attended: true, ..Self::default() }
    }

    /// Of a policy whose operator begins its next run now, or goes on with the one that is under way. Holds and backups are not known
    /// from its status.
    pub fn of_next_run(policy: &RetentionPolicy, now: Timestamp) -> Self {
        let status = policy.status.clone().unwrap_or_default();
        // A schedule that cannot be read has no moments; the plan refuses it.
        let schedule = Schedule::parse(&policy.spec.schedule, &policy.spec.time_zone).ok();
        let slot = schedule.as_ref().and_then(|schedule| schedule.last(now));
        let is_new = slot.is_some_and(|slot| slot > answered(policy));
        Self {
            is_due: true,
            next_slot: schedule.and_then(|schedule| schedule.next(now)),
            as_of: slot,
            run: status.run.filter(|_| !is_new).map(|run| run.oids()),
            proofs: status.exports.iter().filter_map(Proof::of).collect(),
            accepted: status.accepted,
            ..Self::default()
        }
    }
}
