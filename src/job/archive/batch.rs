//! How is one batch moved? In one transaction that commits only if what was copied is what was deleted, and nothing else was touched.

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use super::{Concerned, Run};
use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::postgres::error::FaultKind;
use crate::postgres::{Fault, Session};
use crate::sql::rows::{self, SHAPE, Selection, Statement, TOUCHED};

/// Longest that a batch waits for a row or a table that the application holds.
const LOCK_TIMEOUT_MS: u64 = 50;

/// Longest that one statement of a batch may run.
const STATEMENT_TIMEOUT_MS: u64 = 600_000;

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Rows of the table.
    pub rows: i64,
    /// Rows of dependents.
    pub dependents: i64,
}

/// Why a batch did not take place; it has been rolled back.
#[derive(Debug)]
pub(super) enum Undone {
    /// Somebody held or changed a row of it.
    Contended,
    /// It must not be tried again.
    Refused(Blocked),
    /// The server or the connection said something else.
    Fault(Fault),
}

impl From<Fault> for Undone {
    fn from(fault: Fault) -> Self {
        if fault.kind == FaultKind::Lock { Self::Contended } else { Self::Fault(fault) }
    }
}

impl From<tokio_postgres::Error> for Undone {
    fn from(error: tokio_postgres::Error) -> Self {
        Fault::from(error).into()
    }
}

/// See [`SHAPE`].
pub(super) async fn shape(session: &Session, concerned: &Concerned) -> Result<String, Fault> {
    let rows = session.query(SHAPE, &[(&concerned.shape, Type::OID_ARRAY)]).await?;
    Ok(rows.first().map(|row| row.get(0)).unwrap_or_default())
}

impl Run<'_> {
    /// Moves the rows of a selection: all of them, or none.
    pub(super) async fn batch(&self, selection: &Selection) -> Result<Done, Undone> {
        self.or_rolled_back(self.in_transaction(selection).await).await
    }

    /// Moves those of these rows that nobody holds, and says how many there were.
    pub(super) async fn careful(&self, selection: &Selection) -> Result<(Done, i64), Undone> {
        self.or_rolled_back(self.locking_first(selection).await).await
    }

    async fn or_rolled_back<T>(&self, outcome: Result<T, Undone>) -> Result<T, Undone> {
        if outcome.is_err() && !self.session.is_closed() {
            self.session.client().batch_execute("ROLLBACK").await?;
        }
        outcome
    }

    async fn in_transaction(&self, selection: &Selection) -> Result<Done, Undone> {
        let touched = self.begin().await?;
        let done = self.perform(selection, touched).await?;
        self.session.client().batch_execute("COMMIT").await?;
        Ok(done)
    }

    async fn locking_first(&self, selection: &Selection) -> Result<(Done, i64), Undone> {
        let touched = self.begin().await?;
        let places = places_in(&self.session.client().simple_query(&rows::lock_free_rows(self.task, selection)).await?);
        let found = i64::try_from(places.len()).unwrap_or(i64::MAX);
        if places.is_empty() {
            self.session.client().batch_execute("ROLLBACK").await?;
            return Ok((Done::default(), 0));
        }
        let locked = Selection::Places { places, of: Box::new(base(selection)) };
        let done = self.perform(&locked, touched).await?;
        self.session.client().batch_execute("COMMIT").await?;
        Ok((done, found))
    }

    /// Opens the transaction, and makes sure under its locks that the tables are as they were looked at.
    async fn begin(&self) -> Result<i64, Undone> {
        let begin = rows::begin(self.task, LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS);
        // Asked together, answered in order: one round trip.
        let (begun, shape, touched) =
            futures::join!(self.session.client().batch_execute(&begin), shape(self.session, &self.concerned), self.touched());
        begun?;
        if shape? != self.shape {
            let message = format!("{} or a table that belongs to it was altered during the run", self.task.table.table);
            return Err(Undone::Refused(Blocked::new(Reason::Stale, message)));
        }
        Ok(touched?)
    }

    /// See [`TOUCHED`]; 0 where no table refers to the rows.
    async fn touched(&self) -> Result<i64, Fault> {
        if self.concerned.referring.is_empty() {
            return Ok(0);
        }
        let rows = self.session.query(TOUCHED, &[(&self.concerned.referring, Type::OID_ARRAY)]).await?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    async fn perform(&self, selection: &Selection, touched: i64) -> Result<Done, Undone> {
        let statements = rows::batch(self.task, &self.movements, selection);
        let text: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        let messages = self.session.client().simple_query(&text.join(";\n")).await?;
        let counts: Vec<i64> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::CommandComplete(count) => i64::try_from(*count).ok(),
                _ => None,
            })
            .collect();
        let done = self.compare(&statements, &counts).map_err(Undone::Refused)?;
        self.nothing_else(touched, done).await?;
        Ok(done)
    }

    /// What was copied of each table is what was deleted of it.
    fn compare(&self, statements: &[Statement], counts: &[i64]) -> Result<Done, Blocked> {
        let count = |number: usize, deletes: bool| {
            let at = statements.iter().position(|statement| statement.movement == number && statement.deletes == deletes)?;
            counts.get(at).copied()
        };
        let mut done = Done::default();
        for (number, movement) in self.movements.iter().enumerate() {
            let deleted = count(number, true).unwrap_or(-1);
            let copied = if movement.archive.is_some() { count(number, false).unwrap_or(-2) } else { deleted };
            if copied != deleted || deleted < 0 {
                let message = format!(
                    "{copied} rows of {} were archived and {deleted} deleted in one batch, so it was rolled back: look for triggers that suppress or change rows",
                    movement.table
                );
                return Err(Blocked::new(Reason::ActionFailed, message));
            }
            match self.task.dependents.get(number) {
                Some(_) => done.dependents += deleted,
                None => done.rows += deleted,
            }
        }
        Ok(done)
    }

    /// No foreign key has deleted or changed a row by itself. Where triggers of users take part, what they touch cannot be told apart.
    async fn nothing_else(&self, before: i64, done: Done) -> Result<(), Undone> {
        if self.concerned.referring.is_empty() || self.movements.iter().any(|movement| movement.has_triggers) {
            return Ok(());
        }
        let own = self.concerned.referring.contains(&self.task.table.oid);
        let expected = done.dependents + if own { done.rows } else { 0 };
        let touched = self.touched().await? - before;
        // A server that counts nothing (track_counts off) says 0.
        if touched == 0 || touched == expected {
            return Ok(());
        }
        let message = format!(
            "a batch of {} would have deleted or changed {} rows of tables that refer to it beyond the {expected} that were planned, so it was rolled back: look for triggers and foreign keys",
            self.task.table.table,
            touched - expected
        );
        Err(Undone::Refused(Blocked::new(Reason::ActionFailed, message)))
    }

    /// The places of the rows of a selection, at most `limit`.
    pub(super) async fn places(&self, selection: &Selection, limit: i64) -> Result<Vec<String>, Undone> {
        let found = async {
            self.begin().await?;
            let messages = self.session.client().simple_query(&rows::places(self.task, selection, limit)).await?;
            self.session.client().batch_execute("ROLLBACK").await?;
            Ok(places_in(&messages))
        };
        self.or_rolled_back(found.await).await
    }
}

fn places_in(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let place = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.iter().filter_map(place).collect()
}

/// The range or value that places were found in.
fn base(selection: &Selection) -> Selection {
    match selection {
        Selection::Places { of, .. } => base(of),
        other => other.clone(),
    }
}
