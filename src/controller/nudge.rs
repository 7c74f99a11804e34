//! Who wishes that an object be looked at? One object's pass, of another object: at once, or once things have calmed down.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long no further wish must come before one that can wait is heard.
const CALM: Duration = Duration::from_secs(1);

/// How long it waits at most.
const LONGEST: Duration = Duration::from_secs(15);

/// A wish that an object be looked at now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Nudge {
    /// Kind of the object.
    pub kind: Cow<'static, str>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Takes wishes.
#[derive(Clone)]
pub(crate) struct Nudges {
    sender: mpsc::UnboundedSender<Nudge>,
    /// Wishes that can wait: when the latest of each came.
    waiting: Arc<Mutex<HashMap<Nudge, Instant>>>,
}

impl Nudges {
    /// Also who hears them.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Nudge>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, waiting: Arc::default() }, receiver)
    }

    /// Wishes that an object be looked at now.
    pub fn now(&self, kind: impl Into<Cow<'static, str>>, namespace: &str, name: &str) {
        // Without a listener the operator is stopping.
        drop(self.sender.send(Nudge { kind: kind.into(), namespace: namespace.to_owned(), name: name.to_owned() }));
    }

    /// Wishes that an object be looked at when nobody has wished the same for a second: for what happens to thousands at a time.
    pub fn soon(&self, kind: &'static str, namespace: &str, name: &str, stop: &CancellationToken) {
        let nudge = Nudge { kind: kind.into(), namespace: namespace.to_owned(), name: name.to_owned() };
        if self.waiting().insert(nudge.clone(), Instant::now()).is_none() {
            let (nudges, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(nudges.calm_down(nudge)).await });
        }
    }

    async fn calm_down(&self, nudge: Nudge) {
        let first = Instant::now();
        loop {
            let latest = self.waiting().get(&nudge).copied().unwrap_or(first);
            let due = due(first, latest);
            if due <= Instant::now() {
                break;
            }
            tokio::time::sleep_until(due).await;
        }
        self.waiting().remove(&nudge);
        drop(self.sender.send(nudge));
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Nudge, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a wish is heard that came first at one moment and last at the other.
fn due(first: Instant, latest: Instant) -> Instant {
    (latest + CALM).min(first + LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_that_can_wait_is_heard_when_calm_has_come_or_at_the_latest() {
        let first = Instant::now();
        for (latest, expected) in [(0, 1), (5, 6), (14, 15), (60, 15)] {
            assert_eq!(due(first, first + Duration::from_secs(latest)), first + Duration::from_secs(expected));
        }
    }

    #[tokio::test]
    async fn a_crowd_of_wishes_is_heard_once() {
        let (nudges, mut heard) = Nudges::new();
        let begun = Instant::now();
        for _ in 0..1_000 {
            nudges.soon("PostgresDatabase", "shop", "orders", &CancellationToken::new());
        }
        assert_eq!(heard.recv().await.unwrap().name, "orders");
        assert!(begun.elapsed() >= CALM && heard.try_recv().is_err());
        nudges.soon("PostgresDatabase", "shop", "orders", &CancellationToken::new());
        assert_eq!(heard.recv().await.unwrap().name, "orders");
    }
}
