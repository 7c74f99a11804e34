//! How is a database closed to connections, and opened as it was? Altogether, or, where the server does not allow that, by its privileges.
//!
//! `ALLOW_CONNECTIONS false` keeps everybody away, superusers too. Some managed services refuse it. Then CONNECT is taken from everybody who has it
//! from the owner, and the connection limit set to 0, which keeps away whoever has it from somebody else. Superusers still get in: a database that
//! one is connected to is not renamed, since PostgreSQL refuses that.
//!
//! Who could connect is written into the comment of the database in the transaction that closes it, and taken from there in the one that opens
//! it: whatever breaks, either both have happened or neither.

use super::connect::Session;
use super::databases::run;
use super::error::{Fault, FaultKind};
use crate::plan::restore::names::{Fence, Role, Witness};
use crate::plan::restore::sight::Database;
use crate::sql::quote::ident;
use crate::sql::restore as sql;

/// Closes a database that is about to give its name away. The witness says what it is then; a fence that this answers stands in its comment.
///
/// # Errors
/// What the server said.
pub(super) async fn close(session: &Session, database: &Database, witness: &Witness) -> Result<Option<Fence>, Fault> {
    if database.fence.is_some() {
        return Ok(database.fence.clone());
    }
    match run(session, &sql::allow_connections(&database.name, false)).await {
        Ok(()) => Ok(None),
        Err(fault) if is_refused(&fault) => by_privileges(session, database, witness).await.map(Some),
        Err(fault) => Err(fault),
    }
}

/// 42501: only another role may. 0A000: nobody may.
fn is_refused(fault: &Fault) -> bool {
    fault.kind == FaultKind::Privilege || fault.sqlstate.as_deref() == Some("0A000")
}

/// Opens a database as it was, with the comment that it had.
///
/// # Errors
/// What the server said.
pub async fn open(session: &Session, database: &Database, uid: &str) -> Result<(), Fault> {
    let Some(fence) = &database.fence else { return run(session, &sql::allow_connections(&database.name, true)).await };
    let mut statements = lifting(session, &database.name, &database.owner, fence).await?;
    statements.push(sql::comment(&database.name, database.own_comment(uid).as_deref()));
    at_once(session, &statements).await
}

/// The statements that open a database as it was, whatever its name is by then.
///
/// # Errors
/// What the server said.
pub(super) async fn lifting(session: &Session, name: &str, owner: &str, fence: &Fence) -> Result<Vec<String>, Fault> {
    let oids: Vec<u32> = fence.connect.iter().map(|(oid, _)| *oid).collect();
    let query = "SELECT oid, rolname::pg_catalog.text FROM pg_catalog.pg_roles WHERE oid = ANY ($1)";
    let rows = session.client().query(query, &[&oids]).await?;
    // A role that is gone needs nothing.
    let role = |oid: u32| match oid {
        0 => Some("PUBLIC".to_owned()),
        oid => rows.iter().find(|row| row.get::<_, u32>(0) == oid).map(|row| ident(row.get(1))),
    };
    let roles: Vec<(String, bool)> =
        fence.connect.iter().filter_map(|(oid, grantable)| Some((role(*oid)?, *grantable))).collect();
    Ok(sql::open_by_privileges(name, owner, &roles, fence.limit))
}

/// Whoever has CONNECT from the owner and has not passed it on: from others it could not be taken without what hangs on it. Nobody, where our role
/// may not act as the owner: then the limit alone keeps them away.
const CONNECT: &str = "
SELECT d.datconnlimit, a.grantee, a.is_grantable, r.rolname::pg_catalog.text
FROM pg_catalog.pg_database d
LEFT JOIN LATERAL (SELECT a.grantee, a.is_grantable FROM pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
    WHERE pg_catalog.pg_has_role(d.datdba, CASE WHEN pg_catalog.current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
        AND a.privilege_type = 'CONNECT' AND a.grantor = d.datdba AND (a.grantee = d.datdba OR NOT EXISTS (
        SELECT FROM pg_catalog.aclexplode(d.datacl) b WHERE b.privilege_type = 'CONNECT' AND b.grantor = a.grantee))) a ON true
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
WHERE d.oid = $1
ORDER BY a.grantee";

async fn by_privileges(session: &Session, database: &Database, witness: &Witness) -> Result<Fence, Fault> {
    let rows = session.client().query(CONNECT, &[&database.oid]).await?;
    let Some(first) = rows.first() else {
        return Err(Fault::new(FaultKind::DatabaseMissing, format!("database {} is gone", database.name)));
    };
    let (mut connect, mut roles) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.get::<_, Option<u32>>(1).is_some()) {
        connect.push((row.get(1), row.get(2)));
        roles.push(row.get::<_, Option<&str>>(3).map_or_else(|| "PUBLIC".to_owned(), ident));
    }
    let fence = Fence { limit: first.get(0), connect };
    let noted = Witness { role: Role::Leaving, fence: Some(fence.clone()), ..witness.clone() };
    let mut statements = vec![sql::comment(&database.name, Some(&noted.text()))];
    statements.extend(sql::close_by_privileges(&database.name, &database.owner, &roles));
    at_once(session, &statements).await?;
    Ok(fence)
}

/// All of these statements, or none.
async fn at_once(session: &Session, statements: &[String]) -> Result<(), Fault> {
    let done = run(session, &format!("BEGIN; {}; COMMIT", statements.join("; "))).await;
    if done.is_err() && !session.is_closed() {
        run(session, "ROLLBACK").await?;
    }
    done
}
