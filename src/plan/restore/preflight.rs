//! May a restore begin? What is in the way is said before anything is touched, and then the plan waits for its word.

use sha2::{Digest as _, Sha256};

use super::sight::{Database, Places};
use super::{Act, Facts};
use crate::api::Reason;
use crate::api::policy::PlanStatus;
use crate::api::restore::{Chosen, ScaledWorkload, Step, Strategy};
use crate::plan::action::Blocked;
use crate::plan::hex;

/// Most actions that a status lists.
const LISTED: usize = 10;

/// What a restore does before it restores.
pub fn next(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, status, target, sight, .. } = facts;
    if let Some(refused) = refusals(facts, places).into_iter().next() {
        return Act::Refuse(refused);
    }
    let Some(chosen) = &status.chosen else { return Act::Inspect };
    let live = places.live.map(|live| i64::from(live.oid));
    if chosen.replaces != live || sight.is_elsewhere(status) {
        // Nobody has confirmed anything yet, or has meant another database or server.
        return Act::Inspect;
    }
    if live.is_some() && !chosen.lacks.is_empty() {
        return Act::Refuse(of_a_part(facts, chosen));
    }
    if spec.dry_run {
        return Act::Await("the plan is complete; nothing is done because spec.dryRun is true".into());
    }
    let first = if spec.strategy == Strategy::Replace { Step::Verifying } else { Step::Restoring };
    if live.is_none() {
        return Act::Enter(first);
    }
    let pinned = chosen.system_identifier.as_ref().map(|system| format!("{target}@{system}"));
    let wanted = match &pinned {
        Some(pinned) => format!("{target} or {pinned}"),
        None => (*target).to_owned(),
    };
    match &spec.confirm {
        Some(confirm) if confirm == target || Some(confirm) == pinned.as_ref() => Act::Enter(first),
        Some(confirm) => Act::Await(format!("spec.confirm is {confirm} and must be {wanted}: nothing is done")),
        None => Act::Await(format!("set spec.confirm to {wanted} to have database {target} replaced")),
    }
}

/// What the backup lacks would be gone with the database that is replaced.
fn of_a_part(facts: &Facts<'_>, chosen: &Chosen) -> Blocked {
    let (target, backup) = (facts.target, facts.status.backup.as_ref().unwrap_or(&chosen.url));
    let message = format!(
        "Backup {backup} {}, and database {target} would be replaced by what is in it: create a Restore with strategy New and a targetDatabase, or of a backup of the whole database",
        chosen.lacks.join(" and ")
    );
    Blocked::new(Reason::Unsupported, message)
}

/// Everything that is in the way, in the order in which it is said.
fn refusals(facts: &Facts<'_>, places: &Places<'_>) -> Vec<Blocked> {
    let Facts { spec, sight, target, uid, status, .. } = facts;
    let mut refusals = Vec::new();
    let mut refuse = |reason, message: String| refusals.push(Blocked::new(reason, message));
    if sight.in_recovery {
        refuse(
            Reason::InRecovery,
            "the server is a standby or in recovery: nothing can be restored there; connect to the primary".into(),
        );
    }
    if !sight.superuser && !sight.createdb {
        refuse(
            Reason::MissingPrivilege,
            format!(
                "role {0} may not create or rename databases: run ALTER ROLE {0} CREATEDB, or name the Secret of a role that may in adminSecretRef of the PostgresDatabase",
                sight.role
            ),
        );
    }
    for name in [super::names::beside(target, uid), super::names::previous(target, uid)] {
        if status.restored_database.is_none() && sight.databases.iter().any(|database| database.name == name) {
            refuse(Reason::NameTaken, format!("database {name} exists, and nobody knows whose it is: drop or rename it"));
        }
    }
    match (spec.strategy, places.live) {
        (Strategy::New, Some(_)) => {
            refuse(
                Reason::NameTaken,
                format!(
                    "database {target} exists: strategy New makes a database of a name that is not taken; change spec.targetDatabase"
                ),
            );
        }
        (Strategy::New, None) => {}
        (Strategy::Swap | Strategy::Replace, None) => refuse(
            Reason::DatabaseMissing,
            format!("there is no database {target} to replace: use strategy New with targetDatabase {target}"),
        ),
        (Strategy::Swap | Strategy::Replace, Some(live)) => refusals.extend(in_the_way(live, spec.strategy, &sight.role)),
    }
    refusals
}

/// What of a database keeps it from being replaced.
fn in_the_way(live: &Database, strategy: Strategy, role: &str) -> Vec<Blocked> {
    let Database { name, owner, .. } = live;
    let foreign = (!live.is_ours).then(|| {
        let message = format!(
            "database {name} belongs to {owner}, and role {role} is no member of it: run GRANT {owner} TO {role}, or name the Secret of a role that may in adminSecretRef of the PostgresDatabase"
        );
        Blocked::new(Reason::MissingPrivilege, message)
    });
    let unendable = (!live.unendable.is_empty()).then(|| {
        let whose = live.unendable.join(", ");
        format!(
            "database {name} has sessions of {whose}, which role {role} may not end: end them, or GRANT pg_signal_backend TO {role} (sessions of superusers are ended by superusers alone)"
        )
    });
    let in_use = what_it_is(live).into_iter().chain(what_it_holds(live, strategy)).chain(unendable);
    foreign.into_iter().chain(in_use.map(|message| Blocked::new(Reason::DatabaseInUse, message))).collect()
}

fn what_it_is(live: &Database) -> Vec<String> {
    let name = &live.name;
    let closed = || {
        format!(
            "database {name} accepts no connections, and would after the restore: run ALTER DATABASE {name} ALLOW_CONNECTIONS true, or find out who has closed it"
        )
    };
    let template = || {
        format!(
            "database {name} is a template, which cannot be dropped and which the restored one would not be: run ALTER DATABASE {name} IS_TEMPLATE false"
        )
    };
    let invalid = || {
        format!("a drop of database {name} broke off, and nothing of it can be kept: drop it, and make it anew with strategy New")
    };
    let found = [(!live.is_open).then(closed), live.is_template.then(template), live.is_invalid.then(invalid)];
    found.into_iter().flatten().collect()
}

/// What hangs on a database, so that it cannot be renamed or dropped.
fn what_it_holds(live: &Database, strategy: Strategy) -> Vec<String> {
    let (name, is_dropped) = (&live.name, strategy == Strategy::Replace);
    let slots = |only_active: bool| -> Vec<&str> {
        live.slots.iter().filter(|(_, active)| *active || !only_active).map(|(slot, _)| slot.as_str()).collect()
    };
    let mut found = Vec::new();
    if !live.prepared.is_empty() {
        let prepared = live.prepared.join(", ");
        found.push(format!(
            "database {name} has prepared transactions ({prepared}), and cannot be renamed with them: commit or roll them back"
        ));
    }
    if is_dropped && !live.slots.is_empty() {
        let slots = slots(false).join(", ");
        found.push(format!(
            "database {name} has logical replication slots ({slots}), and cannot be dropped with them: drop them with pg_drop_replication_slot, or use strategy Swap"
        ));
    }
    if !slots(true).is_empty() {
        let slots = slots(true).join(", ");
        found.push(format!(
            "somebody reads from logical replication slots of database {name} ({slots}), which stay with the replaced database: stop the readers"
        ));
    }
    if is_dropped && !live.subscriptions.is_empty() {
        let subscriptions = live.subscriptions.join(", ");
        found.push(format!(
            "database {name} has subscriptions ({subscriptions}), with which it cannot be dropped: run DROP SUBSCRIPTION there, or use strategy Swap, which leaves them with the replaced database"
        ));
    }
    found
}

/// What a restore does, step by step, for people and before anything is done.
pub fn plan(facts: &Facts<'_>, chosen: &Chosen, workloads: &[ScaledWorkload]) -> PlanStatus {
    let Facts { spec, target, sight, .. } = facts;
    let moment = format!("{:.0}", chosen.snapshot_at.0);
    let of = |oid: i64| sight.databases.iter().find(|database| i64::from(database.oid) == oid);
    let live = chosen.replaces.and_then(of);
    let restore = format!(
        "restore {} ({} rows in {} tables, {} on disk) as database {}, and compare it with its manifest",
        chosen.url,
        chosen.tables.rows,
        chosen.tables.count,
        size(chosen.bytes),
        super::names::beside(target, facts.uid)
    );
    let lowered = workloads.iter().map(lowers);
    let mut actions = Vec::new();
    match live {
        None => actions.extend([restore, format!("call it {target}")]),
        Some(live) if spec.strategy == Strategy::Replace => {
            actions.push("restore the backup here without its rows, to see that the role may, and drop that again".into());
            actions.push("restore the backup into a server made for that, to prove it".into());
            actions.extend(lowered);
            actions.push(closes(live));
            if !spec.skip_safety_backup {
                let is_encrypted = chosen.encryption.is_some() || !chosen.recipients.is_empty();
                let encrypted = if is_encrypted { "encrypted" } else { "not encrypted" };
                actions.push(format!("back it up as it is then ({encrypted}), beside the backup"));
            }
            actions.push(format!("drop it ({})", known_size(live)));
            actions.extend([restore, format!("call it {target}")]);
        }
        Some(live) => {
            actions.push(restore);
            actions.extend(lowered);
            actions.push(closes(live));
            let previous = super::names::previous(target, facts.uid);
            let kept = format!("it stays as {previous} for {} ({})", spec.keep_previous, known_size(live));
            actions.push(format!("give its name to the restored one; {kept}"));
            actions.extend(subscribed(live));
        }
    }
    if !workloads.is_empty() {
        actions.push("bring the workloads back to what they had".into());
    }
    let mut summary = match live {
        Some(_) => {
            format!("database {target} goes back to {moment}: everything written after that is lost with the replaced database")
        }
        None => format!("database {target} is made as it was at {moment}"),
    };
    if !chosen.lacks.is_empty() {
        summary.push_str(&format!("; the backup {}", chosen.lacks.join(" and ")));
    }
    if !chosen.omitted.is_empty() {
        summary.push_str(&format!("; not in the backup: {}", chosen.omitted.join("; ")));
    }
    let fingerprint = fingerprint(facts, chosen, workloads);
    // Of many workloads some are left out: what becomes of the database is always said. They come after the first line.
    let more = actions.len().saturating_sub(LISTED).min(workloads.len());
    let workloads_end = 1 + workloads.len();
    actions.drain(workloads_end - more..workloads_end);
    PlanStatus { fingerprint, summary, actions, more: i32::try_from(more).unwrap_or(i32::MAX) }
}

/// What identifies a plan: what is restored, how, in place of which database, and what goes meanwhile. Replicas change by themselves.
fn fingerprint(facts: &Facts<'_>, chosen: &Chosen, workloads: &[ScaledWorkload]) -> String {
    let strategy = format!("{:?}", facts.spec.strategy);
    let replaces = chosen.replaces.map(|oid| oid.to_string()).unwrap_or_default();
    let parts = [chosen.manifest.as_str(), &strategy, facts.target, &replaces];
    let uids = workloads.iter().map(|workload| workload.uid.as_str());
    let parts: Vec<&str> = parts.into_iter().chain(uids).collect();
    hex(&Sha256::digest(parts.join("\n"))[..8])
}

/// What becomes of subscriptions: a database that accepts no connections receives nothing.
fn subscribed(live: &Database) -> Option<String> {
    let names = live.subscriptions.join(", ");
    let says = "stay with the replaced database and receive nothing there: create them in the restored one, and drop them where they were before it is dropped";
    (!live.subscriptions.is_empty()).then(|| format!("its subscriptions ({names}) {says}"))
}

fn lowers(workload: &ScaledWorkload) -> String {
    let ScaledWorkload { kind, name, .. } = workload;
    let does = match workload.replicas {
        Some(replicas) => format!("scale {kind} {name} from {replicas} to 0"),
        None => format!("suspend {kind} {name}"),
    };
    if workload.held.is_empty() { does } else { format!("{does}, holding {}", workload.held.join(", ")) }
}

fn closes(live: &Database) -> String {
    format!("close database {} and end its sessions ({} now)", live.name, live.sessions)
}

fn known_size(database: &Database) -> String {
    database.bytes.map_or_else(|| "its size is not known".into(), size)
}

/// A size for people.
fn size(bytes: i64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 10 * 1024 && unit + 1 < units.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", units[unit])
}
