//! What does a person or a script see of plans? The data behind every form of output.

use jiff::Timestamp;
use serde::Serialize;

use super::super::amount;
use super::super::output;
use super::super::planned::{Planned, Work};
use super::super::policies::Policies;
use crate::api::{Reason, TableName};
use crate::plan::action::{Action, Blocked, Note, ObjectId};
use crate::plan::gate::{self, Gate};
use crate::plan::removal::ExportProof;
use crate::plan::snapshot::Server;
use crate::postgres::execute::Budget;
use crate::sql;

/// Plans of one database.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Version of this form.
    pub format_version: &'static str,
    /// The database.
    pub database: DatabaseView,
    /// The moment that was planned for.
    pub as_of: Timestamp,
    /// The policies, in the order of the files.
    pub policies: Vec<PolicyView>,
    /// How many changes there are.
    pub changes: usize,
    /// How many refusals there are.
    pub blocked: usize,
}

/// The database that was looked at.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseView {
    /// Namespace and name of its PostgresDatabase.
    pub name: String,
    /// The database's own name.
    pub database: String,
    /// Version of the server.
    pub server_version: String,
    /// The role.
    pub role: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Why nothing may be changed there, if so.
    pub unwritable: Option<Blocked>,
}

/// The plan of one policy.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// The policy.
    pub object: ObjectId,
    /// What it is about.
    pub headline: String,
    /// Size of the table by PostgreSQL's statistics.
    pub bytes: i64,
    /// Identifies the plan.
    pub fingerprint: String,
    /// The plan in a few words.
    pub summary: String,
    /// What to say when there is nothing to do.
    pub settled: Option<String>,
    /// Why it would not be carried out now, if so.
    pub hold: Option<Hold>,
    /// The changes.
    pub actions: Vec<ActionView>,
    /// What is not done, and why.
    pub blocked: Vec<Blocked>,
    /// What stays though one may have expected it to go, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Bytes that the changes free.
    #[serde(skip_serializing_if = "is_none")]
    pub freed: i64,
    /// What a reader should know.
    pub notes: Vec<Note>,
}

/// Why a plan waits.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Why.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// Until when, where the clock decides.
    pub until: Option<Timestamp>,
}

/// A change.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionView {
    /// What is done.
    pub verb: &'static str,
    /// To what.
    pub subject: String,
    /// How.
    pub detail: String,
    /// Bytes of what leaves.
    #[serde(skip_serializing_if = "is_none")]
    pub bytes: i64,
    /// Its locks.
    pub locks: Vec<LockView>,
    /// How long it takes, roughly.
    pub time: String,
    /// For how long it keeps trying to get its locks.
    pub lock_budget: String,
    /// The statements.
    pub statements: Vec<String>,
    /// The statements that take it back.
    pub undo: Vec<String>,
    /// The change itself: what the fingerprint is made of.
    pub change: Action,
}

/// A lock.
#[derive(Clone, Debug, Serialize)]
pub struct LockView {
    /// The table.
    pub table: String,
    /// The mode, as in SQL.
    pub mode: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_none(bytes: &i64) -> bool {
    *bytes == 0
}

impl View {
    /// The view of these plans. `approved` are the beginnings of fingerprints that a person has named.
    pub fn new(policies: &Policies, server: &Server, planned: &[Planned], approved: &[String], as_of: Timestamp) -> Self {
        let views: Vec<PolicyView> = planned.iter().map(|one| PolicyView::new(one, policies.budget, approved, as_of)).collect();
        Self {
            format_version: output::VERSION,
            database: DatabaseView {
                name: format!("{}/{}", policies.namespace, policies.database),
                database: server.database.clone(),
                server_version: server.version.clone(),
                role: server.role.clone(),
                superuser: server.superuser,
                unwritable: crate::pass::unwritable(server),
            },
            as_of,
            changes: views.iter().map(|view| view.actions.len()).sum(),
            blocked: views.iter().map(|view| view.blocked.len()).sum(),
            policies: views,
        }
    }

    /// The shortest beginning, of at least four digits, that tells this fingerprint from the others.
    pub fn short<'a>(&self, fingerprint: &'a str) -> &'a str {
        let others = || self.policies.iter().map(|policy| policy.fingerprint.as_str()).filter(|other| *other != fingerprint);
        let fits =
            |digits: &usize| fingerprint.get(..*digits).is_some_and(|short| !others().any(|other| other.starts_with(short)));
        let digits = (4..fingerprint.len()).find(fits).unwrap_or(fingerprint.len());
        fingerprint.get(..digits).unwrap_or(fingerprint)
    }

    /// Whether a refusal has this reason.
    pub fn is_blocked_by(&self, reason: Reason) -> bool {
        self.policies.iter().flat_map(|policy| &policy.blocked).any(|blocked| blocked.reason == reason)
    }
}

impl PolicyView {
    fn new(planned: &Planned, budget: Budget, approved: &[String], as_of: Timestamp) -> Self {
        let plan = &planned.plan;
        let actions: Vec<ActionView> =
            plan.actions.iter().zip(&planned.work).map(|(action, work)| ActionView::new(action, work, budget, as_of)).collect();
        Self {
            object: plan.object.clone(),
            headline: plan.headline.clone(),
            bytes: planned.bytes,
            fingerprint: plan.fingerprint(),
            summary: plan.summary(),
            settled: plan.is_settled().then(|| settled(planned)),
            hold: hold(planned, approved, as_of),
            kept: planned.kept(),
            freed: actions.iter().filter(|action| matches!(action.change, Action::DropTable(_))).map(|drop| drop.bytes).sum(),
            actions,
            blocked: plan.blocked.clone(),
            notes: plan.notes.clone(),
        }
    }
}

/// That there is nothing to do is no news of a policy that does nothing anyway.
fn settled(planned: &Planned) -> String {
    let suspended = planned.suspended.iter().map(|why| format!("; {why}"));
    std::iter::once(planned.settled.clone()).chain(suspended).collect()
}

/// Why a plan would not be carried out now, as the controller decides it. A fingerprint that a person names is an approval.
pub fn hold(planned: &Planned, approved: &[String], now: Timestamp) -> Option<Hold> {
    let fingerprint = planned.plan.fingerprint();
    let is_named = approved.iter().any(|beginning| fingerprint.starts_with(beginning));
    let approval = if is_named || planned.goes_on { Some(fingerprint.as_str()) } else { planned.approved.as_deref() };
    let hold = |reason: Reason, message: String, until| Some(Hold { reason: reason.as_str(), message, until });
    if let Some(why) = planned.suspended.as_ref().filter(|_| !planned.plan.actions.is_empty()) {
        return hold(Reason::Suspended, why.clone(), None);
    }
    match gate::gate(&planned.settings, approval, &planned.plan, now) {
        Ok(Gate::Nothing | Gate::Go) => None,
        Ok(Gate::Hold { reason, message, until }) => hold(reason, message, until),
        Err(blocked) => hold(blocked.reason, blocked.message, None),
    }
}

impl ActionView {
    fn new(action: &Action, work: &Work, budget: Budget, as_of: Timestamp) -> Self {
        let script = sql::script(action).at(as_of);
        let locks = script.locks().into_iter().map(|(mode, table)| LockView { table, mode: mode.as_str() });
        Self {
            verb: action.verb(),
            subject: action.subject().to_owned(),
            detail: detail(action, work),
            bytes: work.bytes,
            locks: locks.collect(),
            time: work.time.clone(),
            lock_budget: amount::length(budget.locks),
            statements: script.text(),
            undo: undo(action),
            change: action.clone(),
        }
    }
}

fn detail(action: &Action, work: &Work) -> String {
    let size = (work.bytes > 0).then(|| amount::bytes(work.bytes));
    let text = match action {
        Action::CreatePartition(create) => format!("[{}, {})", amount::bound(&create.lower), amount::bound(&create.upper)),
        Action::ExportPartition(export) => {
            let size = size.map(|size| format!("{size} ")).unwrap_or_default();
            return format!("{size}→ {} as {:?}", export.destination, export.format);
        }
        _ => action.detail(),
    };
    [size, Some(text), work.more.clone()].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What takes an action back, as long as no row has arrived. A repair has no such thing: what was there before is not known any more;
/// nor has what is gone.
fn undo(action: &Action) -> Vec<String> {
    let detach = |parent: &TableName, child: &TableName| {
        format!("ALTER TABLE {} DETACH PARTITION {}", sql::quote::table(parent), sql::quote::table(child))
    };
    let attach = |parent: &TableName, child: &TableName, bound: &str| {
        format!("ALTER TABLE {} ATTACH PARTITION {} {bound}", sql::quote::table(parent), sql::quote::table(child))
    };
    let create = |parent: &TableName, name: &str| {
        let child = TableName { schema: parent.schema.clone(), name: name.to_owned() };
        vec![detach(parent, &child), format!("DROP TABLE {}", sql::quote::table(&child))]
    };
    let open = |closed: &TableName| {
        let constraint = sql::quote::ident(sql::export::CLOSED);
        format!("ALTER TABLE ONLY {} DROP CONSTRAINT IF EXISTS {constraint}", sql::quote::table(closed))
    };
    match action {
        Action::ExportPartition(export) => vec![open(&export.partition.table)],
        Action::CreatePartition(new) => create(&new.parent.table, &new.name),
        Action::CreateDefault(new) => create(&new.parent.table, &new.name),
        Action::CreateExtension(extension) => vec![format!("DROP EXTENSION {}", sql::quote::ident(&extension.name))],
        Action::CreateArchiveTable(new) => vec![format!("DROP TABLE {}", sql::quote::table(&new.archive))],
        Action::DetachPartition(gone) => {
            let closed = (gone.export != ExportProof::NotAsked).then(|| open(&gone.partition.table));
            closed.into_iter().chain([attach(&gone.parent.table, &gone.partition.table, &gone.bound)]).collect()
        }
        Action::MoveToArchive(moved) => vec![
            detach(&moved.archive.table, &moved.partition.table),
            attach(&moved.parent.table, &moved.partition.table, &moved.bound),
        ],
        Action::MoveToSchema(moved) => {
            let there = TableName { schema: moved.schema.clone(), name: moved.table.table.name.clone() };
            let schema = sql::quote::ident(&moved.table.table.schema);
            vec![format!("ALTER TABLE {} SET SCHEMA {schema}", sql::quote::table(&there))]
        }
        _ => vec![],
    }
}
