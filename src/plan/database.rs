//! What is to be done on a database, and how is it reported? The planner of PostgresDatabase.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::action::{Action, Blocked, CreateExtension, ObjectId, Plan};
use super::snapshot::Server;
use super::status::State;
use crate::api::condition::{Conditions, DRIFTED, READY, RECONCILING, STALLED};
use crate::api::reason::Class;
use crate::api::{PostgresDatabase, PostgresDatabaseStatus, Reason};

/// What a look at the server found.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The session.
    pub server: Server,
    /// How many policies work on this database.
    pub policies: usize,
    /// Privileges that they lack, and extensions that the server does not offer.
    pub lacking: Vec<Blocked>,
    /// Why nothing may be changed here, if so.
    pub refused: Option<Blocked>,
    /// Extensions that were created.
    pub created: Vec<String>,
}

/// What a pass came to.
#[derive(Clone, Copy, Debug)]
pub enum Finding<'a> {
    /// The object is suspended.
    Suspended,
    /// There is no session.
    Refused(&'a Blocked),
    /// There is one.
    Seen(&'a Sight),
}

/// The extensions to create. `offered` are those that the server has, with the installed version where it is installed.
pub fn plan(object: &PostgresDatabase, offered: &BTreeMap<String, Option<String>>) -> Plan {
    let id = ObjectId {
        kind: "PostgresDatabase".into(),
        namespace: object.namespace().unwrap_or_else(|| "default".into()),
        name: object.name_any(),
    };
    let mut plan = Plan::empty(id, format!("{} extensions", object.spec.extensions.len()));
    for extension in &object.spec.extensions {
        match offered.get(&extension.name) {
            Some(Some(_)) => {}
            Some(None) => plan.actions.push(Action::CreateExtension(CreateExtension { name: extension.name.clone() })),
            None => plan.blocked.push(Blocked::new(
                Reason::InvalidSpec,
                format!(
                    "extension {} is not available on the server; install its package there, or remove it from spec.extensions",
                    extension.name
                ),
            )),
        }
    }
    plan
}

/// The state that a finding amounts to.
pub fn state(finding: &Finding<'_>) -> State {
    let unready =
        |blocked: &Blocked| State { ready: false, reason: blocked.reason, message: blocked.message.clone(), drifted: false };
    match finding {
        Finding::Suspended => State {
            ready: true,
            reason: Reason::Suspended,
            message: "suspended: neither this database nor its policies are worked on until spec.suspend is false".into(),
            drifted: false,
        },
        Finding::Refused(blocked) => unready(blocked),
        Finding::Seen(sight) => {
            if let Some(blocked) = sight.refused.as_ref().or(sight.lacking.first()) {
                return unready(blocked);
            }
            State { ready: true, reason: Reason::Connected, message: connected(sight), drifted: false }
        }
    }
}

fn connected(sight: &Sight) -> String {
    let server = &sight.server;
    let note = if server.superuser {
        " (a superuser, which pgreeve does not need: a member of the tables' owner is enough)"
    } else {
        ""
    };
    format!("PostgreSQL {}, database {}, as {}{note}", server.version, server.database, server.role)
}

/// The status.
pub fn report(
    previous: &PostgresDatabaseStatus,
    generation: Option<i64>,
    requested: Option<&str>,
    finding: &Finding<'_>,
    now: Timestamp,
) -> PostgresDatabaseStatus {
    let state = state(finding);
    let class = if state.ready { Class::Fine } else { state.reason.class() };
    let conditions = Conditions::after(&previous.conditions, generation, now)
        .set(READY, state.ready, state.reason, &state.message)
        .set(RECONCILING, class == Class::Waiting, state.reason, if class == Class::Waiting { &state.message } else { "" })
        .set(STALLED, class == Class::Stalled, state.reason, if class == Class::Stalled { &state.message } else { "" })
        .set(DRIFTED, false, state.reason, "")
        .finish();
    let handled = requested.map(str::to_owned).or_else(|| previous.last_handled_reconcile_at.clone());
    let status = PostgresDatabaseStatus {
        observed_generation: generation,
        conditions,
        last_handled_reconcile_at: handled,
        ..previous.clone()
    };
    let Finding::Seen(sight) = finding else { return status };
    let server = &sight.server;
    PostgresDatabaseStatus {
        server_version: Some(server.version.clone()),
        database: Some(server.database.clone()),
        role: Some(server.role.clone()),
        is_superuser: Some(server.superuser),
        in_recovery: Some(server.in_recovery),
        system_identifier: server.system_identifier.clone(),
        policies: i32::try_from(sight.policies).unwrap_or(i32::MAX),
        ..status
    }
}
