//! What is played while everything breaks? Each scenario is a database and objects; the operator does the rest.
//!
//! A later kind joins by a scenario here. An action that no scenario contains does not compile ([`contained_in`]), and a scenario that
//! does not contain what it claims fails.

use pgreeve::plan::Action;
use serde_json::{Value, json};

use crate::support::postgres::Roles;

/// A database and the objects that are applied to it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in messages.
    pub name: &'static str,
    /// The PostgreSQL that it is played on: each scenario on another.
    pub major: u32,
    /// SQL of the superuser before anything else; `OWNER` and `OPERATOR` stand for the roles.
    pub tables: &'static str,
    /// The spec of a PartitionPolicy, without `databaseRef`; null for none.
    pub policy: fn(&Roles) -> Value,
    /// What the spec of the PostgresDatabase has beyond the connection.
    pub database: fn() -> Value,
    /// A merge patch of the policy's spec, applied when everything has settled.
    pub edit: Option<fn() -> Value>,
}

/// Every scenario.
pub const ALL: [Scenario; 5] = [CREATE, GUARDED, REPAIR, LEFTOVER, EXTENSION];

/// Which scenario contains such an action; none contains a task.
pub fn contained_in(action: &Action) -> Option<Scenario> {
    Some(match action {
        Action::CreatePartition(_) => CREATE,
        Action::CreateDefault(_) => GUARDED,
        Action::RepairPartition(_) => REPAIR,
        Action::DropGuard(_) => LEFTOVER,
        Action::CreateExtension(_) => EXTENSION,
        // Tasks are cut in their own tests, which begin where a Job begins.
        Action::ExportPartition(_) | Action::ArchiveRows(_) => return None,
        // One transaction each; what follows on them is cut with the rows that move there.
        Action::CreateArchiveTable(_) | Action::ExtendArchiveTable(_) => return None,
    })
}

/// A gap, a short horizon, and siblings whose properties a new partition must get. Later the horizon grows.
pub const CREATE: Scenario = Scenario {
    name: "create",
    major: 18,
    tables: "
        create role OPERATOR_reader nologin;
        set role OWNER;
        create table events (id bigint not null, at timestamptz not null, body text, primary key (id, at)) partition by range (at);
        create index on events (at);
        create table old_name partition of events for values from ('2024-01-01 00:00:00Z') to ('2025-01-01 00:00:00Z');
        create table events_y2026 partition of events for values from ('2026-01-01 00:00:00Z') to ('2027-01-01 00:00:00Z');
        alter table events_y2026 set (fillfactor = 70), replica identity full;
        alter table events_y2026 enable row level security;
        create policy mine on events_y2026 using (id > 0);
        grant select on events_y2026 to OPERATOR_reader;
        comment on table events_y2026 is 'one year';
        insert into events select n, '2026-06-01Z', 'row' from generate_series(1, 100) n;
        reset role",
    policy: |_| {
        json!({"table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 year", "anchor": "2024-01-01",
            "create": {"ahead": 1, "fillGaps": true}})
    },
    database: || json!({}),
    edit: Some(|| json!({"create": {"ahead": 2}})),
};

/// A default partition that is wanted, and one that must not be scanned under a lock.
pub const GUARDED: Scenario = Scenario {
    name: "guarded",
    major: 14,
    tables: "
        set role OWNER;
        create table steps (id bigint not null, note text) partition by range (id);
        create table steps_1 partition of steps for values from (0) to (1000);
        insert into steps select n, repeat('x', 200) from generate_series(0, 999) n;
        create table events (id bigint not null, at timestamptz not null, body text) partition by range (at);
        create table events_y2026 partition of events for values from ('2026-01-01 00:00:00Z') to ('2027-01-01 00:00:00Z');
        create table events_rest partition of events default;
        insert into events select n, '1999-01-01Z', repeat('x', 1000) from generate_series(1, 6000) n;
        reset role;
        analyze",
    policy: |_| {
        json!([
            {"table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 year", "anchor": "2024-01-01",
                "create": {"ahead": 1}},
            {"table": {"name": "steps"}, "key": {"column": "id"}, "interval": "1000", "create": {"ahead": 1},
                "defaultPartition": "Ensure"}
        ])
    },
    database: || json!({}),
    edit: None,
};

/// Partitions that are no longer as the template says.
pub const REPAIR: Scenario = Scenario {
    name: "repair",
    major: 17,
    tables: "
        create role OPERATOR_reader nologin;
        set role OWNER;
        create table events (id bigint not null, at timestamptz not null, body text) partition by range (at);
        create table events_y2026 partition of events for values from ('2026-01-01 00:00:00Z') to ('2027-01-01 00:00:00Z');
        create table events_y2027 partition of events for values from ('2027-01-01 00:00:00Z') to ('2028-01-01 00:00:00Z');
        alter table events_y2027 set (fillfactor = 50);
        insert into events select n, '2026-06-01Z', 'row' from generate_series(1, 100) n;
        reset role",
    policy: |roles| {
        json!({"table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 year", "anchor": "2024-01-01",
        "create": {"ahead": 1},
        "template": {
            "grants": [{"role": format!("{}_reader", roles.operator), "privileges": ["Select", "Insert"]}],
            "storageParameters": [{"name": "fillfactor", "value": "80"}],
            "indexes": [{"name": "by_body", "columns": ["body"]}],
            "statistics": [{"column": "body", "target": 500}],
            "replicaIdentity": "Full",
            "rowSecurity": {"enabled": true}
        }})
    },
    database: || json!({}),
    edit: None,
};

/// The CHECK of a run that broke off stands on the default partition and rejects rows.
pub const LEFTOVER: Scenario = Scenario {
    name: "leftover",
    major: 15,
    tables: "
        set role OWNER;
        create table events (id bigint not null, at timestamptz not null, body text) partition by range (at);
        create table events_y2026 partition of events for values from ('2026-01-01 00:00:00Z') to ('2027-01-01 00:00:00Z');
        create table events_y2027 partition of events for values from ('2027-01-01 00:00:00Z') to ('2028-01-01 00:00:00Z');
        create table events_rest partition of events default;
        alter table events_rest add constraint pgreeve_guard_LEFT
            check (not (at >= '2028-01-01 00:00:00Z' and at < '2029-01-01 00:00:00Z')) not valid;
        reset role",
    policy: |_| {
        json!({"table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 year", "anchor": "2024-01-01",
            "create": {"ahead": 1}})
    },
    database: || json!({}),
    edit: None,
};

/// An extension that is missing.
pub const EXTENSION: Scenario = Scenario {
    name: "extension",
    major: 16,
    tables: "grant create on database DATABASE to OPERATOR",
    policy: |_| Value::Null,
    database: || json!({"extensions": [{"name": "pg_trgm"}, {"name": "btree_gin"}]}),
    edit: None,
};
