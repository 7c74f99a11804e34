//! What is played while everything breaks? Each scenario is a database and objects; the operator does the rest.
//!
//! A later kind joins by a scenario here. An action that no scenario contains does not compile ([`contained_in`]), and a scenario that
//! does not contain what it claims fails.

use pgreeve::plan::Action;
use serde_json::{Value, json};

use crate::law::Law;
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
    /// The specs of policies, without `databaseRef`; null for none. One that is no PartitionPolicy names its `kind`.
    pub policy: fn(&Roles) -> Value,
    /// What the spec of the PostgresDatabase has beyond the connection.
    pub database: fn() -> Value,
    /// A merge patch of the policy's spec, applied when everything has settled.
    pub edit: Option<fn() -> Value>,
    /// What its Jobs must never break, if it has any. Then all is played at the present moment: what a Job reports is as old as it is.
    pub law: Option<Law>,
}

/// Every scenario.
pub const ALL: [Scenario; 10] = [CREATE, GUARDED, REPAIR, LEFTOVER, EXTENSION, RETIRE, MOVE, ARCHIVE, EXPORT, ROWS];

/// Which scenario contains such an action.
pub fn contained_in(action: &Action) -> Scenario {
    match action {
        Action::CreatePartition(_) => CREATE,
        Action::CreateDefault(_) => GUARDED,
        Action::RepairPartition(_) => REPAIR,
        Action::DropGuard(_) => LEFTOVER,
        Action::CreateExtension(_) => EXTENSION,
        Action::FinalizeDetach(_)
        | Action::ReopenPartition(_)
        | Action::DetachPartition(_)
        | Action::DropForeignKey(_)
        | Action::DropTable(_) => RETIRE,
        Action::MoveToArchive(_) | Action::MoveToSchema(_) => MOVE,
        Action::CreateArchiveTable(_) | Action::ExtendArchiveTable(_) => ARCHIVE,
        Action::ExportPartition(_) => EXPORT,
        Action::ArchiveRows(_) => ROWS,
        Action::DumpDatabase(_)
        | Action::VerifyBackup(_)
        | Action::InspectBackup(_)
        | Action::RestoreDump(_)
        | Action::RemoveBackup(_) => {
            unreachable!("no controller plans {action}")
        }
    }
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
    law: None,
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
    law: None,
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
    law: None,
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
    law: None,
};

/// An extension that is missing.
pub const EXTENSION: Scenario = Scenario {
    name: "extension",
    major: 16,
    tables: "grant create on database DATABASE to OPERATOR",
    policy: |_| Value::Null,
    database: || json!({"extensions": [{"name": "pg_trgm"}, {"name": "btree_gin"}]}),
    edit: None,
    law: None,
};

/// Old partitions leave: one whose detach was broken off, one that is detached in two transactions because another table refers to it,
/// one that was detached before and has a foreign key of its own. Another is on hold, and one that was closed for an export stays.
pub const RETIRE: Scenario = Scenario {
    name: "retire",
    major: 16,
    tables: "
        set role OWNER;
        create table users (id bigint primary key);
        insert into users select generate_series(1, 700);
        create table events (id bigint not null references users, at timestamptz not null, primary key (id, at)) partition by range (at);
        create table events_y2020 partition of events for values from ('2020-01-01 00:00:00Z') to ('2021-01-01 00:00:00Z');
        create table events_y2021 partition of events for values from ('2021-01-01 00:00:00Z') to ('2022-01-01 00:00:00Z');
        create table events_y2022 partition of events for values from ('2022-01-01 00:00:00Z') to ('2023-01-01 00:00:00Z');
        create table events_y2023 partition of events for values from ('2023-01-01 00:00:00Z') to ('2025-01-01 00:00:00Z');
        create table events_y2025 partition of events for values from ('2025-01-01 00:00:00Z') to ('2026-01-01 00:00:00Z');
        create table events_y2026 partition of events for values from ('2026-01-01 00:00:00Z') to ('2027-01-01 00:00:00Z');
        insert into events select n, '2020-06-01Z'::timestamptz + n * interval '3 days' from generate_series(1, 700) n;
        create table notes (event bigint, at timestamptz, foreign key (event, at) references events);
        insert into notes select id, at from events_y2026;
        create table events_y2019 (id bigint not null references users, at timestamptz not null);
        insert into events_y2019 values (1, '2019-06-01Z');
        alter table events_y2025 add constraint pgreeve_closed check (false) not valid;
        comment on constraint pgreeve_closed on events_y2025 is 'pgreeve export 0123456789abcdef';
        do $$ begin execute format('comment on table events_y2019 is %L', 'pgreeve: ' || json_build_object('retiredAt', '2026-11-01T00:00:00Z',
            'policy', 'NAMESPACE/policy-0', 'parent', json_build_object('schema', 'public', 'name', 'events'), 'oid', 'events_y2019'::regclass::oid::int,
            'bound', 'FOR VALUES FROM (''2019-01-01'') TO (''2020-01-01'')', 'then', 'Drop')); end $$;
        reset role;
        update pg_inherits set inhdetachpending = true where inhrelid = 'events_y2020'::regclass;
        analyze",
    policy: |_| {
        json!([
            {"kind": "RetentionPolicy", "table": {"name": "events"}, "keep": {"age": "3 years"},
                "partitions": {"action": "Drop", "grace": "0s"}},
            {"kind": "RetentionHold", "table": {"name": "events"}, "range": {"from": "2022-03-01", "to": "2022-03-02"}, "reason": "audit"}
        ])
    },
    database: || json!({}),
    edit: None,
    law: None,
};

/// Old partitions move to an archive table, and to another schema.
pub const MOVE: Scenario = Scenario {
    name: "move",
    major: 17,
    tables: "
        create schema attic authorization OWNER;
        set role OWNER;
        create table events (id bigint not null, at timestamptz not null, primary key (id, at)) partition by range (at);
        create table events_y2021 partition of events for values from ('2021-01-01 00:00:00Z') to ('2022-01-01 00:00:00Z');
        create table events_y2026 partition of events for values from ('2026-01-01 00:00:00Z') to ('2027-01-01 00:00:00Z');
        create table events_y2027 partition of events for values from ('2027-01-01 00:00:00Z') to ('2028-01-01 00:00:00Z');
        create table events_archive (like events including all) partition by range (at);
        insert into events select n, '2021-06-01Z' from generate_series(1, 100) n;
        create table logs (at date not null, line text) partition by range (at);
        create table logs_y2021 partition of logs for values from ('2021-01-01') to ('2022-01-01');
        create table logs_y2026 partition of logs for values from ('2026-01-01') to ('2027-01-01');
        insert into logs values ('2021-02-03', 'old');
        create table logs_y2019 (at date not null, line text);
        insert into logs_y2019 values ('2019-02-03', 'older');
        do $$ begin execute format('comment on table logs_y2019 is %L', 'pgreeve: ' || json_build_object('retiredAt', '2026-11-01T00:00:00Z',
            'policy', 'NAMESPACE/policy-1', 'parent', json_build_object('schema', 'public', 'name', 'logs'), 'oid', 'logs_y2019'::regclass::oid::int,
            'bound', 'FOR VALUES FROM (''2019-01-01'') TO (''2020-01-01'')', 'then', 'Move')); end $$;
        reset role",
    policy: |_| {
        json!([
            {"kind": "RetentionPolicy", "table": {"name": "events"}, "keep": {"age": "3 years"}, "guards": {"approveAbovePercent": 100},
                "partitions": {"action": "MoveToTable", "archiveTable": {"name": "events_archive"}}},
            {"kind": "RetentionPolicy", "table": {"name": "logs"}, "keep": {"age": "3 years"}, "guards": {"approveAbovePercent": 100},
                "partitions": {"action": "MoveToSchema", "schema": "attic"}}
        ])
    },
    database: || json!({}),
    edit: None,
    law: None,
};

/// Archive tables are made, and follow their sources; no row is old enough to move yet.
pub const ARCHIVE: Scenario = Scenario {
    name: "archive",
    major: 14,
    tables: "
        set role OWNER;
        create table stories (id bigint primary key, created_at timestamptz not null, body text);
        create index on stories (created_at);
        insert into stories select n, '2026-11-01Z', 'new' from generate_series(1, 100) n;
        create table feedback (id bigint primary key, created_at timestamptz not null, body text, score int, mood text);
        create index on feedback (created_at);
        create table feedback_archive (id bigint, created_at timestamptz not null, body text, score int, archived_at timestamptz not null default now());
        create index on feedback_archive (created_at);
        create index on feedback_archive (archived_at);
        reset role",
    policy: |_| {
        json!([
            {"kind": "RetentionPolicy", "table": {"name": "stories"}, "keep": {"age": "365 days"},
                "rows": {"column": "created_at", "action": "Archive"}},
            {"kind": "RetentionPolicy", "table": {"name": "feedback"}, "keep": {"age": "90 days"},
                "rows": {"column": "created_at", "action": "Archive"}}
        ])
    },
    database: || json!({}),
    edit: None,
    law: None,
};

/// An old partition is exported to a volume by a Job, read back, detached and dropped. Its schedule has no moment nearby, so that no playing
/// meets one: the run is asked for.
pub const EXPORT: Scenario = Scenario {
    name: "export",
    major: 15,
    tables: "
        set role OWNER;
        create table events (id bigint not null, at timestamptz not null, body text, primary key (id, at)) partition by range (at);
        create table events_y2021 partition of events for values from ('2021-01-01 00:00:00Z') to ('2022-01-01 00:00:00Z');
        create table events_y2025 partition of events for values from ('2025-01-01 00:00:00Z') to ('2026-01-01 00:00:00Z');
        insert into events select n, '2021-06-01Z', 'row ' || n from generate_series(1, 100) n;
        insert into events select n, '2025-06-01Z', 'row ' || n from generate_series(1, 20) n;
        reset role",
    policy: |_| {
        json!({"kind": "RetentionPolicy", "table": {"name": "events"}, "keep": {"count": 1}, "schedule": "0 3 1 1 *",
            "guards": {"approveAbovePercent": 100}, "partitions": {"action": "Drop", "grace": "0s"},
            "export": {"destination": {"pvc": {"claimName": "exports"}}, "job": {"activeDeadline": "20s"}}})
    },
    database: || json!({}),
    edit: None,
    law: Some(Law::ExportedFirst { partition: "events_y2021", rows: 100 }),
};

/// Old rows of a plain table are archived by a Job, in two batches.
pub const ROWS: Scenario = Scenario {
    name: "rows",
    major: 18,
    tables: "
        set role OWNER;
        create table sessions (id bigint primary key, at timestamptz not null);
        create index on sessions (at);
        create table sessions_archive (id bigint, at timestamptz, archived_at timestamptz not null default now());
        create index on sessions_archive (id);
        create index on sessions_archive (at);
        create index on sessions_archive (archived_at);
        insert into sessions select n, timestamptz '2020-06-01Z' + n * interval '1 minute' from generate_series(1, 150) n;
        insert into sessions select n, now() from generate_series(151, 200) n;
        reset role;
        analyze",
    policy: |_| {
        json!({"kind": "RetentionPolicy", "table": {"name": "sessions"}, "keep": {"age": "300 days"}, "schedule": "0 3 1 1 *",
            "guards": {"approveAbovePercent": 100},
            "rows": {"column": "at", "batch": {"rows": 100, "pause": "0ms", "maxLoad": 100}, "job": {"activeDeadline": "20s"}}})
    },
    database: || json!({}),
    edit: None,
    law: Some(Law::Conserved {
        query: "select count(distinct id) * (count(*) = count(distinct id))::int
            from (select id from sessions union all select id from sessions_archive) all_of_them",
        rows: 200,
    }),
};
