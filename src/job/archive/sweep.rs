//! In which order are batches taken? From the oldest row on; what was held is passed over and tried again when the end is reached.

use std::time::{Duration, Instant};

use super::batch::{Done, Undone};
use super::next::Next;
use super::{Run, blocked};
use crate::plan::action::Blocked;
use crate::postgres::error::FaultKind;
use crate::sql::rows::{From, Selection};

/// How often a run begins again at the oldest row, where rows were held, or where rows of the table itself refer to others.
const SWEEPS: u32 = 32;

/// Pause before rows that were held are tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Rows of one value whose places are remembered at a time.
const PLACES: i64 = 1_000_000;

/// Tries with parts of a batch before what is left of it is passed over.
const PARTS: u32 = 48;

/// How a sweep ended.
enum End {
    /// At the youngest row that may go.
    Reached,
    /// Before, because of this.
    Early(String),
}

impl Run<'_> {
    /// Sweeps until nothing is left that can go.
    pub(super) async fn sweep_all(&mut self) -> Result<(), Blocked> {
        let refers_to_itself = self.task.keepers.iter().any(|keeper| keeper.table == keeper.target);
        for _ in 0..SWEEPS {
            let before = self.moved.rows;
            self.moved.busy = 0;
            if let End::Early(why) = self.sweep().await? {
                self.moved.ended_early = Some(why);
                return Ok(());
            }
            let has_moved = self.moved.rows > before;
            let again = (self.moved.busy > 0 || refers_to_itself) && has_moved;
            if !again {
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    async fn sweep(&mut self) -> Result<End, Blocked> {
        let mut from = From::Start;
        loop {
            if let Some(why) = self.pause().await? {
                return Ok(End::Early(why));
            }
            let limit = i64::from(self.task.pace.rows).min(self.task.max_rows - self.moved.rows);
            let next = self.found(&from, limit).await?;
            let begun = Instant::now();
            match next {
                Next::End => return Ok(End::Reached),
                Next::Range { selection, then, at } => {
                    self.take(&selection).await?;
                    self.tell(Some(&at), None);
                    match then {
                        Some(then) => from = then,
                        None => return Ok(End::Reached),
                    }
                }
                Next::Value { value } => {
                    if let Some(why) = self.take_value(&value).await? {
                        return Ok(End::Early(why));
                    }
                    from = From::After(value);
                }
            }
            self.throttle.worked(begun.elapsed());
        }
    }

    /// A search that waits for a lock (somebody alters the table) is tried again.
    async fn found(&mut self, from: &From, limit: i64) -> Result<Next, Blocked> {
        for attempt in 0.. {
            match self.next(from, limit).await {
                Ok(next) => return Ok(next),
                Err(fault) if fault.kind == FaultKind::Lock && attempt < 10 => tokio::time::sleep(AGAIN).await,
                Err(fault) => return Err(blocked(self.task, &fault)),
            }
        }
        Ok(Next::End)
    }

    /// Waits as the pace asks. Something if the run is to end here.
    async fn pause(&mut self) -> Result<Option<String>, Blocked> {
        if self.moved.rows >= self.task.max_rows {
            return Ok(Some(format!("guards.maxRowsPerRun ({}) is reached", self.task.max_rows)));
        }
        let waited = self.wait().await.map_err(|fault| blocked(self.task, &fault))?;
        if self.watch.stop.is_cancelled() {
            return Ok(Some("it was asked to stop".into()));
        }
        Ok(waited)
    }

    /// All rows of one value, by their places: an order among them would have to be made anew for every batch.
    async fn take_value(&mut self, value: &str) -> Result<Option<String>, Blocked> {
        let selection = Selection::Value(value.to_owned());
        loop {
            let before = self.moved.rows;
            let places = self.undone(self.places(&selection, PLACES).await)?.unwrap_or_default();
            let batch = usize::try_from(self.task.pace.rows).unwrap_or(usize::MAX);
            for some in places.chunks(batch) {
                if let Some(why) = self.pause().await? {
                    return Ok(Some(why));
                }
                let most = usize::try_from(self.task.max_rows - self.moved.rows).unwrap_or(usize::MAX);
                let some = some[..some.len().min(most)].to_vec();
                let begun = Instant::now();
                self.take(&Selection::Places { places: some, of: Box::new(selection.clone()) }).await?;
                self.throttle.worked(begun.elapsed());
                self.tell(Some(value), None);
            }
            let is_all = i64::try_from(places.len()).unwrap_or(i64::MAX) < PLACES;
            if is_all || self.moved.rows == before {
                return Ok(None);
            }
        }
    }

    /// A batch at full speed; if somebody is in the way, carefully.
    async fn take(&mut self, selection: &Selection) -> Result<(), Blocked> {
        match self.undone(self.batch(selection).await)? {
            Some(done) => {
                self.add(done);
                Ok(())
            }
            None => self.take_carefully(selection).await,
        }
    }

    /// Rows that nobody holds go; what is in the way among their dependents is found by halving.
    async fn take_carefully(&mut self, selection: &Selection) -> Result<(), Blocked> {
        let limit = i64::from(self.task.pace.rows).saturating_mul(2);
        let Some(places) = self.undone(self.places(selection, limit).await)? else {
            self.moved.busy += 1;
            return Ok(());
        };
        let of = match selection {
            Selection::Places { of, .. } => of.clone(),
            other => Box::new(other.clone()),
        };
        let mut parts = vec![places];
        let mut tries = 0;
        while let Some(places) = parts.pop() {
            if places.is_empty() {
                continue;
            }
            tries += 1;
            let some = Selection::Places { places: places.clone(), of: of.clone() };
            let count = i64::try_from(places.len()).unwrap_or(i64::MAX);
            match self.undone(self.careful(&some).await)? {
                Some((done, found)) => {
                    self.add(done);
                    self.moved.busy += count - found;
                }
                None if places.len() == 1 || tries >= PARTS => self.moved.busy += count,
                None => {
                    let (one, other) = places.split_at(places.len() / 2);
                    parts.extend([other.to_vec(), one.to_vec()]);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, done: Done) {
        self.moved.rows += done.rows;
        self.moved.dependents += done.dependents;
    }

    /// Contention is no error: `None`.
    fn undone<T>(&self, outcome: Result<T, Undone>) -> Result<Option<T>, Blocked> {
        match outcome {
            Ok(done) => Ok(Some(done)),
            Err(Undone::Contended) => Ok(None),
            Err(Undone::Refused(refused)) => Err(refused),
            Err(Undone::Fault(fault)) => Err(blocked(self.task, &fault)),
        }
    }
}
