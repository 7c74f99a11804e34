//! Which databases does a server have, and how are they closed, emptied of sessions, renamed and dropped? From a session in another one.

use std::time::{Duration, Instant};

use super::connect::{Session, Target};
use super::error::{Fault, FaultKind};
use super::{fence, server};
use crate::plan::restore::names::{Fence, Witness};
use crate::plan::restore::sight::{Database, Sight};
use crate::sql::restore as sql;

/// Databases that every server has, from which others are looked after.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// How long sessions are waited for after they were told to end.
const LEAVING: Duration = Duration::from_secs(10);

/// How often is looked whether they have.
const OFTEN: Duration = Duration::from_millis(5);

/// How long a statement may take, unless it makes or drops a database.
const PATIENCE: &str = "SET statement_timeout = '120s'";

/// What a session for databases begins with: neither the role's nor the database's own settings may break anything off.
const BEGIN: &str = "SET search_path = ''; SET statement_timeout = '120s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '60s'; SET idle_session_timeout = 0; SET default_transaction_read_only = off";

/// A session in a database other than `avoided`, on the same server.
///
/// # Errors
/// What the server said of the last database that was tried.
pub async fn maintenance(target: &Target, avoided: &str) -> Result<Session, Fault> {
    let mut last = Fault::new(FaultKind::DatabaseMissing, "there is no other database to connect to");
    for database in MAINTENANCE.iter().filter(|database| **database != avoided) {
        match Session::open(&Target { database: (*database).into(), ..target.clone() }).await {
            Ok(session) => {
                session.client().batch_execute(BEGIN).await?;
                return Ok(session);
            }
            Err(fault) if matches!(fault.kind, FaultKind::DatabaseMissing | FaultKind::Privilege) => last = fault,
            Err(fault) => return Err(fault),
        }
    }
    Err(last)
}

/// Which databases are looked at.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of these names.
    pub names: Vec<String>,
    /// Those of these OIDs.
    pub oids: Vec<u32>,
    /// Those in whose comments this UID stands.
    pub uid: String,
}

/// Everybody sees who is connected where, and since when sessions of a role are there; of processes without a role nobody needs to know:
/// autovacuum gives way by itself.
const DATABASES: &str = "
SELECT d.oid, d.datname::pg_catalog.text, pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text, pg_catalog.pg_has_role(d.datdba, 'USAGE'),
    d.datallowconn, pg_catalog.shobj_description(d.oid, 'pg_database'),
    CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') THEN pg_catalog.pg_database_size(d.oid) END,
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid AND a.usesysid IS NOT NULL),
    ARRAY(SELECT pg_catalog.format('%s, pid %s', a.usename, a.pid) FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
        WHERE a.datid = d.oid AND NOT (me.rolsuper OR (NOT r.rolsuper
            AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))) ORDER BY a.pid),
    ARRAY(SELECT p.gid FROM pg_catalog.pg_prepared_xacts p WHERE p.database = d.datname ORDER BY 1),
    ARRAY(SELECT s.slot_name::pg_catalog.text FROM pg_catalog.pg_replication_slots s WHERE s.database = d.datname ORDER BY 1),
    ARRAY(SELECT s.active FROM pg_catalog.pg_replication_slots s WHERE s.database = d.datname ORDER BY s.slot_name::pg_catalog.text),
    ARRAY(SELECT s.subname::pg_catalog.text FROM pg_catalog.pg_subscription s WHERE s.subdbid = d.oid ORDER BY 1), d.datistemplate,
    d.datconnlimit = -2
FROM pg_catalog.pg_database d, pg_catalog.pg_roles me
WHERE me.rolname = current_user AND (d.datname::pg_catalog.text = ANY ($1) OR d.oid = ANY ($2)
    OR pg_catalog.strpos(coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), ''), $3) > 0)
ORDER BY d.oid";

/// Looks at the server and at these databases.
///
/// # Errors
/// What the server said.
pub async fn look(session: &Session, wanted: &Wanted) -> Result<Sight, Fault> {
    let found = server::observe(session).await?;
    let createdb =
        session.client().query_one("SELECT rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user", &[]).await?.get(0);
    let rows = session.client().query(DATABASES, &[&wanted.names, &wanted.oids, &wanted.uid]).await?;
    let database = |row: &tokio_postgres::Row| {
        let (slots, active): (Vec<String>, Vec<bool>) = (row.get(10), row.get(11));
        let witness = Witness::read(row.get(5)).filter(|witness| witness.restore == wanted.uid);
        let fence = witness.and_then(|witness| witness.fence);
        Database {
            oid: row.get(0),
            name: row.get(1),
            owner: row.get(2),
            is_ours: row.get(3),
            is_open: row.get(4) && fence.is_none(),
            fence,
            comment: row.get(5),
            bytes: row.get(6),
            sessions: row.get(7),
            unendable: row.get(8),
            prepared: row.get(9),
            slots: slots.into_iter().zip(active).collect(),
            subscriptions: row.get(12),
            is_template: row.get(13),
            is_invalid: row.get(14),
        }
    };
    Ok(Sight {
        version_num: found.version_num,
        in_recovery: found.in_recovery,
        role: found.role,
        superuser: found.superuser,
        createdb,
        system_identifier: server::system_identifier(session).await,
        databases: rows.iter().map(database).collect(),
    })
}

/// Tablespaces, beside the usual one, in which our role may make something.
///
/// # Errors
/// What the server said.
pub async fn tablespaces(session: &Session) -> Result<Vec<String>, Fault> {
    let query = "SELECT spcname::pg_catalog.text FROM pg_catalog.pg_tablespace
        WHERE spcname !~ '^pg_' AND pg_catalog.has_tablespace_privilege(oid, 'CREATE')";
    Ok(session.client().query(query, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Carries out one statement.
///
/// # Errors
/// What the server said.
pub async fn run(session: &Session, statement: &str) -> Result<(), Fault> {
    session.client().batch_execute(statement).await.map_err(Fault::from)
}

/// Makes or drops a database, however long that takes: it may wait for a checkpoint, and a drop that is cancelled in its middle leaves a database
/// that nobody can connect to.
///
/// # Errors
/// What the server said.
pub async fn run_at_leisure(session: &Session, statement: &str) -> Result<(), Fault> {
    run(session, "SET statement_timeout = 0").await?;
    let done = run(session, statement).await;
    if !session.is_closed() {
        run(session, PATIENCE).await?;
    }
    done
}

/// Ends every session in a database that our role may end, until none is left.
///
/// # Errors
/// [`FaultKind::Lock`] naming who is left after ten seconds, or what the server said.
pub async fn empty(session: &Session, database: &Database) -> Result<(), Fault> {
    let begun = Instant::now();
    loop {
        let left = end_sessions(session, database.oid).await?;
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > LEAVING {
            let message = format!("sessions of {} stay in database {}", left.join(", "), database.name);
            return Err(
                Fault::new(FaultKind::Lock, message).advise("End them, or let our role end them: GRANT pg_signal_backend TO it")
            );
        }
        tokio::time::sleep(OFTEN).await;
    }
}

/// The users of the sessions that are there, most of which are told to end.
async fn end_sessions(session: &Session, oid: u32) -> Result<Vec<String>, Fault> {
    let query = "SELECT DISTINCT a.usename::pg_catalog.text, CASE WHEN me.rolsuper OR (NOT r.rolsuper
            AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
        THEN pg_catalog.pg_terminate_backend(a.pid) END
        FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid, pg_catalog.pg_roles me
        WHERE me.rolname = current_user AND a.datid = $1";
    let rows = session.client().query(query, &[&oid]).await?;
    let mut users: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    users.dedup();
    Ok(users)
}

/// How the names change: all in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// What gives the name away, what it is called then, and the witness that it gets. Where nothing takes the name it is open under the other
    /// one, for those who know it.
    pub leaves: Option<(Database, String, Witness)>,
    /// What takes the name, and the comment that it gets. It is open then.
    pub comes: Option<(Database, Option<String>)>,
    /// The name.
    pub name: String,
}

/// How the names have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// For how long nobody could connect.
    pub away: Duration,
    /// Whether superusers could, since the server does not let a database be closed to them.
    pub by_privileges: bool,
}

impl Swap {
    /// All in one transaction, which is not yet committed. What gave the name away stays closed as it is, unless nothing takes the name.
    async fn statements(&self, session: &Session, closed: Option<&Fence>) -> Result<String, Fault> {
        let mut statements = vec!["BEGIN".to_owned()];
        if let Some((leaves, to, witness)) = &self.leaves {
            statements.push(sql::rename(&leaves.name, to));
            let stays_closed = self.comes.is_some();
            let witness = Witness { fence: closed.filter(|_| stays_closed).cloned(), ..witness.clone() };
            statements.push(sql::comment(to, Some(&witness.text())));
            match closed {
                _ if stays_closed => {}
                Some(closed) => statements.extend(fence::lifting(session, to, &leaves.owner, closed).await?),
                None => statements.push(sql::allow_connections(to, true)),
            }
        }
        if let Some((comes, comment)) = &self.comes {
            statements.push(sql::rename(&comes.name, &self.name));
            statements.push(sql::comment(&self.name, comment.as_deref()));
            match &comes.fence {
                Some(closed) => statements.extend(fence::lifting(session, &self.name, &comes.owner, closed).await?),
                None if comes.is_open => {}
                None => statements.push(sql::allow_connections(&self.name, true)),
            }
        }
        Ok(statements.join("; "))
    }
}

/// Closes what gives the name away, ends its sessions, and gives the name to the other, which is open then.
///
/// # Errors
/// What the server said. Then the names are as they were, and the former is open again, unless the connection broke.
pub async fn swap(session: &Session, swap: &Swap) -> Result<Swapped, Fault> {
    let begun = Instant::now();
    let mut closed = None;
    let done = close_and_rename(session, swap, &mut closed).await;
    if let (Err(_), Some((leaves, _, witness)), false) = (&done, &swap.leaves, session.is_closed()) {
        // Nobody waits for the next try.
        let comment = Some(Witness { fence: closed.clone(), ..witness.clone() }.text()).filter(|_| closed.is_some());
        let leaves = Database { fence: closed.clone(), comment: comment.or(leaves.comment.clone()), ..leaves.clone() };
        drop(fence::open(session, &leaves, &witness.restore).await);
    }
    done.map(|()| Swapped { away: begun.elapsed(), by_privileges: closed.is_some() })
}

async fn close_and_rename(session: &Session, swap: &Swap, closed: &mut Option<Fence>) -> Result<(), Fault> {
    if let Some((leaves, _, witness)) = &swap.leaves {
        *closed = fence::close(session, leaves, witness).await?;
        empty(session, leaves).await?;
    }
    if let Some((comes, _)) = &swap.comes {
        empty(session, comes).await?;
    }
    let statements = swap.statements(session, closed.as_ref()).await?;
    let renamed = in_transaction(session, swap, &statements).await;
    if renamed.is_err() && !session.is_closed() {
        run(session, "ROLLBACK").await?;
    }
    renamed
}

/// Commits only where the names went to the databases that were meant: what the statements name are names.
async fn in_transaction(session: &Session, swap: &Swap, statements: &str) -> Result<(), Fault> {
    run(session, statements).await?;
    let query = "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1";
    let oid =
        async |name: &String| Ok::<Option<u32>, Fault>(session.client().query_opt(query, &[name]).await?.map(|row| row.get(0)));
    let came = oid(&swap.name).await? == swap.comes.as_ref().map(|(comes, _)| comes.oid);
    let left = match &swap.leaves {
        Some((leaves, to, _)) => oid(to).await? == Some(leaves.oid),
        None => true,
    };
    if !came || !left {
        return Err(Fault::new(FaultKind::Statement, format!("database {} is another one meanwhile", swap.name)));
    }
    run(session, "COMMIT").await
}

/// Drops a database of this OID that nobody uses; one that is gone is fine.
///
/// # Errors
/// What the server said.
pub async fn remove(session: &Session, database: &Database) -> Result<(), Fault> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE oid = $1 AND datname = $2)";
    if !session.client().query_one(query, &[&database.oid, &database.name]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    empty(session, database).await?;
    run_at_leisure(session, &sql::drop(&database.name)).await
}
