//! What is seen of a server where a backup is restored? Its role, and the databases that the restore concerns.

use super::names::{Fence, Role, Witness, beside};
use crate::api::restore::RestoreStatus;

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
    /// Users of sessions that our role may not end.
    pub unendable: Vec<String>,
    /// Names of prepared transactions.
    pub prepared: Vec<String>,
    /// Names of logical replication slots, and whether somebody reads from each.
    pub slots: Vec<(String, bool)>,
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
}

impl<'a> Places<'a> {
    /// Finds them.
    pub fn of(sight: &'a Sight, target: &str, uid: &str, status: &RestoreStatus) -> Self {
        let find = |is: &dyn Fn(&Database) -> bool| sight.databases.iter().find(|database| is(database));
        let oid = |oid: Option<i64>| find(&|database| oid == Some(database.oid.into()));
        let live = find(&|database| database.name == target);
        let by_name = |name: &str| find(&|database| database.name == name);
        // A database of that name was not there when the name was written down. Without a witness it is one that was just made.
        let made = status.restored_database.as_deref().filter(|name| *name == beside(target, uid)).and_then(by_name);
        let made = made.filter(|made| made.comment.is_none() || made.is(uid, Role::Restored));
        let replaced = oid(status.chosen.as_ref().and_then(|chosen| chosen.replaces));
        let previous = find(&|database| database.is(uid, Role::Previous));
        // A status that was lost after the names had changed: the witness of the former one says so.
        let swapped = previous.filter(|previous| Some(previous.oid) == replaced.map(|replaced| replaced.oid)).and(live);
        Self { live, restored: oid(status.restored_oid).or(made).or(swapped), replaced }
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
