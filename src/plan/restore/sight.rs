//! What is seen of a server where a backup is restored? Its role, and the databases that the restore concerns.

use super::names::{Fence, Role, Witness, beside, previous};
use crate::api::Reason;
use crate::api::restore::{RestoreStatus, Strategy};
use crate::plan::action::Blocked;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Version, such as 160014.
    pub version_num: i32,
    /// Whether the server is read-only, as a standby is.
    pub in_recovery: bool,
    /// The role that we are.
    pub role: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Whether it may create databases.
    pub createdb: bool,
    /// The server's system identifier, where the role may read it.
    pub system_identifier: Option<String>,
    /// The databases of the names and OIDs that were asked for, and those with a witness of the restore.
    pub databases: Vec<Database>,
}

/// A database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Whether our role has the owner's rights.
    pub is_ours: bool,
    /// Whether it accepts connections: neither is it closed altogether nor by this restore's fence.
    pub is_open: bool,
    /// Who could connect before this restore closed it by its privileges.
    pub fence: Option<Fence>,
    /// Its comment.
    pub comment: Option<String>,
    /// Size on disk in bytes, where the role may know it.
    pub bytes: Option<i64>,
    /// Sessions in it.
    pub sessions: i64,
    /// Sessions that our role may not end: user and pid of each.
    pub unendable: Vec<String>,
    /// Names of prepared transactions.
    pub prepared: Vec<String>,
    /// Names of logical replication slots, and whether somebody reads from each.
    pub slots: Vec<(String, bool)>,
    /// Names of its subscriptions to publications elsewhere.
    pub subscriptions: Vec<String>,
    /// Whether it is a template, which nobody may drop.
    pub is_template: bool,
    /// Whether a drop of it broke off: it cannot be connected to, and nothing can be done with it but to drop it. Old minor versions do not say so.
    pub is_invalid: bool,
}

impl Sight {
    /// Whether this is known to be another server than the one that the restore was planned for.
    pub fn is_elsewhere(&self, status: &RestoreStatus) -> bool {
        let planned = status.chosen.as_ref().and_then(|chosen| chosen.system_identifier.as_ref());
        planned.zip(self.system_identifier.as_ref()).is_some_and(|(planned, found)| planned != found)
    }

    /// Why a restore that has begun does nothing here: it has begun on another server.
    pub fn elsewhere(&self, status: &RestoreStatus) -> Option<Blocked> {
        let planned = status.chosen.as_ref()?.system_identifier.as_ref()?;
        let found = self.system_identifier.as_ref().filter(|_| self.is_elsewhere(status))?;
        let message = format!(
            "the connection leads to the server with system identifier {found}, and the restore began on {planned}: nothing is done here; let the PostgresDatabase lead back to that one"
        );
        Some(Blocked::new(Reason::DatabaseMissing, message))
    }
}

impl Database {
    /// Its witness, if it has one of this restore.
    pub fn witness(&self, uid: &str) -> Option<Witness> {
        Witness::read(self.comment.as_deref()).filter(|witness| witness.restore == uid)
    }

    /// The comment that it has, or had before a witness of this restore took its place.
    pub fn own_comment(&self, uid: &str) -> Option<String> {
        match self.witness(uid) {
            Some(witness) => witness.comment,
            None => self.comment.clone(),
        }
    }

    /// Whether it has a witness of this restore and role.
    pub fn is(&self, uid: &str, role: Role) -> bool {
        self.witness(uid).is_some_and(|witness| witness.role == role)
    }
}

/// The databases of a restore, by what they are in it. OIDs tell them apart, whatever they are called just now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// What is called as the database that is restored.
    pub live: Option<&'a Database>,
    /// What the backup is restored into, whatever it is called now.
    pub restored: Option<&'a Database>,
    /// What was there before, whatever it is called now.
    pub replaced: Option<&'a Database>,
    /// One of the two of which a drop broke off: it is none of them any more.
    pub broken: Option<&'a Database>,
}

impl<'a> Places<'a> {
    /// Finds them.
    pub fn of(sight: &'a Sight, target: &str, uid: &str, strategy: Strategy, status: &RestoreStatus) -> Self {
        let find = |is: &dyn Fn(&Database) -> bool| sight.databases.iter().find(|database| is(database));
        // Another server gives the same OIDs to other databases.
        let ours = [target.to_owned(), beside(target, uid), previous(target, uid)];
        let is_ours = |found: &Database| ours.contains(&found.name) || found.witness(uid).is_some();
        let oid = |oid: Option<i64>| find(&|database| oid == Some(database.oid.into()) && is_ours(database));
        let live = find(&|database| database.name == target);
        let by_name = |name: &str| find(&|database| database.name == name);
        // A database of that name was not there when the name was written down. Without a witness it is one that was just made.
        let made = status.restored_database.as_deref().filter(|name| *name == beside(target, uid)).and_then(by_name);
        let made = made.filter(|made| made.comment.is_none() || made.is(uid, Role::Restored));
        let replaced = oid(status.chosen.as_ref().and_then(|chosen| chosen.replaces));
        let previous = find(&|database| database.is(uid, Role::Previous));
        // A status that was lost after the names had changed: the witness of the former one says so. Where it is known which database was
        // restored, another one of the name is somebody else's, and where the former one is to be dropped first, in any case.
        let swapped = previous.filter(|previous| Some(previous.oid) == replaced.map(|replaced| replaced.oid)).and(live);
        let swapped = swapped.filter(|_| status.restored_oid.is_none() && strategy == Strategy::Swap);
        let restored = oid(status.restored_oid).or(made).or(swapped);
        let is_broken = |found: &&Database| found.is_invalid && found.name != target;
        let broken = [restored, replaced].into_iter().flatten().find(is_broken);
        let whole = |found: Option<&'a Database>| found.filter(|found| !is_broken(found));
        Self { live, restored: whole(restored), replaced: whole(replaced), broken }
    }

    /// Whether the restored database has the name.
    pub fn is_swapped(&self) -> bool {
        matches!((self.live, self.restored), (Some(live), Some(restored)) if live.oid == restored.oid)
    }

    /// Whether the database that was there before has the name.
    pub fn is_as_before(&self) -> bool {
        matches!((self.live, self.replaced), (Some(live), Some(replaced)) if live.oid == replaced.oid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5f0c1a2b-9d8e-4f00-8000-000000000000";

    fn status(system: Option<&str>) -> RestoreStatus {
        let chosen = serde_json::json!({"url": "u", "destination": {}, "directory": "d", "manifest": "m", "major": 16, "replaces": 1,
            "systemIdentifier": system, "snapshotAt": "2026-11-21T08:00:00Z", "bytes": 1, "tables": {"count": 1, "rows": 1},
            "like": {"owner": "o", "encoding": "UTF8", "collate": "C", "ctype": "C", "provider": "libc"}});
        let status = serde_json::json!({"chosen": chosen, "restoredOid": 2, "restoredDatabase": beside("shop", UID)});
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_database_that_only_has_the_same_oid_is_somebody_elses() {
        let database = |oid: u32, name: &str| Database { oid, name: name.into(), ..Database::default() };
        let mut sight = Sight { databases: vec![database(1, "crm"), database(2, "billing")], ..Sight::default() };
        let oids = |sight: &Sight| {
            let places = Places::of(sight, "shop", UID, Strategy::Swap, &status(None));
            [places.live, places.restored, places.replaced].map(|found| found.map(|found| found.oid))
        };
        assert_eq!(oids(&sight), [None, None, None]);
        sight.databases[1].name = beside("shop", UID);
        sight.databases[0].comment = Some(Witness::new(UID, Role::Previous, None).text());
        assert_eq!(oids(&sight), [None, Some(2), Some(1)], "renamed by somebody, and still ours");
    }

    #[test]
    fn a_server_is_another_one_only_where_both_are_known() {
        let sight = |system: Option<&str>| Sight { system_identifier: system.map(str::to_owned), ..Sight::default() };
        for (planned, found, is_elsewhere) in
            [(Some("7"), Some("8"), true), (Some("7"), Some("7"), false), (None, Some("8"), false), (Some("7"), None, false)]
        {
            assert_eq!(sight(found).is_elsewhere(&status(planned)), is_elsewhere, "{planned:?} {found:?}");
            assert_eq!(sight(found).elsewhere(&status(planned)).is_some(), is_elsewhere);
        }
    }
}
