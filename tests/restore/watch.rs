//! What must be so while a restore is under way, whatever breaks? A watchman with a session of its own looks again and again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Client;

/// How often is looked.
const OFTEN: Duration = Duration::from_millis(20);

/// The databases whose names begin as this one does: OID, name, and whether each accepts connections of those who are no superusers.
const DATABASES: &str = "select oid, datname::text, datallowconn and datconnlimit <> 0 from pg_database
    where datname = $1 or starts_with(datname, $1 || '__')";

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often was looked.
    pub looks: usize,
    /// For how long nobody could connect to a database of the name, at the longest.
    pub away: Duration,
    /// For how long no database at all accepted connections, neither under the name nor under another, at the longest.
    pub shut: Duration,
    /// Whether the database that was there in the beginning has been missing.
    pub original_went: bool,
}

/// Watches the databases of one test until it is dropped.
pub struct Watchman {
    seen: Arc<Mutex<Seen>>,
    _watching: JoinSet<()>,
}

impl Watchman {
    /// Watches the database of this name, and all whose names begin with it and two underscores.
    pub async fn start(client: Client, name: &str) -> Self {
        let (seen, mut watching, name) = (Arc::<Mutex<Seen>>::default(), JoinSet::new(), name.to_owned());
        let found = Arc::clone(&seen);
        let original: u32 = client.query_one("select oid from pg_database where datname = $1", &[&name]).await.unwrap().get(0);
        let query = client.prepare(DATABASES).await.unwrap();
        watching.spawn(async move {
            let (mut away, mut shut) = (Span::default(), Span::default());
            loop {
                let rows = client.query(&query, &[&name]).await.unwrap();
                let databases: Vec<(u32, String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
                let is_there = databases.iter().any(|(_, found, is_open)| *found == name && *is_open);
                let is_any_open = databases.iter().any(|(.., is_open)| *is_open);
                {
                    let mut seen = found.lock().unwrap();
                    seen.looks += 1;
                    seen.away = away.longest(is_there);
                    seen.shut = shut.longest(is_any_open);
                    seen.original_went |= databases.iter().all(|(oid, ..)| *oid != original);
                }
                tokio::time::sleep(OFTEN).await;
            }
        });
        Self { seen, _watching: watching }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

/// Measures for how long something was not so.
#[derive(Default)]
struct Span {
    since: Option<Instant>,
    longest: Duration,
}

impl Span {
    fn longest(&mut self, is_so: bool) -> Duration {
        let since = self.since.take();
        self.longest = self.longest.max(since.map(|since| since.elapsed()).unwrap_or_default());
        self.since = (!is_so).then(|| since.unwrap_or_else(Instant::now));
        self.longest
    }
}
