//! What a restore changes, as a model: a server, a status that may be lost, and workloads.

use serde_json::json;

use super::super::names::{Failure, Proof, Role, Witness, beside, previous};
use super::super::sight::{Database, Sight};
use super::super::*;
use crate::api::restore::{Chosen, Like};

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

    pub fn decide(&self) -> Act {
        let sight = self.sight();
        next(&Facts { uid: UID, spec: &self.spec, status: &self.status, target: TARGET, sight: &sight, now: self.now })
    }

    /// Something is changed, unless the operator dies before.
    fn effect(&mut self) -> Result<(), Cut> {
        self.effects += 1;
        if self.cut_before == Some(self.effects) { Err(Cut) } else { Ok(()) }
    }

    fn database(&mut self, oid: u32) -> &mut Database {
        self.databases.iter_mut().find(|database| database.oid == oid).unwrap()
    }

    /// One pass, as the operator makes it.
    pub fn pass(&mut self, act: Act) -> Result<(), Cut> {
        let mut status = self.status.clone();
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
            }
            Act::Create => {
                self.effect()?;
                self.databases.push(database(self.next_oid, &beside(TARGET, UID)));
                self.next_oid += 1;
                status.attempts += 1;
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
                self.databases.retain(|database| database.oid != found.oid);
                if status.step < Step::Quiescing {
                    (status.restored_oid, status.verification) = (None, None);
                }
            }
            Act::Prove => status.proven = Some(verification(now)),
            Act::Safeguard(_) => {
                self.effect()?;
                self.has_safety = true;
                status.safety_backup = Some("s3://b/m".into());
            }
            Act::Record => {
                status.workloads = vec![workload(self.replicas)];
                enter(&mut status, Step::Quiescing);
            }
            Act::Lower => {
                self.effect()?;
                self.replicas = 0;
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
            Act::Keep(..) | Act::Rest | Act::Refuse(_) | Act::Await(_) => {}
        }
        self.effect()?;
        self.status = status;
        Ok(())
    }

    fn fill(&mut self, found: &Database, status: &mut RestoreStatus) -> Result<(), Cut> {
        self.effect()?;
        self.filled += 1;
        let witness = found.witness(UID).unwrap();
        let fails = match self.filling {
            Filling::Whole => None,
            Filling::BreaksOffOnce => (self.filled == 1).then_some(false),
            Filling::IsNotWhatWasBackedUp => Some(true),
        };
        let proof = Proof { at: self.now, rows: Some(7), assertions: 0, seconds: 1, omitted: vec![] };
        let noted = match fails {
            Some(for_good) => {
                Witness { failure: Some(Failure { message: "it differs".into(), at: self.now, for_good }), ..witness }
            }
            None => Witness { proof: Some(proof), comment: Some("the shop".into()), ..witness },
        };
        self.database(found.oid).comment = Some(noted.text());
        status.restored_oid = Some(found.oid.into());
        status.verification = fails.is_none().then(|| verification(self.now));
        Ok(())
    }

    fn swap(&mut self, leaves: Option<Database>, comes: Option<Database>, status: &mut RestoreStatus) -> Result<(), Cut> {
        if let Some(leaves) = &leaves {
            self.effect()?;
            self.database(leaves.oid).is_open = false;
        }
        self.effect()?;
        let is_away = comes.is_none();
        if let Some(leaves) = leaves {
            let is_restored = status.restored_oid == Some(leaves.oid.into());
            let (role, name) =
                if is_restored { (Role::Restored, beside(TARGET, UID)) } else { (Role::Previous, previous(TARGET, UID)) };
            let found = self.database(leaves.oid);
            (found.name, found.comment) = (name, Some(Witness::new(UID, role, leaves.comment.clone()).text()));
            found.is_open = is_away;
        }
        status.step_at = Some(time(self.now));
        let Some(comes) = comes else {
            status.step = Step::Restoring;
            return Ok(());
        };
        assert!(self.databases.iter().all(|database| database.name != TARGET), "two databases of one name");
        let found = self.database(comes.oid);
        (found.name, found.is_open) = (TARGET.into(), true);
        found.comment = comes.witness(UID).and_then(|witness| witness.comment);
        if status.restored_oid == Some(comes.oid.into()) {
            status.completed_at.get_or_insert(time(self.now));
            status.failure = None;
        }
        status.step = Step::ScalingUp;
        Ok(())
    }

    fn chosen(&self) -> Chosen {
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
        }
    }

    /// No database goes before its proof is written down.
    fn may_go(&self, database: &Database) {
        assert_ne!(database.name, TARGET, "the database in use was dropped");
        if database.oid == ORIGINAL && self.spec.strategy == Strategy::Replace {
            assert!(self.status.proven.is_some() && self.status.safety_backup.is_some() && self.has_safety, "{:#?}", self.status);
        } else if database.oid == ORIGINAL {
            let kept = kept_until(&self.spec, &self.status).unwrap();
            assert!(kept <= self.now && self.databases.iter().any(|live| live.name == TARGET && live.is_open));
        }
    }

    /// Passes until nothing is left to do; a pass that is cut off is followed by another operator's.
    pub fn run(&mut self) -> Act {
        for _ in 0..80 {
            let act = self.decide();
            if let Act::TryAgain(..) = act {
                drop(self.pass(act.clone()));
                return act;
            }
            if matches!(act, Act::Keep(..) | Act::Rest | Act::Refuse(_) | Act::Await(_)) {
                return act;
            }
            drop(self.pass(act));
        }
        panic!("no end: {:#?} {:#?}", self.status, self.databases);
    }

    pub fn live(&self) -> &Database {
        let mut live = self.databases.iter().filter(|database| database.name == TARGET);
        let found = live.next().unwrap_or_else(|| panic!("no database: {:#?}", self.databases));
        assert!(live.next().is_none() && found.is_open, "{:#?}", self.databases);
        found
    }
}

fn workload(replicas: i32) -> ScaledWorkload {
    serde_json::from_value(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": "u", "replicas": replicas}),
    )
    .unwrap()
}

fn verification(at: Timestamp) -> crate::api::backup::Verification {
    serde_json::from_value(json!({"level": "Restore", "at": at.to_string(), "assertions": 0})).unwrap()
}
