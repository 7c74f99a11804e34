//! When may the next batch begin? After its share of the time, and not while standbys, slots or dead rows are behind.

use std::time::{Duration, Instant};

use super::Run;
use crate::api::row_retention::VacuumAfter;
use crate::plan::removal::Pace;
use crate::postgres::Fault;
use crate::postgres::rows::{Backlog, backlog};

/// How often the server is asked how far behind everything is.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long a batch waits for standbys, slots or vacuum before the run ends. The next run goes on.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the pace needs to know.
pub(super) struct Throttle {
    pace: Pace,
    worked: Duration,
    asked: Option<Instant>,
    reasons: Vec<&'static str>,
}

impl Throttle {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, worked: Duration::ZERO, asked: None, reasons: vec![] }
    }

    /// A batch took this long.
    pub(super) fn worked(&mut self, time: Duration) {
        self.worked = time;
    }

    /// What slowed the run down, if something did.
    pub(super) fn reason(&self) -> Option<String> {
        (!self.reasons.is_empty()).then(|| self.reasons.join(", "))
    }

    fn note(&mut self, reason: &'static str) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// The pause that is due.
    fn due(&mut self) -> Duration {
        let worked = std::mem::take(&mut self.worked);
        if worked.is_zero() {
            return Duration::ZERO;
        }
        let share = f64::from(self.pace.max_load.clamp(1, 100)) / 100.0;
        let rest = worked.mul_f64((1.0 - share) / share);
        let least = Duration::from_millis(u64::try_from(self.pace.pause_ms).unwrap_or(0));
        if rest > least && !rest.is_zero() {
            self.note("maxLoad");
        } else if !least.is_zero() {
            self.note("pause");
        }
        rest.max(least)
    }

    /// What is too far behind, if anything.
    fn behind(&self, backlog: &Backlog) -> Option<&'static str> {
        if backlog.lag_ms > self.pace.max_replication_lag_ms {
            Some("replication lag")
        } else if backlog.endangered_slots > 0 {
            Some("a replication slot that is about to lose its WAL")
        } else if self.pace.max_dead_tuple_percent < 100 && backlog.dead_percent > i64::from(self.pace.max_dead_tuple_percent) {
            Some("dead rows")
        } else {
            None
        }
    }
}

impl Run<'_> {
    /// Waits until the next batch may begin. Something if that took too long.
    pub(super) async fn wait(&mut self) -> Result<Option<String>, Fault> {
        let due = self.throttle.due();
        self.sleep(due).await;
        if self.throttle.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return Ok(None);
        }
        let begun = Instant::now();
        let mut has_vacuumed = false;
        loop {
            self.throttle.asked = Some(Instant::now());
            let backlog = backlog(self.session, self.task.table.oid).await?;
            let Some(behind) = self.throttle.behind(&backlog) else { return Ok(None) };
            self.throttle.note(behind);
            self.tell(None, Some(behind));
            if behind == "dead rows" && self.task.vacuum == VacuumAfter::Run && !has_vacuumed {
                has_vacuumed = true;
                self.vacuum(&crate::sql::quote::table(&self.task.table.table)).await?;
            }
            if begun.elapsed() > PATIENCE {
                return Ok(Some(format!("it waited {} min for {behind}", PATIENCE.as_secs() / 60)));
            }
            self.sleep(ASK_EVERY).await;
            if self.watch.stop.is_cancelled() {
                return Ok(None);
            }
        }
    }

    /// Sleeps, unless the run is to stop.
    async fn sleep(&self, time: Duration) {
        if !time.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = self.watch.stop.cancelled() => {}
            }
        }
    }
}
