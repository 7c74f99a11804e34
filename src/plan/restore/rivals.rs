//! Which other Restores concern the same database? One goes after the other, and one may finish what another cannot.

use kube::ResourceExt as _;

use super::replace;
use crate::api::policy::DatabaseRef;
use crate::api::restore::Step;
use crate::api::{Reason, Restore};
use crate::plan::action::Blocked;

/// The database that a Restore is of.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// The PostgresDatabase on whose server it is.
    pub reference: &'a DatabaseRef,
    /// Its name.
    pub name: &'a str,
    /// Its server's system identifier, where that is known.
    pub system: Option<&'a str>,
}

impl Of<'_> {
    /// Whether another Restore is known to be of the same database. Two servers may have databases of one name, and two PostgresDatabases lead
    /// to one server.
    fn is_of(self, other: &Restore) -> bool {
        let Some(status) = &other.status else { return false };
        let system = status.chosen.as_ref().and_then(|chosen| chosen.system_identifier.as_deref());
        let is_there = other.spec.database_ref == *self.reference || system.is_some() && system == self.system;
        is_there && status.database.as_deref() == Some(self.name)
    }

    /// Why one that has not begun waits: another one is under way. Not for one that has dropped the database and failed: what is restored then
    /// ends it.
    pub fn waits(self, others: &[Restore]) -> Option<Blocked> {
        let is_under_way = |other: &&Restore| {
            let status = other.status.as_ref().filter(|_| self.is_of(other));
            status.is_some_and(|status| {
                status.step > Step::AwaitingConfirmation && status.step < Step::Keeping && !replace::gives_way(status)
            })
        };
        let first = others.iter().find(is_under_way)?.name_any();
        let message = format!("Restore {first} of database {} is under way: this one begins after it", self.name);
        Some(Blocked::new(Reason::RestoreWaits, message))
    }

    /// The one that has made the database of the name that has this OID.
    pub fn maker(self, others: &[Restore], oid: u32) -> Option<String> {
        let made = |other: &&Restore| {
            let status = other.status.as_ref().filter(|_| self.is_of(other));
            status.is_some_and(|status| status.completed_at.is_some() && status.restored_oid == Some(oid.into()))
        };
        others.iter().find(made).map(|other| other.name_any())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn other(database_ref: &str, system: Option<&str>, more: Value) -> Restore {
        let chosen = json!({"url": "u", "destination": {}, "directory": "d", "manifest": "m", "major": 16, "replaces": 1,
            "systemIdentifier": system, "snapshotAt": "2026-11-21T08:00:00Z", "bytes": 1, "tables": {"count": 1, "rows": 1},
            "like": {"owner": "o", "encoding": "UTF8", "collate": "C", "ctype": "C", "provider": "libc"}});
        let mut status = json!({"database": "shop", "step": "Restoring", "chosen": chosen, "restoredOid": 7});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec = json!({"databaseRef": {"name": database_ref}, "source": {"backupRef": {"name": "b"}}});
        serde_json::from_value(json!({"metadata": {"name": "first"}, "spec": spec, "status": status})).unwrap()
    }

    #[test]
    fn another_restore_is_of_the_same_database_by_its_reference_or_by_name_and_server() {
        let reference = DatabaseRef { name: "db".into() };
        let waits = |system: Option<&str>, name: &str, other: Restore| {
            Of { reference: &reference, name, system }
                .waits(&[other])
                .is_some_and(|blocked| blocked.message.contains("Restore first"))
        };
        for (system, name, other, is_same) in [
            (None, "shop", other("db", None, json!({})), true),
            (Some("7"), "shop", other("db", None, json!({})), true),
            (None, "crm", other("db", None, json!({})), false),
            (Some("7"), "shop", other("again", Some("7"), json!({})), true),
            (Some("7"), "crm", other("again", Some("7"), json!({})), false),
            (Some("8"), "shop", other("again", Some("7"), json!({})), false),
            (None, "shop", other("again", None, json!({})), false),
            (Some("7"), "shop", other("again", Some("7"), json!({"step": "AwaitingConfirmation"})), false),
            (Some("7"), "shop", other("again", Some("7"), json!({"step": "Keeping"})), false),
        ] {
            let context = format!("{system:?} {name} {:?}", other.status);
            assert_eq!(waits(system, name, other), is_same, "{context}");
        }
        let failed = json!({"failure": "it differs", "droppedAt": "2026-11-21T09:00:00Z"});
        assert!(!waits(Some("7"), "shop", other("db", Some("7"), failed)));
    }

    #[test]
    fn the_maker_of_a_database_is_known_by_its_oid() {
        let reference = DatabaseRef { name: "db".into() };
        let of = Of { reference: &reference, name: "shop", system: Some("7") };
        let complete = [other("again", Some("7"), json!({"step": "Done", "completedAt": "2026-11-21T09:00:00Z"}))];
        assert_eq!(of.maker(&complete, 7).as_deref(), Some("first"));
        assert_eq!(of.maker(&complete, 8), None);
        assert_eq!(of.maker(&[other("again", Some("7"), json!({}))], 7), None, "it is not complete");
    }
}
