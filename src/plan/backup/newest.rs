//! Which is the newest backup that a restore may take? By its snapshot, which is the moment that the restore leads back to. One that was made for
//! another PostgresDatabase is taken only where there is none of this one's, as after a disaster.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::partial::lacks;
use crate::api::Backup;
use crate::api::condition::find;
use crate::api::restore::{Pick, Strategy};

/// Names in a message.
const LISTED: usize = 3;

/// Whether it was made for this very PostgresDatabase, and when its snapshot was taken.
type Rank = (bool, Timestamp);

/// The newest one of those that were noted.
#[derive(Clone, Debug)]
pub struct Newest {
    pick: Pick,
    strategy: Strategy,
    best: Option<(Rank, String)>,
    /// Those that would do, but for what they lack.
    parts: Vec<String>,
    /// How many were noted.
    pub count: usize,
}

impl Newest {
    /// Of none yet.
    pub fn new(pick: Pick, strategy: Strategy) -> Self {
        Self { pick, strategy, best: None, parts: vec![], count: 0 }
    }

    /// Notes a backup; says whether it is the newest so far. One that holds a part of a database takes the place of none.
    pub fn note(&mut self, backup: &Backup) -> bool {
        self.count += 1;
        let Some(rank) = self.serves(backup) else { return false };
        let name = backup.name_any();
        if self.strategy != Strategy::New && !lacks(&backup.spec.settings.content).is_empty() {
            self.parts.push(name);
            return false;
        }
        let is_newest = self.best.as_ref().is_none_or(|best| *best < (rank, name.clone()));
        if is_newest {
            self.best = Some((rank, name));
        }
        is_newest
    }

    /// Its rank, if it is one to choose.
    fn serves(&self, backup: &Backup) -> Option<Rank> {
        let status = backup.status.as_ref()?;
        let is_true = |kind: &str| find(&status.conditions, kind).is_some_and(|found| found.status == "True");
        let serves = is_true("Complete") && (self.pick == Pick::Latest || is_true("Verified"));
        let at = status.moment()?.0;
        (serves && backup.metadata.deletion_timestamp.is_none()).then_some((!backup.is_foreign(), at))
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.best.as_ref().map(|(_, name)| name.as_str())
    }

    /// What there is none of, and why not where there are some that hold a part.
    pub fn none(&self) -> String {
        let kind = if self.pick == Pick::LatestVerified { "verified" } else { "complete" };
        if self.parts.is_empty() {
            return format!("no {kind} Backup");
        }
        let names: Vec<&str> = self.parts.iter().take(LISTED).map(String::as_str).collect();
        let more = self.parts.len() - names.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!(
            "no {kind} Backup of the whole database: {}{more} hold a part of it (spec.content), which becomes a database of its own with strategy New alone",
            names.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn backup(name: &str, hour: u32, is_verified: bool, content: Value) -> Backup {
        let condition = |kind: &str, is_so: bool| {
            json!({"type": kind, "status": if is_so { "True" } else { "False" }, "reason": "r", "message": "",
                "lastTransitionTime": "2026-11-21T08:00:00Z"})
        };
        let status = json!({"conditions": [condition("Complete", true), condition("Verified", is_verified)],
            "snapshotAt": format!("2026-11-21T{hour:02}:00:00Z")});
        let spec = json!({"databaseRef": {"name": "shop"}, "destination": {"pvc": {"claimName": "b"}}, "content": content});
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec, "status": status})).unwrap()
    }

    fn newest(pick: Pick, strategy: Strategy, backups: &[Backup]) -> Newest {
        let mut newest = Newest::new(pick, strategy);
        for backup in backups {
            newest.note(backup);
        }
        newest
    }

    #[test]
    fn a_backup_of_a_part_takes_the_place_of_no_database() {
        let orders = json!({"tables": [{"schema": "public", "name": "orders"}]});
        let backups = [
            backup("whole", 1, true, json!({})),
            backup("unproven", 2, false, json!({"globals": false})),
            backup("orders", 3, true, orders),
            backup("definitions", 4, false, json!({"what": "SchemaOnly"})),
        ];
        for strategy in [Strategy::Swap, Strategy::Replace] {
            assert_eq!(newest(Pick::LatestVerified, strategy, &backups).name(), Some("whole"));
            assert_eq!(newest(Pick::Latest, strategy, &backups).name(), Some("unproven"));
        }
        assert_eq!(newest(Pick::LatestVerified, Strategy::New, &backups).name(), Some("orders"));
        assert_eq!(newest(Pick::Latest, Strategy::New, &backups).name(), Some("definitions"));
        let none = newest(Pick::LatestVerified, Strategy::Swap, &backups[1..]);
        assert_eq!(none.name(), None);
        assert!(none.none().starts_with("no verified Backup of the whole database: orders hold a part"), "{}", none.none());
        assert_eq!(newest(Pick::LatestVerified, Strategy::Swap, &backups[1..2]).none(), "no verified Backup");
    }

    #[test]
    fn one_of_another_database_is_taken_where_there_is_none_of_this_one() {
        let mut foreign = backup("foreign", 9, true, json!({}));
        foreign.metadata.annotations = Some([("pgreeve.dev/madeFor".to_owned(), "unknown".to_owned())].into());
        foreign.spec.hold = true;
        let ours = backup("ours", 1, true, json!({}));
        assert_eq!(newest(Pick::LatestVerified, Strategy::Swap, &[foreign.clone()]).name(), Some("foreign"));
        assert_eq!(newest(Pick::LatestVerified, Strategy::Swap, &[foreign.clone(), ours.clone()]).name(), Some("ours"));
        foreign.spec.hold = false;
        assert_eq!(newest(Pick::LatestVerified, Strategy::Swap, &[ours, foreign]).name(), Some("foreign"), "somebody says so");
    }

    #[test]
    fn one_that_is_being_deleted_is_not_chosen() {
        let mut going = backup("going", 2, true, json!({}));
        going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-11-21T08:00:00Z")).unwrap());
        let backups = [backup("stays", 1, true, json!({})), going];
        assert_eq!(newest(Pick::Latest, Strategy::Swap, &backups).name(), Some("stays"));
    }
}
