//! Which statements belong together, and what do they lock? The form in which work is handed to the executor.

use jiff::Timestamp;

use crate::api::TableName;
use crate::plan::snapshot::Oid;

/// A table lock, weakest first (PostgreSQL, Explicit Locking, table 13.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// Conflicts with schema changes; readers and writers go on.
    ShareUpdateExclusive,
    /// Writers wait; readers go on.
    ShareRowExclusive,
    /// Everybody waits.
    AccessExclusive,
}

impl LockMode {
    /// As in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// Held modes, in `pg_locks`' names, that this one waits for.
    pub const fn conflicts(self) -> &'static [&'static str] {
        match self {
            Self::ShareUpdateExclusive => {
                &["ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]
            }
            Self::ShareRowExclusive => &[
                "RowExclusiveLock",
                "ShareUpdateExclusiveLock",
                "ShareLock",
                "ShareRowExclusiveLock",
                "ExclusiveLock",
                "AccessExclusiveLock",
            ],
            Self::AccessExclusive => &[
                "AccessShareLock",
                "RowShareLock",
                "RowExclusiveLock",
                "ShareUpdateExclusiveLock",
                "ShareLock",
                "ShareRowExclusiveLock",
                "ExclusiveLock",
                "AccessExclusiveLock",
            ],
        }
    }
}

/// A lock that a step takes on a table that the application may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The table.
    pub table: TableName,
    /// The mode.
    pub mode: LockMode,
    /// Whether it is taken by name at the start of the transaction; otherwise a statement takes it.
    pub first: bool,
}

/// A query of one boolean that must be true before anything is changed: the world is still as it was planned for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The query.
    pub query: String,
    /// What to say if it is not true.
    pub otherwise: String,
}

/// Statements that take effect together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The role to act as; empty for the login role.
    pub role: String,
    /// Locks, in the order in which they are taken.
    pub locks: Vec<Lock>,
    /// Checks under those locks.
    pub checks: Vec<Check>,
    /// The statements.
    pub statements: Vec<String>,
    /// Statements that need the login role's own memberships, after the others.
    pub as_login: Vec<String>,
}

/// A step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// In one transaction, each lock tried for 50 ms at a time.
    Transaction(Transaction),
    /// One statement by itself, outside a transaction and without a lock timeout: what PostgreSQL does CONCURRENTLY waits for old
    /// transactions without anybody queueing behind it.
    Alone {
        /// The role to act as.
        role: String,
        /// The statement.
        statement: String,
        /// Locks it takes.
        locks: Vec<Lock>,
    },
    /// One statement outside a transaction that must not be broken off, because that would leave half of it behind (a
    /// DETACH CONCURRENTLY that is cancelled or times out stays pending): it has no timeout, and does not begin while an old
    /// transaction uses the table that it waits for.
    Patient {
        /// The role to act as.
        role: String,
        /// The statement.
        statement: String,
        /// Locks it takes, on the tables whose users it waits for.
        locks: Vec<Lock>,
    },
}

/// Stands in a statement for the moment at which it is carried out.
pub const NOW: &str = "⟨now⟩";

/// What carries out one action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What takes the effect of a partial run away again, if one of the later steps fails.
    pub undo: Option<Transaction>,
}

impl Script {
    /// Every lock of every step, the strongest per table, in order of first appearance.
    pub fn locks(&self) -> Vec<(LockMode, String)> {
        let mut found: Vec<(LockMode, String)> = Vec::new();
        for lock in self.steps.iter().flat_map(Step::locks) {
            let table = lock.table.to_string();
            match found.iter_mut().find(|(_, known)| *known == table) {
                Some((mode, _)) => *mode = (*mode).max(lock.mode),
                None => found.push((lock.mode, table)),
            }
        }
        found
    }

    /// The same script at this moment.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        let now = now.to_string();
        for step in &mut self.steps {
            if let Step::Transaction(transaction) = step {
                for statement in transaction.statements.iter_mut().filter(|statement| statement.contains(NOW)) {
                    *statement = statement.replacen(NOW, &now, 1);
                }
            }
        }
        self
    }

    /// The statements as a person would type them.
    pub fn text(&self) -> Vec<String> {
        self.steps.iter().flat_map(Step::text).collect()
    }
}

impl Step {
    /// Its locks.
    pub fn locks(&self) -> &[Lock] {
        match self {
            Step::Transaction(transaction) => &transaction.locks,
            Step::Alone { locks, .. } | Step::Patient { locks, .. } => locks,
        }
    }

    fn text(&self) -> Vec<String> {
        match self {
            Step::Alone { statement, .. } | Step::Patient { statement, .. } => vec![statement.clone()],
            Step::Transaction(transaction) => {
                let mut text = vec!["BEGIN".to_owned()];
                text.extend(transaction.opening());
                text.extend(transaction.statements.iter().cloned());
                text.extend(transaction.closing());
                text.push("COMMIT".into());
                text
            }
        }
    }
}

impl Transaction {
    /// What comes before the checks: the role and the locks.
    pub fn opening(&self) -> Vec<String> {
        let mut text = Vec::new();
        if !self.role.is_empty() {
            text.push(format!("SET LOCAL ROLE {}", super::quote::ident(&self.role)));
        }
        let first = self.locks.iter().filter(|lock| lock.first);
        text.extend(
            first.map(|lock| format!("LOCK TABLE ONLY {} IN {} MODE", super::quote::table(&lock.table), lock.mode.as_str())),
        );
        text
    }

    /// What comes after the statements: those of the login role.
    pub fn closing(&self) -> Vec<String> {
        if self.as_login.is_empty() {
            return vec![];
        }
        let mut text = vec!["RESET ROLE".to_owned()];
        text.extend(self.as_login.iter().cloned());
        text
    }
}

/// A check that a table is still the one that was planned for.
pub fn is_still(table: &TableName, oid: Oid) -> Check {
    use super::quote::literal;
    let query = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE c.oid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid AND c.relname OPERATOR(pg_catalog.=) {} AND n.nspname OPERATOR(pg_catalog.=) {})",
        literal(&table.name),
        literal(&table.schema),
    );
    Check { query, otherwise: format!("{table} is not the table that was planned for (OID {oid} is gone or renamed)") }
}
