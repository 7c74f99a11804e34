//! The server of the model: what a restore does to its databases, and what it may lose.

use super::super::super::names::{Failure, Proof, Role, Witness, beside, previous};
use super::super::super::sight::Database;
use super::super::super::*;
use super::{Cut, Filling, Loss, Model, ORIGINAL, TARGET, UID, time, verification};

impl Model {
    pub(super) fn database(&mut self, oid: u32) -> &mut Database {
        self.databases.iter_mut().find(|database| database.oid == oid).unwrap()
    }

    /// Whether the database that was there has its name, and the restore was complete once.
    pub(super) fn is_back(&self, status: &RestoreStatus) -> bool {
        let is_there = self.databases.iter().any(|database| database.oid == ORIGINAL && database.name == TARGET);
        is_there && status.completed_at.is_some()
    }

    /// What was restored beside the other database is lost, whole or in part. One that has the name may have been written to for long.
    pub fn lose(&mut self, loss: Loss) {
        let beside = beside(TARGET, UID);
        self.whole.retain(|oid| self.databases.iter().any(|database| database.oid == *oid && database.name != beside));
        match loss {
            Loss::Database => self.databases.retain(|database| database.name != beside),
            Loss::Tail => self.databases.iter_mut().filter(|database| database.name == beside).for_each(|database| {
                database.comment = Some(Witness::new(UID, Role::Restored, None).text());
                self.partial.push(database.oid);
            }),
        }
    }

    pub(super) fn fill(&mut self, found: &Database, status: &mut RestoreStatus) -> Result<(), Cut> {
        self.effect()?;
        if self.partial.contains(&found.oid) {
            self.databases.retain(|database| database.oid != found.oid);
            (status.restored_oid, status.verification) = (None, None);
            return Ok(());
        }
        self.filled += 1;
        self.whole.extend((self.filling != Filling::IsNotWhatWasBackedUp).then_some(found.oid));
        let witness = found.witness(UID).unwrap();
        let fails = match self.filling {
            Filling::Whole => None,
            Filling::BreaksOffOnce => (self.filled == 1).then_some(false),
            Filling::IsNotWhatWasBackedUp => Some(true),
        };
        let noted = match fails {
            Some(for_good) => {
                Witness { failure: Some(Failure { message: "it differs".into(), at: self.now, for_good }), ..witness }
            }
            None => Witness { proof: Some(proof()), comment: Some("the shop".into()), ..witness },
        };
        self.database(found.oid).comment = Some(noted.text());
        status.restored_oid = Some(found.oid.into());
        status.verification = fails.is_none().then(|| verification(self.now));
        Ok(())
    }

    pub(super) fn swap(
        &mut self,
        leaves: Option<Database>,
        comes: Option<Database>,
        status: &mut RestoreStatus,
    ) -> Result<(), Cut> {
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
            let witness = Witness { proof: is_restored.then(proof), ..Witness::new(UID, role, leaves.comment.clone()) };
            (found.name, found.comment) = (name, Some(witness.text()));
            found.is_open = is_away;
        }
        status.step_at = Some(time(self.now));
        let Some(comes) = comes else {
            status.step = Step::Restoring;
            return Ok(());
        };
        assert!(self.databases.iter().all(|database| database.name != TARGET), "two databases of one name");
        let found = self.database(comes.oid);
        assert!(!found.is_invalid, "a database that is half dropped got the name");
        (found.name, found.is_open) = (TARGET.into(), true);
        found.comment = comes.witness(UID).and_then(|witness| witness.comment);
        if status.restored_oid == Some(comes.oid.into()) {
            status.completed_at.get_or_insert(time(self.now));
            status.failure = None;
        }
        status.rolled_back = self.is_back(status);
        status.setback = None;
        status.step = Step::ScalingUp;
        Ok(())
    }

    /// No database goes before its proof is written down.
    pub(super) fn may_go(&self, database: &Database) {
        assert_ne!(database.name, TARGET, "the database in use was dropped");
        if database.oid == ORIGINAL && self.spec.strategy == Strategy::Replace {
            assert!(self.status.proven.is_some() && self.status.safety_backup.is_some() && self.has_safety, "{:#?}", self.status);
        } else if database.oid == ORIGINAL && !database.is_invalid {
            let kept = kept_until(&self.spec, &self.status).unwrap();
            assert!(kept <= self.now && self.databases.iter().any(|live| live.name == TARGET && live.is_open));
        }
    }

    /// The server has lost that the names have changed, as after a failover.
    pub fn lose_swap(&mut self) {
        for found in &mut self.databases {
            (found.name, found.is_open, found.comment) = match found.oid {
                ORIGINAL => (TARGET.into(), true, Some("the shop".into())),
                _ => {
                    let witness = Witness::new(UID, Role::Restored, Some("the shop".into()));
                    (beside(TARGET, UID), true, Some(Witness { proof: Some(proof()), ..witness }.text()))
                }
            };
        }
    }

    pub fn live(&self) -> &Database {
        let mut live = self.databases.iter().filter(|database| database.name == TARGET);
        let found = live.next().unwrap_or_else(|| panic!("no database: {:#?}", self.databases));
        assert!(live.next().is_none() && found.is_open, "{:#?}", self.databases);
        assert!(found.oid < 100 || self.whole.contains(&found.oid), "not whole: {:#?} {:#?}", self.databases, self.status);
        found
    }
}

fn proof() -> Proof {
    Proof { at: Timestamp::UNIX_EPOCH, rows: Some(7), assertions: 0, seconds: 1, omitted: vec![] }
}
