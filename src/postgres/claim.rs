//! Who works on a database of this name? One restore at a time: whoever has the advisory lock on it, in a session of its own.

use std::time::{Duration, Instant};

use super::connect::Session;
use super::databases::run;
use super::error::Fault;

/// The upper half of the key of the advisory lock on a database that is restored ("pgrd"); the lower one is the hash of its name.
const LOCK: i32 = 0x7067_7264;

/// How long the lock is asked for: the server lets go of that of a session that broke off once its process has noticed.
const ASKING: Duration = Duration::from_secs(2);

/// How often.
const OFTEN: Duration = Duration::from_millis(100);

/// How long the server may take to let go of it.
const RELEASING: Duration = Duration::from_secs(3);

/// Takes the lock on what is done to a database of this name, for as long as the session lives. False where another keeps it.
///
/// # Errors
/// What the server said.
pub async fn take(session: &Session, name: &str) -> Result<bool, Fault> {
    let query = "SELECT pg_catalog.pg_try_advisory_lock($1, pg_catalog.hashtext($2))";
    let begun = Instant::now();
    loop {
        if session.client().query_one(query, &[&LOCK, &name]).await?.get(0) {
            return Ok(true);
        }
        if begun.elapsed() > ASKING {
            return Ok(false);
        }
        tokio::time::sleep(OFTEN).await;
    }
}

/// Gives it back and ends the session. A session that is only dropped keeps it until its process has noticed, and the next pass comes at once.
pub async fn give_back(session: Session) {
    if !session.is_closed() {
        let unlocked = run(&session, "SELECT pg_catalog.pg_advisory_unlock_all()");
        // Where nobody answers, the lock ends with the connection.
        drop(tokio::time::timeout(RELEASING, unlocked).await);
    }
}
