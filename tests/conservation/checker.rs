//! Is every row that was ever committed in exactly one place, as it was last committed? One reckoning over tables and objects.
//!
//! In one snapshot of the database, every row of the ledger that was not deleted is in exactly one table (source, detached partition,
//! archive), or in an export whose partition is gone; and nothing is anywhere that the ledger does not know. An export exists exactly
//! if its manifest does. While its partition exists it is a copy and counts for nothing. Of a partition that is gone, the export counts
//! by which it was closed. A row that was deleted after its export was written is in the export and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pgreeve::api::TableName;
use pgreeve::job::export::manifest::Manifest;
use pgreeve::job::export::restore::restore;
use pgreeve::job::export::verify::verify;
use pgreeve::postgres::Session;
use pgreeve::postgres::connect::{Target, Tls};
use pgreeve::storage::Store;
use tokio_postgres::{Client, Transaction};

use crate::ledger::{self, DIGEST};
use crate::world::World;

/// How often a snapshot is tried for in which no table came or went between the locks and the look.
const TRIES: usize = 20;

/// Parents, whose locks keep their partitions from being detached while rows are counted.
const PARENTS: &str = "events, logs, logs_archive";

/// Tables of rows: source, detached, archive.
const TABLES: &str = "select coalesce(array_agg(c.oid::regclass::text order by c.oid::regclass::text), '{}') from pg_class c
    where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace";

/// Partitions of `events` that have gone, and by which export each that has not is closed.
const GONE: &str = "select events from ledger.days where not exists (select from pg_class c where c.oid = events)";
const CLOSED: &str = "select k.conrelid, split_part(obj_description(k.oid, 'pg_constraint'), ' ', 3) from pg_constraint k
    where k.conname = 'pgreeve_closed' and k.contype = 'c'";

/// An export whose rows have been read.
#[derive(Clone)]
struct Known {
    oid: u32,
    manifest: Manifest,
    directory: String,
}

/// Counts, again and again.
pub struct Checker {
    world: Arc<World>,
    store: Store,
    /// By the keys of their manifests.
    known: BTreeMap<String, Known>,
    /// By which export each partition was closed when it was last seen.
    closed: BTreeMap<u32, String>,
    /// Taken while it looks.
    client: Option<Client>,
    /// Snapshots in which all was right.
    pub snapshots: usize,
}

/// Rows of the ledger that are there, by the kind of place.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places {
    pub tables: i64,
    pub objects: i64,
}

/// Why a snapshot could not be judged.
enum Look {
    /// A table came or went.
    Again,
    /// Something is wrong.
    Wrong(String),
}

impl From<tokio_postgres::Error> for Look {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code().map(|code| code.code()) {
            Some("42P01" | "40P01" | "55P03") => Self::Again,
            _ => Self::Wrong(format!("{error:?}")),
        }
    }
}

impl Checker {
    pub async fn new(world: &Arc<World>) -> Self {
        let (store, client) = (world.store(), Some(world.admin().await));
        Self { world: Arc::clone(world), store, known: BTreeMap::new(), closed: BTreeMap::new(), client, snapshots: 0 }
    }

    /// Another server answers now: what was noted there of objects may be lost with its last commits.
    pub async fn begin_anew(&mut self) {
        let client = self.world.admin().await;
        client.batch_execute("truncate ledger.exported").await.unwrap();
        self.client = Some(client);
        (self.known, self.closed) = (BTreeMap::new(), BTreeMap::new());
    }

    /// Counts in one snapshot.
    ///
    /// # Panics
    /// With what is lost, double or altered.
    pub async fn check(&mut self) {
        self.reckon().await.unwrap_or_else(|wrong| panic!("after {} snapshots: {wrong}", self.snapshots));
    }

    /// Counts in one snapshot.
    ///
    /// # Errors
    /// What is lost, double or altered.
    pub async fn reckon(&mut self) -> Result<(), String> {
        for _ in 0..TRIES {
            self.read_new_exports().await;
            match self.look().await {
                Ok(()) => {
                    self.snapshots += 1;
                    return Ok(());
                }
                Err(Look::Again) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                Err(Look::Wrong(what)) => return Err(what),
            }
        }
        Err(format!("no snapshot after {TRIES} tries: a partition is gone without an export, or tables come and go"))
    }

    async fn look(&mut self) -> Result<(), Look> {
        let mut client = self.client.take().expect("one look at a time");
        let looked = self.in_snapshot(&mut client).await;
        self.client = Some(client);
        looked
    }

    async fn in_snapshot(&mut self, client: &mut Client) -> Result<(), Look> {
        let before: Vec<String> = client.query_one(TABLES, &[]).await?.get(0);
        let transaction = client.transaction().await?;
        // LOCK takes no snapshot yet; what is looked at next is the present, and stays so until all has been counted.
        transaction.batch_execute("set transaction isolation level repeatable read").await?;
        let only: Vec<String> =
            PARENTS.split(", ").chain(before.iter().map(String::as_str)).map(|name| format!("only {name}")).collect();
        transaction.batch_execute(&format!("lock table {} in access share mode", only.join(", "))).await?;
        let tables: Vec<String> = transaction.query_one(TABLES, &[]).await?.get(0);
        if tables != before {
            return Err(Look::Again);
        }
        let counting = self.counting(&transaction).await?;
        let wrong: String = transaction.query_one(&wrong(&tables), &[&counting]).await?.get(0);
        let lost = self.lost_objects();
        if wrong.is_empty() && lost.is_empty() {
            return Ok(());
        }
        Err(Look::Wrong(format!("{wrong} {lost} (of {} exports, {counting:?} count)", self.known.len())))
    }

    /// The exports of the partitions that this snapshot does not have any more.
    async fn counting(&mut self, transaction: &Transaction<'_>) -> Result<Vec<String>, Look> {
        for row in transaction.query(CLOSED, &[]).await? {
            self.closed.insert(row.get(0), row.get(1));
        }
        let mut counting = Vec::new();
        for oid in transaction.query(GONE, &[]).await?.iter().map(|row| row.get::<_, u32>(0)) {
            let of_it = self.known.values().filter(|known| known.oid == oid);
            let exports: Vec<&str> = of_it.map(|known| known.manifest.export.as_str()).collect();
            match (self.closed.get(&oid), exports.as_slice()) {
                (Some(closed), known) if known.contains(&closed.as_str()) => counting.push(closed.clone()),
                // It was closed and dropped between two looks.
                (None, [only]) => counting.push((*only).to_owned()),
                // An export that was finished after the objects were listed: the next listing has it.
                (_, _) => return Err(Look::Again),
            }
        }
        Ok(counting)
    }

    /// Reads the rows of every export that was not known yet, as a restore does.
    async fn read_new_exports(&mut self) {
        let keys = self.world.keys();
        for key in keys.iter().filter(|key| key.ends_with("/manifest.json")) {
            if self.known.contains_key(key) {
                continue;
            }
            let content = self.store.get(key).await.unwrap().expect("a manifest that was listed");
            let manifest = Manifest::read(key, &content).unwrap();
            let table = TableName { schema: "ledger".into(), name: format!("of_{}", manifest.export) };
            let session = Arc::new(Session::open(&self.target()).await.unwrap());
            restore(&self.store, key, &session, &table, true).await.unwrap();
            let note = format!(
                "insert into ledger.exported select '{0}', id, version, {DIGEST} from ledger.of_{0}; drop table ledger.of_{0}",
                manifest.export
            );
            self.client.as_ref().expect("no look is under way").batch_execute(&note).await.unwrap();
            let directory = key.trim_end_matches("/manifest.json").to_owned();
            self.known.insert(key.clone(), Known { oid: manifest.source.oid, manifest, directory });
        }
    }

    /// Exports that were there once and are not any more, as far as a look at the bucket tells.
    fn lost_objects(&self) -> String {
        let keys: BTreeSet<String> = self.world.keys().into_iter().collect();
        let data = |known: &Known| format!("{}/{}", known.directory, known.manifest.data.name);
        let lost = self.known.iter().filter(|(key, known)| !keys.contains(*key) || !keys.contains(&data(known)));
        lost.map(|(key, _)| format!("{key} or its object is gone; ")).collect()
    }

    /// How many rows of the ledger are in tables, and how many in objects alone.
    pub async fn places(&self) -> Places {
        let client = self.client.as_ref().expect("no look is under way");
        let tables: Vec<String> = client.query_one(TABLES, &[]).await.unwrap().get(0);
        let counts: Vec<String> = tables.iter().map(|table| format!("(select count(*) from only {table})")).collect();
        let rows = format!("select {}, (select count(*) from ledger.noted where not deleted)", counts.join(" + "));
        let row = client.query_one(&rows, &[]).await.unwrap();
        let (tables, all): (i64, i64) = (row.get(0), row.get(1));
        Places { tables, objects: all - tables }
    }

    /// Reads every export back once more. Returns how many there are of each partition.
    pub async fn verify_all(&self) -> BTreeMap<u32, Vec<String>> {
        let mut of: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for known in self.known.values() {
            verify(&self.store, &known.directory, &known.manifest).await.unwrap();
            of.entry(known.oid).or_default().push(known.manifest.export.clone());
        }
        of
    }

    fn target(&self) -> Target {
        let host = self.world.entry().display().to_string();
        Target { host, port: 5432, database: "postgres".into(), user: "postgres".into(), password: None, tls: Tls::Disable }
    }
}

/// Every row, wherever it is: in one of these tables, or in an export that counts (`$1`).
fn rows(tables: &[String]) -> String {
    let tables: Vec<String> =
        tables.iter().map(|table| format!("select id, version, {DIGEST} digest, '{table}' place from only {table}")).collect();
    let objects = "select id, version, digest, 'export ' || export place from ledger.exported where export = any($1::text[])";
    format!("select *, place like 'export %' is_object from ({} union all {objects}) r", tables.join(" union all "))
}

/// What is lost, double, altered or unknown.
fn wrong(tables: &[String]) -> String {
    format!(
        "with p as (select id, count(*) places, string_agg(place, ' and ') place, max(version) \"version\", max(digest) digest, bool_and(is_object) is_object
                    from ({}) r group by id)
         select coalesce(string_agg(format('row %s: last version %s, deleted %s, is in %s with version %s', id, noted, deleted, place, found), '; '), '')
         from (select coalesce(n.id, p.id) id, n.version noted, n.deleted, p.place, p.version found from ledger.noted n full join p on n.id = p.id
               where n.id is null or (n.deleted and not p.is_object)
                  or (not n.deleted and (p.places is distinct from 1 or p.version <> n.version or p.digest <> n.digest)) limit 10) w",
        rows(tables)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_lost_double_altered_or_unknown_is_seen() {
    let world = Arc::new(World::new(15).await);
    let mut admin = world.admin().await;
    let day = ledger::another_day(&mut admin, crate::world::ROLES[0]).await;
    let (row, columns) = ("id = (select min(id) from events)", "id, version, body, amount, note, at");
    for (harm, seen) in [
        (format!("delete from events where {row}"), "deleted f, is in  with"),
        (format!("update events set body = 'x' where {row}"), "is in events_d0001 with version 1"),
        (format!("insert into stories select {columns} from events where {row}"), "is in events_d0001 and stories"),
        ("insert into stories values (0, 1, 'x', 1, null, now())".into(), "row 0: last version"),
        (format!("update ledger.noted set deleted = true where {row}"), "deleted t, is in events_d0001"),
        (format!("drop table {}", ledger::partition("events", day)), "a partition is gone without an export"),
    ] {
        let mut checker = Checker::new(&world).await;
        checker.check().await;
        admin.batch_execute(&format!("create schema kept; create table kept.stories as table stories; create table kept.events as table events; create table kept.noted as table ledger.noted; {harm}")).await.unwrap();
        let wrong = checker.reckon().await.unwrap_err();
        assert!(wrong.contains(seen), "{harm}: {wrong}");
        let mend = "truncate stories, ledger.noted; delete from events; insert into stories table kept.stories; insert into ledger.noted table kept.noted;
            insert into events table kept.events; drop schema kept cascade";
        if admin.batch_execute(mend).await.is_err() {
            // The last harm cannot be mended.
            assert!(harm.starts_with("drop"));
        }
    }
}
