//! What a restore changes, as a model: a server, a status that may be lost, and workloads.

mod server;

use serde_json::json;

use super::super::names::{Role, Witness, beside};
use super::super::sight::{Database, Sight};
use super::super::*;
use crate::api::restore::{Chosen, Like, Setback};

pub const UID: &str = "5f0c1a2b-0000-4000-8000-000000000000";
pub const TARGET: &str = "shop";
pub const ORIGINAL: u32 = 1;

/// How the Job that restores ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    Whole,
    BreaksOffOnce,
    IsNotWhatWasBackedUp,
}

/// What a server loses that fails over before its standby has heard of all: the restored database, or the end of what was written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Database,
    Tail,
}

/// The operator has died.
#[derive(Debug)]
pub struct Cut;

pub struct Model {
    pub spec: RestoreSpec,
    /// As it was written last.
    pub status: RestoreStatus,
    pub databases: Vec<Database>,
    pub replicas: i32,
    pub now: Timestamp,
    pub filling: Filling,
    filled: u32,
    next_oid: u32,
    has_safety: bool,
    pub effects: usize,
    pub cut_before: Option<usize>,
    /// What is lost before which pass.
    pub loses: Option<(usize, Loss)>,
    passes: usize,
    /// Databases that hold all that was backed up, and those that hold part of it.
    whole: Vec<u32>,
    partial: Vec<u32>,
    /// Why no backup can be made.
    pub no_safety: Option<Blocked>,
    pub generation: i64,
    pub successor: Option<&'static str>,
    /// How often workloads went.
    pub lowered: usize,
    /// The database of which a drop breaks off, once.
    pub breaks_drop: Option<u32>,
    /// What the backup lacks.
    pub lacks: Vec<String>,
}

pub fn database(oid: u32, name: &str) -> Database {
    Database { oid, name: name.into(), owner: "shop".into(), is_ours: true, is_open: true, ..Database::default() }
}

pub fn time(at: Timestamp) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at)
}

impl Model {
    pub fn new(strategy: &str, filling: Filling, cut_before: Option<usize>) -> Self {
        let spec = json!({"databaseRef": {"name": "db"}, "source": {"backupRef": {"name": "b"}}, "strategy": strategy, "confirm": TARGET});
        let original = Database { comment: Some("the shop".into()), ..database(ORIGINAL, TARGET) };
        Self {
            spec: serde_json::from_value(spec).unwrap(),
            status: RestoreStatus::default(),
            databases: if strategy == "New" { vec![] } else { vec![original] },
            replicas: 3,
            now: "2026-11-22T08:00:00Z".parse().unwrap(),
            filling,
            filled: 0,
            next_oid: 100,
            has_safety: false,
            effects: 0,
            cut_before,
            loses: None,
            passes: 0,
            whole: vec![],
            partial: vec![],
            no_safety: None,
            generation: 1,
            successor: None,
            lowered: 0,
            breaks_drop: None,
            lacks: vec![],
        }
    }

    pub fn sight(&self) -> Sight {
        Sight {
            version_num: 150_000,
            role: "reeve".into(),
            createdb: true,
            databases: self.databases.clone(),
            ..Sight::default()
        }
    }

    /// Has something decided, as the operator does: with what it notes at the beginning of a pass.
    pub fn decided<T>(&self, decide: impl Fn(&Facts<'_>) -> T) -> (RestoreStatus, T) {
        let (sight, mut status) = (self.sight(), self.status.clone());
        let facts = |status| Facts {
            uid: UID,
            spec: &self.spec,
            status,
            target: TARGET,
            sight: &sight,
            generation: Some(self.generation),
            successor: self.successor,
            now: self.now,
        };
        let as_written = facts(&self.status);
        if replace::is_dropped(&as_written, &as_written.places()) && self.status.step > Step::AwaitingConfirmation {
            status.dropped_at.get_or_insert(time(self.now));
        }
        let decided = decide(&facts(&status));
        (status, decided)
    }

    pub fn decide(&self) -> Act {
        self.decided(next).1
    }

    /// Something is changed, unless the operator dies before.
    fn effect(&mut self) -> Result<(), Cut> {
        self.effects += 1;
        if self.cut_before == Some(self.effects) { Err(Cut) } else { Ok(()) }
    }

    /// One pass, as the operator makes it.
    pub fn pass(&mut self, act: Act) -> Result<(), Cut> {
        let (mut status, is_away) = self.decided(|facts| replace::is_away(facts, &facts.places()));
        let now = self.now;
        let enter = |status: &mut RestoreStatus, step| {
            status.step = step;
            status.step_at = Some(time(now));
        };
        match act {
            Act::Inspect => status.chosen = Some(self.chosen()),
            Act::Enter(step) => {
                enter(&mut status, step);
                if matches!(step, Step::Restoring | Step::Verifying) {
                    status.restored_database = Some(beside(TARGET, UID));
                }
                if step == Step::ScalingUp {
                    status.rolled_back = self.is_back(&status);
                }
            }
            Act::Create => {
                self.effect()?;
                self.databases.push(database(self.next_oid, &beside(TARGET, UID)));
                self.next_oid += 1;
                status.attempts += 1;
                (status.restored_oid, status.verification) = (None, None);
                self.effect()?;
                let last = self.databases.last_mut().unwrap();
                last.comment = Some(Witness::new(UID, Role::Restored, None).text());
            }
            Act::Witness(found) => {
                self.effect()?;
                self.database(found.oid).comment = Some(Witness::new(UID, Role::Restored, None).text());
            }
            Act::Fill(found) => self.fill(&found, &mut status)?,
            Act::Drop(found) => {
                self.effect()?;
                self.may_go(&found);
                if self.breaks_drop.take_if(|oid| *oid == found.oid).is_some() {
                    self.database(found.oid).is_invalid = true;
                    return Err(Cut);
                }
                self.databases.retain(|database| database.oid != found.oid);
                if status.step < Step::Quiescing {
                    (status.restored_oid, status.verification) = (None, None);
                }
            }
            Act::Prove => status.proven = Some(verification(now)),
            Act::Safeguard(_) if self.no_safety.is_some() => {
                assert!(is_away);
                let blocked = self.no_safety.clone().unwrap();
                match self.decided(|facts| replace::gives_up(facts, &blocked)).1 {
                    Some(failure) => (status.failure, status.setback) = (Some(failure), None),
                    None if replace::counts(&blocked) => drop(status.setback.get_or_insert(self.setback(blocked.message))),
                    None => {}
                }
            }
            Act::Safeguard(_) => {
                self.effect()?;
                self.has_safety = true;
                status.safety_backup = Some("s3://b/m".into());
            }
            Act::Record => {
                status.workloads = vec![workload(self.replicas)];
                status.quiescing_since = Some(time(now));
                enter(&mut status, Step::Quiescing);
            }
            Act::Lower => {
                self.effect()?;
                (self.replicas, self.lowered) = (0, self.lowered + 1);
                status.workloads[0].state = Some(DOWN.into());
                enter(&mut status, Step::Fencing);
            }
            Act::Raise => {
                self.effect()?;
                self.replicas = status.workloads[0].replicas.unwrap();
                status.workloads[0].state = Some("Up".into());
            }
            Act::Complete => {
                status.completed_at = Some(time(now));
                status.failure = None;
                enter(&mut status, Step::ScalingUp);
            }
            Act::Swap(leaves, comes) => self.swap(leaves, comes, &mut status)?,
            Act::Open(found) => {
                self.effect()?;
                self.database(found.oid).is_open = true;
            }
            Act::GiveUp(failure) | Act::TryAgain(failure, _) => status.failure = Some(failure),
            Act::PutOff(message) => {
                status.setback = Some(self.setback(message));
                enter(&mut status, Step::ScalingUp);
                status.rolled_back = self.is_back(&status);
            }
            Act::Undone => {
                status.completed_at = None;
                enter(&mut status, Step::Swapping);
            }
            Act::Keep(..) => (status.setback, status.rolled_back) = (None, self.is_back(&status)),
            Act::Rest | Act::Refuse(_) | Act::Await(_) | Act::Wait(_) => {}
        }
        self.effect()?;
        self.status = status;
        Ok(())
    }

    fn setback(&self, message: String) -> Setback {
        Setback { message, at: time(self.now), generation: Some(self.generation) }
    }

    pub fn chosen(&self) -> Chosen {
        Chosen {
            url: "s3://b/shop/n/manifest.json".into(),
            destination: crate::api::Destination::default(),
            directory: "shop/n".into(),
            identity_secret_ref: None,
            encryption: None,
            recipients: vec![],
            manifest: "ab".into(),
            major: 15,
            system_identifier: Some("7".into()),
            replaces: self.databases.iter().find(|database| database.name == TARGET).map(|live| live.oid.into()),
            snapshot_at: time(self.now),
            bytes: 1,
            tables: crate::api::backup::Tables::default(),
            like: Like::default(),
            lacks: self.lacks.clone(),
            omitted: vec![],
        }
    }

    /// As it is after a while.
    pub fn after(&mut self, hours: i64) -> &mut Self {
        self.now += jiff::SignedDuration::from_hours(hours);
        self
    }

    /// Passes until nothing is left to do; a pass that is cut off is followed by another operator's.
    pub fn run(&mut self) -> Act {
        for _ in 0..80 {
            self.passes += 1;
            if let Some((_, loss)) = self.loses.filter(|(pass, _)| *pass == self.passes) {
                self.lose(loss);
            }
            let act = self.decide();
            if let Act::TryAgain(..) = act {
                let _cut = self.pass(act.clone());
                return act;
            }
            let is_end = matches!(act, Act::Keep(..) | Act::Rest | Act::Refuse(_) | Act::Await(_) | Act::Wait(_));
            let _cut = self.pass(act.clone());
            if is_end {
                return act;
            }
        }
        panic!("no end: {:#?} {:#?}", self.status, self.databases);
    }
}

pub fn workload(replicas: i32) -> ScaledWorkload {
    serde_json::from_value(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": "u", "replicas": replicas}),
    )
    .unwrap()
}

fn verification(at: Timestamp) -> crate::api::backup::Verification {
    serde_json::from_value(json!({"level": "Restore", "at": at.to_string(), "assertions": 0})).unwrap()
}
