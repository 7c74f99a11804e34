//! What are the databases of a restore called, and how are they known again? Names with the Restore's UID, and a witness in the comment.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest name of anything in PostgreSQL, in bytes (NAMEDATALEN less its end).
const LONGEST: usize = 63;

/// The database that a backup is restored into, until it takes its name.
pub fn beside(database: &str, uid: &str) -> String {
    suffixed(database, "restore", uid)
}

/// What the replaced database is called from then on.
pub fn previous(database: &str, uid: &str) -> String {
    suffixed(database, "before", uid)
}

fn suffixed(database: &str, what: &str, uid: &str) -> String {
    let suffix = format!("__{what}_{}", short(uid));
    let mut end = database.len().min(LONGEST - suffix.len());
    while !database.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &database[..end])
}

/// Directory of the backup that is made of a database before it is dropped for a restore.
pub fn safety(database: &str, restore: &str, uid: &str) -> String {
    format!("{database}/before-{restore}-{}", short(uid))
}

/// Eight characters of a UID.
pub fn short(uid: &str) -> String {
    uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
}

/// What the comment of a database of a restore says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// UID of the Restore.
    pub restore: String,
    /// What the database is in it.
    pub role: Role,
    /// The comment that it has otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether a Job has begun to fill it: unless it is proven, nobody else may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
    /// What was proven of it, once it was restored whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Why the try that filled it broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Who could connect before it was closed by its privileges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

/// Who could connect to a database before it was closed by its privileges, where the server does not let it be closed altogether.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fence {
    /// Its connection limit; -1 is none.
    pub limit: i32,
    /// OIDs of the roles from which CONNECT was taken, 0 for PUBLIC, and whether each could grant it.
    pub connect: Vec<(u32, bool)>,
}

/// Why a try to restore broke off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Why, in a sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// Whether another try would come to the same.
    pub for_good: bool,
}

/// What a database is in a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The backup is restored into it.
    Restored,
    /// It was replaced.
    Previous,
    /// It still has the name, and is about to give it away.
    Leaving,
}

/// What was proven of a restored database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// When.
    pub at: Timestamp,
    /// Rows that are as many as were dumped, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    /// Assertions that hold.
    pub assertions: i32,
    /// How long it took, in seconds.
    pub seconds: i64,
    /// What could not be put back, such as a setting that only a superuser may give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
}

impl Witness {
    /// Of a database of this restore.
    pub fn new(uid: &str, role: Role, comment: Option<String>) -> Self {
        Self { restore: uid.to_owned(), role, comment, begun: false, proof: None, failure: None, fence: None }
    }

    /// What a comment says; `None` for one that somebody else has written.
    pub fn read(comment: Option<&str>) -> Option<Self> {
        serde_json::from_str(comment?).ok()
    }

    /// The comment that a database has otherwise, whichever restore's witness stands in its place.
    pub fn beneath(comment: Option<String>) -> Option<String> {
        match Self::read(comment.as_deref()) {
            Some(witness) => witness.comment,
            None => comment,
        }
    }

    /// The comment.
    pub fn text(&self) -> String {
        // Plain data with string keys, which cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5f0c1a2b-9d8e-4f00-8000-000000000000";

    #[test]
    fn names_fit_and_carry_the_uid() {
        assert_eq!(beside("shop", UID), "shop__restore_5f0c1a2b");
        assert_eq!(previous("shop", UID), "shop__before_5f0c1a2b");
        let long = beside(&"ü".repeat(31), UID);
        assert!(long.len() <= LONGEST && long.ends_with("__restore_5f0c1a2b"), "{long}");
    }

    #[test]
    fn a_witness_is_read_as_it_was_written_and_nothing_else_is_one() {
        let witness = Witness::new(UID, Role::Previous, Some("the \"shop\"".into()));
        assert_eq!(Witness::read(Some(&witness.text())), Some(witness));
        for other in [None, Some("the shop"), Some("{}"), Some("{\"restore\":\"x\"}")] {
            assert_eq!(Witness::read(other), None, "{other:?}");
        }
    }
}
