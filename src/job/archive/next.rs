//! Where does the next batch begin and end? Values of the age column, so that no batch looks at what an earlier one has removed.

use super::Run;
use crate::postgres::Fault;
use crate::sql::rows::{self, From, Selection};
use tokio_postgres::SimpleQueryMessage;

/// Where a condition lets few rows go, this many times as many are looked at for one batch.
const WINDOW: i64 = 5;

/// A batch that has been found.
pub(super) enum Next {
    /// No row is left.
    End,
    /// Rows of several values.
    Range {
        /// The rows.
        selection: Selection,
        /// Where the search goes on; nothing if this is the last batch.
        then: Option<From>,
        /// Up to where it goes.
        at: String,
    },
    /// More rows of one value than a batch takes.
    Value {
        /// The value.
        value: String,
    },
}

impl Run<'_> {
    /// The next batch of at most `limit` rows from `from` on.
    pub(super) async fn next(&self, from: &From, limit: i64) -> Result<Next, Fault> {
        let window = limit.saturating_mul(WINDOW).max(1_000);
        let query = rows::next(self.task, from, limit, window);
        let role = crate::sql::quote::ident(&self.task.role);
        let text = format!("BEGIN TRANSACTION READ ONLY; {SETTINGS}; {}; SET LOCAL ROLE {role}; {query}; COMMIT", rows::PLANNING);
        let answer = self.session.client().simple_query(&text).await;
        let messages = match answer {
            Ok(messages) => messages,
            Err(error) => {
                if !self.session.is_closed() {
                    self.session.client().batch_execute("ROLLBACK").await?;
                }
                return Err(error.into());
            }
        };
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let column = |number: usize| row.and_then(|row| row.get(number)).map(str::to_owned);
        let seen: i64 = column(3).and_then(|count| count.parse().ok()).unwrap_or(0);
        Ok(self.decide(column(0), column(1), column(2).filter(|_| seen >= window)))
    }

    /// `first` is the oldest value, `beyond` the one behind the batch, `edge` the last one that was looked at where there may be more.
    fn decide(&self, first: Option<String>, beyond: Option<String>, edge: Option<String>) -> Next {
        let Some(first) = first else { return Next::End };
        match beyond.or(edge) {
            Some(end) if end == first => Next::Value { value: first },
            Some(end) => Next::Range {
                selection: Selection::Range { from: Some(first), to: end.clone() },
                then: Some(From::At(end.clone())),
                at: end,
            },
            None => {
                let to = self.task.before.clone();
                Next::Range { selection: Selection::Range { from: Some(first), to: to.clone() }, then: None, at: to }
            }
        }
    }
}

/// Values are printed the same everywhere, and no search goes on for ever.
const SETTINGS: &str = "SET LOCAL search_path = ''; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; \
    SET LOCAL standard_conforming_strings = on; SET LOCAL row_security = off; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '10min'";
