//! Which policies are meant? Those of files or of a cluster, on one database.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use kube::ResourceExt as _;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::planned::{Planned, Shown};
use super::{Globals, validate};
use crate::api::policy::DatabaseRef;
use crate::api::postgres_database::Limits;
use crate::api::{PartitionPolicy, PostgresDatabase, RetentionHold, RetentionPolicy};
use crate::pass::{self, Leaving, Policy, Retention};
use crate::plan::retention::{Hold, Surroundings};
use crate::plan::snapshot::Server;
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

/// Policies of every kind, in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    /// What makes room for data.
    pub partition: Vec<PartitionPolicy>,
    /// What lets data leave.
    pub retention: Vec<RetentionPolicy>,
}

/// A policy by which data leaves, with what was found for it.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The policy.
    pub policy: RetentionPolicy,
    /// What was found.
    pub facts: Leaving,
    /// Its plan.
    pub planned: Planned,
}

impl Looked {
    /// Whether rows of a plain table leave, and not partitions.
    pub fn is_of_rows(&self) -> bool {
        self.policy.spec.rows.is_some()
    }
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
    /// What makes room for data.
    pub partition: Vec<PartitionPolicy>,
    /// What lets data leave, with what surrounds it.
    pub retention: Vec<Retention>,
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
        let mut kinds =
            Kinds { partition: read(objects, "PartitionPolicy", own)?, retention: read(objects, "RetentionPolicy", own)? };
        let databases: Vec<PostgresDatabase> = read(objects, "PostgresDatabase", own)?;
        let holds: Vec<RetentionHold> = read(objects, "RetentionHold", own)?;
        let (namespace, database) = self.choose(&kinds)?;
        let is_its = |(of, name): (String, String)| of == namespace && name == database;
        kinds.partition.retain(|policy| is_its(whose(policy, &policy.spec.policy.database_ref)));
        kinds.retention.retain(|policy| is_its(whose(policy, &policy.spec.policy.database_ref)));
        let holds = holds.into_iter().filter(|hold| is_its(whose(hold, &hold.spec.database_ref))).map(held).collect();
        let declared = databases.into_iter().find(|it| it.name_any() == database && it.namespace().as_ref() == Some(&namespace));
        let mut policies = Policies::of_files(namespace, database, kinds, holds)?;
        once(&policies)?;
        if let Some(declared) = declared {
            policies.declare(declared)?;
        }
        Ok(policies)
    }

    fn choose(&self, kinds: &Kinds) -> Result<(String, String), Failure> {
        let partition = kinds.partition.iter().map(|policy| whose(policy, &policy.spec.policy.database_ref));
        let retention = kinds.retention.iter().map(|policy| whose(policy, &policy.spec.policy.database_ref));
        let named: BTreeSet<(String, String)> =
            partition.chain(retention).filter(|(_, name)| self.database.as_ref().is_none_or(|wanted| wanted == name)).collect();
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

/// The namespace and the name of the database that an object refers to.
fn whose(object: &impl kube::ResourceExt, database: &DatabaseRef) -> (String, String) {
    (object.namespace().unwrap_or_default(), database.name.clone())
}

/// A hold, as plans take it.
pub fn held(hold: RetentionHold) -> Hold {
    Hold { name: format!("{}/{}", hold.namespace().unwrap_or_default(), hold.name_any()), spec: hold.spec }
}

fn once(policies: &Policies) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let retention = policies.retention.iter().map(Policy::id);
    let twice = policies.partition.iter().map(Policy::id).chain(retention).find(|id| !seen.insert(id.clone()));
    twice.map_or(Ok(()), |id| Err(Failure::new(Exit::Error, format!("{id} is in the files twice"))))
}

/// What actions may use of a database with these limits.
fn budget(limits: &Limits) -> Result<Budget, Failure> {
    target::budget(limits).map_err(|blocked| Failure::new(Exit::Error, blocked.message))
}

impl Policies {
    /// Those of a cluster, at this moment. Holds and backups are still to be looked for.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn of_cluster(namespace: String, database: String, kinds: Kinds, now: Timestamp) -> Result<Self, Failure> {
        let surround = |policy: RetentionPolicy| {
            let surroundings = Surroundings::of_next_run(&policy, now);
            Retention { policy, surroundings }
        };
        let retention = kinds.retention.into_iter().map(surround).collect();
        let budget = budget(&Limits::default())?;
        Ok(Self { budget, declared: None, live: true, namespace, database, partition: kinds.partition, retention })
    }

    /// Those of files, which bring their holds along.
    fn of_files(namespace: String, database: String, kinds: Kinds, holds: Vec<Hold>) -> Result<Self, Failure> {
        let surround = |policy: RetentionPolicy| {
            let guard = policy.spec.guards.backup.as_ref();
            let backup_missing = guard.map(|_| "guards.backup: a Backup can only be looked for in a cluster".to_owned());
            Retention { policy, surroundings: Surroundings { holds: holds.clone(), backup_missing, ..Surroundings::attended() } }
        };
        let retention = kinds.retention.into_iter().map(surround).collect();
        let budget = budget(&Limits::default())?;
        Ok(Self { budget, declared: None, live: false, namespace, database, partition: kinds.partition, retention })
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
    fn with_context(&self, planned: Planned) -> Planned {
        let is_paused = |database: &&PostgresDatabase| database.spec.suspend;
        let suspended = match self.declared.as_ref().filter(is_paused) {
            _ if planned.settings.suspend => Some("spec.suspend is true, so nothing is changed".to_owned()),
            Some(_) => Some(format!("spec.suspend of PostgresDatabase {} is true, so nothing is changed", self.database)),
            None => None,
        };
        // A file's annotation is a proposal; only the one in a cluster is somebody's word.
        let approved = planned.approved.clone().filter(|_| self.live);
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
        let mut planned = Vec::with_capacity(self.partition.len() + self.retention.len());
        let mut server = None;
        for policy in &self.partition {
            planned.extend(self.look_at(policy, session, now, &mut server).await?);
        }
        for policy in &self.retention {
            planned.extend(self.look_at(policy, session, now, &mut server).await?);
        }
        let server = match server {
            Some(server) => server,
            None => {
                let looked = pass::look::<PartitionPolicy>(&[], session, now).await;
                looked.map_err(|fault| self.failure(&fault))?.server
            }
        };
        Ok((server, planned))
    }

    /// The same for those by which data leaves, with what was found.
    ///
    /// # Errors
    /// What the server or the connection said, where that concerns all of them, or that its version is not supported.
    pub async fn look_at_leaving(&self, session: &Session, now: Timestamp) -> Result<(Server, Vec<Looked>), Failure> {
        let mut looked = Vec::with_capacity(self.retention.len());
        let mut server = pass::look::<PartitionPolicy>(&[], session, now).await.map_err(|fault| self.failure(&fault))?.server;
        if server.major() < 14 {
            let why = pass::unwritable(&server).map(|blocked| blocked.message).unwrap_or_default();
            return Err(Failure::new(Exit::Error, why));
        }
        for one in &self.retention {
            let (facts, planned) = match pass::look(&[one], session, now).await {
                Ok(mut look) => {
                    server = look.server;
                    let (Some(facts), Some(plan)) = (look.facts.pop(), look.plans.pop()) else { continue };
                    let planned = Planned::new(one, &facts, plan, now);
                    (facts, planned)
                }
                Err(fault) if session.is_closed() => return Err(self.failure(&fault)),
                Err(fault) => (Leaving::default(), Planned::refused(one, &fault)),
            };
            looked.push(Looked { policy: one.policy.clone(), facts, planned: self.with_context(planned) });
        }
        Ok((server, looked))
    }

    async fn look_at<P: Shown>(
        &self,
        policy: &P,
        session: &Session,
        now: Timestamp,
        server: &mut Option<Server>,
    ) -> Result<Option<Planned>, Failure> {
        let look = match pass::look(&[policy], session, now).await {
            Ok(look) => look,
            Err(fault) if session.is_closed() => return Err(self.failure(&fault)),
            Err(fault) => return Ok(Some(self.with_context(Planned::refused(policy, &fault)))),
        };
        *server = Some(look.server);
        let found = look.facts.iter().zip(look.plans).next();
        Ok(found.map(|(facts, plan)| self.with_context(Planned::new(policy, facts, plan, now))))
    }

    fn failure(&self, fault: &Fault) -> Failure {
        Failure::fault(&format!("planning for PostgresDatabase {}/{}", self.namespace, self.database), fault)
    }
}
