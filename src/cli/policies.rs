//! Which policies are meant? Those of files or of a cluster, on one database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use kube::ResourceExt as _;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::{Globals, validate};
use crate::api::postgres_database::Limits;
use crate::api::{APPROVE_ANNOTATION, PartitionPolicy, PolicySettings, PostgresDatabase};
use crate::pass::{self, Policy};
use crate::plan::action::{Action, Plan};
use crate::plan::snapshot::{Server, Tree};
use crate::postgres::execute::Budget;
use crate::postgres::{Fault, Session};
use crate::target;

/// Which files and which database.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// Files, directories or globs with policies, or - for stdin; without any, plan and check take the policies of the cluster
    #[arg(short, long = "filename", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// The PostgresDatabase whose policies are meant, where there are those of several
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Namespace of the cluster's policies [default: the context's], or of objects in files that name none [default: default]; it
    /// counts in fingerprints
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Kube context of the cluster that holds the policies, or tells how to reach the database where no URL is given
    /// [default: the present context]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Plans for this moment instead of now: a date, or a time with its offset
    #[arg(long, value_name = "DATE", value_parser = moment)]
    pub as_of: Option<Timestamp>,
}

pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(date) = text.parse::<Date>() {
        let midnight = date.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        return Ok(midnight.timestamp());
    }
    text.parse().map_err(|_| "write a date such as 2027-01-31 (midnight UTC), or a time such as 2027-01-31T08:00:00Z".to_owned())
}

/// The policies of one database.
#[derive(Debug)]
pub struct Policies {
    /// The namespace of the database.
    pub namespace: String,
    /// The name of its PostgresDatabase.
    pub database: String,
    /// What actions may use.
    pub budget: Budget,
    /// Its PostgresDatabase, where that is known.
    declared: Option<PostgresDatabase>,
    /// Whether they are a cluster's, where its operator carries them out.
    pub live: bool,
    partition: Vec<PartitionPolicy>,
}

/// A policy's plan, with what a report says beyond it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The settings that say whether it may be carried out.
    pub settings: PolicySettings,
    /// The plan.
    pub plan: Plan,
    /// The fingerprint that the policy's annotation approves, in a cluster.
    pub approved: Option<String>,
    /// Why nothing is done at present, if a person wants it so.
    pub suspended: Option<String>,
    /// What to say when there is nothing to do.
    pub settled: String,
    /// Whether rows that are written now have a place; `None` where that could not be seen.
    pub covered: Option<bool>,
    /// Size of the table by PostgreSQL's statistics, in bytes.
    pub bytes: i64,
    /// Bytes that each action reads or writes, in the order of the plan's actions.
    pub work: Vec<i64>,
}

impl PolicyArgs {
    /// The moment to plan for.
    pub fn now(&self, globals: &Globals) -> Timestamp {
        self.as_of.unwrap_or_else(|| globals.now())
    }

    /// Reads the policies.
    ///
    /// # Errors
    /// If an object is not valid, there is no policy, or the files hold the policies of several databases and none is chosen.
    pub fn policies(&self, more: &[PathBuf], globals: &Globals) -> Result<Policies, Failure> {
        let paths: Vec<PathBuf> = self.files.iter().chain(more).cloned().collect();
        if paths.is_empty() {
            return Err(Failure::new(Exit::Usage, "no policy is given: name files or directories with -f"));
        }
        self.choose_from(&validate::valid_objects(&paths, globals)?)
    }

    fn choose_from(&self, objects: &[validate::Valid]) -> Result<Policies, Failure> {
        let own = self.namespace.as_deref().unwrap_or("default");
        let policies: Vec<PartitionPolicy> = read(objects, "PartitionPolicy", own)?;
        let databases: Vec<PostgresDatabase> = read(objects, "PostgresDatabase", own)?;
        let (namespace, database) = self.choose(&policies)?;
        let is_its = |policy: &PartitionPolicy| {
            policy.namespace().as_deref() == Some(&namespace) && policy.settings().database_ref.name == database
        };
        let partition: Vec<PartitionPolicy> = policies.into_iter().filter(is_its).collect();
        once(&partition)?;
        let declared =
            databases.into_iter().find(|it| it.name_any() == database && it.namespace().as_deref() == Some(&namespace));
        let mut policies =
            Policies { budget: budget(&Limits::default())?, declared: None, live: false, namespace, database, partition };
        if let Some(declared) = declared {
            policies.declare(declared)?;
        }
        Ok(policies)
    }

    fn choose(&self, policies: &[PartitionPolicy]) -> Result<(String, String), Failure> {
        let named: BTreeSet<(String, String)> = policies
            .iter()
            .map(|policy| (policy.namespace().unwrap_or_default(), policy.settings().database_ref.name.clone()))
            .filter(|(_, name)| self.database.as_ref().is_none_or(|wanted| wanted == name))
            .collect();
        let mut named = named.into_iter();
        match (named.next(), named.len(), &self.database) {
            (Some(only), 0, _) => Ok(only),
            (None, _, Some(wanted)) => {
                Err(Failure::new(Exit::Usage, format!("no policy in the files refers to a PostgresDatabase {wanted}")))
            }
            (None, _, None) => Err(Failure::new(Exit::Error, "the files hold no policy")),
            (Some(first), _, _) => {
                let names: Vec<String> =
                    std::iter::once(first).chain(named).map(|(namespace, name)| format!("{namespace}/{name}")).collect();
                let message = format!(
                    "the files hold policies of several databases ({}): choose one with --database NAME",
                    names.join(", ")
                );
                Err(Failure::new(Exit::Usage, message))
            }
        }
    }
}

pub(super) fn read<T: serde::de::DeserializeOwned>(
    objects: &[validate::Valid],
    kind: &str,
    namespace: &str,
) -> anyhow::Result<Vec<T>> {
    let of_kind = objects.iter().filter(|valid| valid.kind == kind);
    of_kind
        .map(|valid| {
            let mut object = valid.object.clone();
            let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
            if let Some(metadata) = metadata.filter(|metadata| !metadata.contains_key("namespace")) {
                metadata.insert("namespace".into(), namespace.into());
            }
            Ok(serde_json::from_value(object)?)
        })
        .collect()
}

fn once(policies: &[PartitionPolicy]) -> Result<(), Failure> {
    let mut seen = BTreeMap::new();
    for policy in policies {
        let count = seen.entry(policy.id()).or_insert(0);
        *count += 1;
        if *count == 2 {
            return Err(Failure::new(Exit::Error, format!("{} is in the files twice", policy.id())));
        }
    }
    Ok(())
}

/// What actions may use of a database with these limits.
fn budget(limits: &Limits) -> Result<Budget, Failure> {
    target::budget(limits).map_err(|blocked| Failure::new(Exit::Error, blocked.message))
}

impl Policies {
    /// Those of a cluster.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn of_cluster(namespace: String, database: String, partition: Vec<PartitionPolicy>) -> Result<Self, Failure> {
        Ok(Self { budget: budget(&Limits::default())?, declared: None, live: true, namespace, database, partition })
    }

    /// The PostgresDatabase, where it is known.
    pub fn declared(&self) -> Option<&PostgresDatabase> {
        self.declared.as_ref()
    }

    /// Takes note of what the PostgresDatabase says: its limits, and whether it is suspended.
    ///
    /// # Errors
    /// If a limit has no fixed length.
    pub fn declare(&mut self, declared: PostgresDatabase) -> Result<(), Failure> {
        self.budget = budget(&declared.spec.limits)?;
        self.declared = Some(declared);
        Ok(())
    }

    /// Adds what is known of a policy beyond its plan.
    fn with_context(&self, policy: &PartitionPolicy, planned: Planned) -> Planned {
        let is_paused = |database: &&PostgresDatabase| database.spec.suspend;
        let suspended = match self.declared.as_ref().filter(is_paused) {
            _ if policy.settings().suspend => Some("spec.suspend is true, so nothing is changed".to_owned()),
            Some(_) => Some(format!("spec.suspend of PostgresDatabase {} is true, so nothing is changed", self.database)),
            None => None,
        };
        // A file's annotation is a proposal; only the one in a cluster is somebody's word.
        let approved = policy.annotations().get(APPROVE_ANNOTATION).filter(|_| self.live).cloned();
        Planned { suspended, approved, ..planned }
    }

    /// The policies of these texts, each with its name.
    ///
    /// # Errors
    /// If one is not valid.
    pub fn of_texts(texts: &[(&str, &str)], globals: &Globals) -> Result<Self, Failure> {
        let args = PolicyArgs { files: vec![], database: None, namespace: Some("demo".into()), context: None, as_of: None };
        args.choose_from(&validate::valid_texts(texts, globals)?)
    }

    /// Observes and plans for all of them. Reads only. A policy whose table cannot be looked at harms no other.
    ///
    /// # Errors
    /// What the server or the connection said, where that concerns all of them.
    pub async fn look(&self, session: &Session, now: Timestamp) -> Result<(Server, Vec<Planned>), Failure> {
        let what = format!("planning for PostgresDatabase {}/{}", self.namespace, self.database);
        let failure = |fault| Failure::fault(&what, &fault);
        let mut planned = Vec::with_capacity(self.partition.len());
        let mut server = None;
        for policy in &self.partition {
            match pass::look(&[policy], session, now).await {
                Ok(look) => {
                    let found = look.facts.iter().zip(look.plans);
                    planned.extend(found.map(|(facts, plan)| self.with_context(policy, Planned::new(policy, facts, plan, now))));
                    server = Some(look.server);
                }
                Err(fault) if session.is_closed() => return Err(failure(fault)),
                Err(fault) => planned.push(self.with_context(policy, Planned::refused(policy, &fault))),
            }
        }
        let server = match server {
            Some(server) => server,
            None => pass::look::<PartitionPolicy>(&[], session, now).await.map_err(failure)?.server,
        };
        Ok((server, planned))
    }
}

impl Planned {
    fn new(policy: &PartitionPolicy, facts: &pass::Found, plan: Plan, now: Timestamp) -> Self {
        Self {
            settings: policy.settings().clone(),
            approved: None,
            suspended: None,
            settled: policy.settled(facts, now),
            covered: facts.coverage.as_ref().map(|coverage| coverage.unbounded || coverage.until.is_none_or(|until| until > now)),
            bytes: facts.tree.as_ref().map_or(0, table_bytes),
            work: plan.actions.iter().map(|action| work(action, facts)).collect(),
            plan,
        }
    }

    fn refused(policy: &PartitionPolicy, fault: &Fault) -> Self {
        let table = policy.spec.table.to_string();
        let blocked = pass::blocked(&table, fault);
        let plan = Plan::refused(policy.id(), table, blocked);
        Self {
            settings: policy.settings().clone(),
            approved: None,
            suspended: None,
            settled: String::new(),
            covered: None,
            bytes: 0,
            work: vec![],
            plan,
        }
    }
}

/// PostgreSQL's block size; servers built with another one are reported a little wrong.
const BLOCK: i64 = 8192;

fn table_bytes(tree: &Tree) -> i64 {
    tree.parents.iter().flat_map(|parent| &parent.partitions).map(|partition| partition.pages.max(0) * BLOCK).sum()
}

/// How much of the table an action goes through.
fn work(action: &Action, facts: &pass::Found) -> i64 {
    use crate::plan::action::Change;
    match action {
        Action::CreatePartition(create) => {
            let default = create.default.as_ref().map(|default| default.relation.oid);
            let partitions = facts.tree.iter().flat_map(|tree| &tree.parents).flat_map(|parent| &parent.partitions);
            partitions.filter(|partition| Some(partition.oid) == default).filter_map(|partition| partition.bytes).sum()
        }
        Action::RepairPartition(repair) => {
            let bytes = facts.details.properties.get(&repair.partition.oid).map_or(0, |properties| properties.bytes);
            let indexes =
                repair.changes.iter().filter(|change| matches!(change, Change::Index { .. } | Change::IndexLike { .. }));
            // Building an index reads, sorts and writes: measured at about a tenth of the speed of a plain scan.
            bytes * i64::try_from(indexes.count()).unwrap_or(1) * 10
        }
        _ => 0,
    }
}
