//! When is an object looked at again? Resync with jitter, due times, and a delay that doubles with each failure.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Config;
use crate::api::reason::Class;
use crate::plan::status::State;

/// A stalled object is looked at at least this often: what it waits for, such as a Secret, is not watched.
const STALLED: Duration = Duration::from_secs(60);

/// Failures in a row, by object.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// The delay until the next pass of the object `key`. What fails, or waits, is looked at sooner than that where it is due sooner.
    pub fn next(
        &self,
        key: &str,
        state: &State,
        due: Option<Timestamp>,
        now: Timestamp,
        config: &Config,
        punctual: bool,
    ) -> Duration {
        let class = if state.ready { Class::Fine } else { state.reason.class() };
        let failures = self.count(key, class == Class::Waiting);
        let resync = spread(key, config.resync);
        // One that was due before and came to nothing then waits its time.
        let sooner = due.map(|due| due.duration_since(now)).filter(|wait| wait.is_positive());
        let sooner = sooner.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(Duration::MAX);
        match class {
            Class::Waiting => doubled(config, failures).mul_f64(0.75 + fastrand::f64() / 2.0).min(sooner),
            Class::Stalled => resync.min(STALLED.mul_f64(0.75 + fastrand::f64() / 2.0)).min(sooner),
            Class::Fine => due.map_or(resync, |due| resync.min(until(if punctual { None } else { Some(key) }, due, now))),
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn count(&self, key: &str, failed: bool) -> u32 {
        let mut counts = self.lock();
        if !failed {
            counts.remove(key);
            return 0;
        }
        let count = counts.entry(key.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn doubled(config: &Config, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    config.backoff_min.saturating_mul(factor).min(config.backoff_max)
}

/// Between 90 and 110 % of `period`, always the same for one object, so that thousands of them are not due at once.
fn spread(key: &str, period: Duration) -> Duration {
    period.mul_f64(0.9 + 0.2 * fraction(key))
}

/// From now until shortly after `due`: months begin for all objects at once, their passes within five minutes.
fn until(spread_by: Option<&str>, due: Timestamp, now: Timestamp) -> Duration {
    let wait = due.duration_since(now);
    let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
    let late = Duration::from_secs(300).min(wait / 10).mul_f64(spread_by.map_or(0.0, fraction));
    wait + late + Duration::from_secs(1)
}

/// A number from 0 to 1 that belongs to this key.
fn fraction(key: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

    fn state(reason: Reason) -> State {
        State { ready: reason.class() == Class::Fine, reason, message: String::new(), drifted: false }
    }

    #[test]
    fn each_failure_doubles_the_delay_and_a_success_forgets_them() {
        let (backoff, config, now) = (Backoff::default(), Config::default(), Timestamp::UNIX_EPOCH);
        let next = |reason| backoff.next("a", &state(reason), None, now, &config, false);
        let delays: Vec<Duration> = (0..12).map(|_| next(Reason::Unreachable)).collect();
        assert!(delays[0] < Duration::from_secs(3) && delays[3] > delays[0]);
        assert!(delays.iter().all(|delay| *delay <= config.backoff_max.mul_f64(1.25)));
        assert!(next(Reason::UpToDate) > Duration::from_secs(500));
        assert!(next(Reason::Unreachable) < Duration::from_secs(3));
    }

    #[test]
    fn what_waits_for_a_moment_is_looked_at_then_however_often_it_has_waited() {
        let (backoff, config, now) = (Backoff::default(), Config::default(), Timestamp::UNIX_EPOCH);
        let due = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        for reason in [Reason::Quiescing, Reason::Unreachable, Reason::AuthenticationFailed] {
            for _ in 0..20 {
                let delay = backoff.next("a", &state(reason), due(1), now, &config, true);
                assert_eq!(delay, Duration::from_secs(1), "{reason}");
            }
            // Without a moment, or after it, by the usual delay.
            for due in [None, due(0), due(-5), due(86_400)] {
                let delay = backoff.next("a", &state(reason), due, now, &config, true);
                assert!(delay >= Duration::from_secs(45), "{reason} {due:?}: {delay:?}");
            }
        }
    }

    #[test]
    fn a_pass_is_never_before_it_is_due_and_never_long_after() {
        let (backoff, config, now) = (Backoff::default(), Config::default(), Timestamp::UNIX_EPOCH);
        for seconds in [1, 60, 500] {
            let due = Timestamp::from_second(seconds).unwrap();
            let delay = backoff.next("a", &state(Reason::UpToDate), Some(due), now, &config, false);
            assert!(
                delay >= Duration::from_secs(seconds.unsigned_abs())
                    && delay <= Duration::from_secs(seconds.unsigned_abs() + 31 + 1)
            );
        }
    }
}
