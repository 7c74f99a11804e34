//! Where do policies come from, and how are their databases reached? Files or a cluster; a URL or a cluster: every pair works.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::Globals;
use super::database::{self, DatabaseArgs};
use super::exit::{Exit, Failure};
use super::kubernetes::Cluster;
use super::policies::{Kinds, Policies, PolicyArgs, held};
use crate::pass::Retention;
use crate::postgres::connect::Target;
use crate::postgres::error::FaultKind;
use crate::postgres::{Fault, Session};

/// Which databases of a cluster are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that policies refer to.
    WithPolicies,
    /// All.
    All,
}

/// Policies, by database, and the way to each.
pub struct Source {
    databases: Vec<Policies>,
    way: Way,
    /// The namespace that was looked at holds objects that cannot be read.
    flawed: bool,
}

/// The policies of files with a session on their database, and the cluster that told how to reach it.
pub struct Opened {
    /// The policies.
    pub policies: Policies,
    /// The session.
    pub session: Session,
    /// Where it leads.
    pub target: Target,
    /// The cluster, where no URL was given.
    pub cluster: Option<Cluster>,
}

/// The way to databases.
struct Way {
    url: Option<DatabaseArgs>,
    cluster: Option<Cluster>,
    /// The moment to plan for.
    now: Timestamp,
}

/// What to type where no cluster is at hand and no file is named.
const FILES: &str = "no policy is given: name files or directories with -f, and a database with PGREEVE_DATABASE_URL, --database-url-env or --database-url-file";

/// What to type where no cluster is at hand and no database is named.
const DATABASE: &str =
    "no database is given: set PGREEVE_DATABASE_URL, or name a variable or a file with --database-url-env or --database-url-file";

impl Source {
    /// The policies of the files; without any, those of the cluster.
    ///
    /// # Errors
    /// If there is no way to policies or to their database, they cannot be read, or there is none.
    pub async fn open(
        args: &PolicyArgs,
        more: &[PathBuf],
        database: &DatabaseArgs,
        scope: Scope,
        globals: &Globals,
    ) -> Result<Self, Failure> {
        let url = database.is_given().then(|| database.clone());
        if !(args.files.is_empty() && more.is_empty()) {
            return Self::of_files(args, more, url, globals).await;
        }
        let cluster = Cluster::find(args.context.as_deref(), FILES).await?;
        Self::of_cluster(args, cluster, url, scope, globals).await
    }

    async fn of_files(
        args: &PolicyArgs,
        more: &[PathBuf],
        url: Option<DatabaseArgs>,
        globals: &Globals,
    ) -> Result<Self, Failure> {
        let policies = args.policies(more, globals)?;
        let cluster = match &url {
            None => Some(Cluster::find(args.context.as_deref(), DATABASE).await?),
            Some(_) if args.context.is_some() => {
                let message = "--context has nothing to do: the policies are those of files, and the database has a URL; leave one of the three out";
                return Err(Failure::new(Exit::Usage, message));
            }
            Some(_) => None,
        };
        Ok(Self { databases: vec![policies], way: Way { url, cluster, now: args.now(globals) }, flawed: false })
    }

    async fn of_cluster(
        args: &PolicyArgs,
        cluster: Cluster,
        url: Option<DatabaseArgs>,
        scope: Scope,
        globals: &Globals,
    ) -> Result<Self, Failure> {
        let namespace = args.namespace.clone().unwrap_or_else(|| cluster.namespace.clone());
        let (by_database, unreadable) = found(args, &cluster, &namespace, scope).await?;
        unreadable.iter().for_each(|why| globals.say(why));
        if by_database.is_empty() {
            return Err(none(args, &namespace, &cluster, scope));
        }
        if url.is_some() && by_database.len() > 1 {
            let names: Vec<String> = by_database.into_keys().collect();
            let message = format!(
                "namespace {namespace} holds several databases ({}), and a URL leads to one: choose it with --database NAME",
                names.join(", ")
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        let now = args.now(globals);
        let of_database = |(name, kinds)| Policies::of_cluster(namespace.clone(), name, kinds, now);
        let databases = by_database.into_iter().map(of_database).collect::<Result<_, _>>()?;
        Ok(Self { databases, way: Way { url, cluster: Some(cluster), now }, flawed: !unreadable.is_empty() })
    }

    /// Does this for each database, over a session there. A database that fails harms no other.
    ///
    /// # Errors
    /// Why it failed, where there is but one. Where there are several, that is said for each that did.
    pub async fn each<W>(mut self, globals: &Globals, mut work: W) -> Result<Exit, Failure>
    where
        W: AsyncFnMut(&Policies, &Session, &Target) -> Result<Exit, Failure>,
    {
        let mut worst = if self.flawed { Exit::Error } else { Exit::Ok };
        let is_one = self.databases.len() == 1;
        for policies in &mut self.databases {
            let done = match self.way.session(policies, globals).await {
                Ok((session, target)) => work(policies, &session, &target).await,
                Err(failure) => Err(failure),
            };
            match done {
                Ok(exit) => worst = worst.worse(exit),
                Err(failure) if is_one => return Err(failure),
                Err(failure) => {
                    globals.fail(&failure);
                    worst = worst.worse(failure.exit);
                }
            }
        }
        Ok(worst)
    }

    /// The policies of files, which are of one database, with a session there.
    ///
    /// # Errors
    /// If no connection can be made.
    pub async fn only(mut self, globals: &Globals) -> Result<Opened, Failure> {
        let Some(mut policies) = self.databases.pop() else { return Err(Failure::new(Exit::Error, "no policy is given")) };
        let (session, target) = self.way.session(&mut policies, globals).await?;
        Ok(Opened { policies, session, target, cluster: self.way.cluster })
    }

    /// Leaves out what is not meant, before anything is connected to.
    ///
    /// # Errors
    /// What `narrow` says.
    pub fn narrow(&mut self, narrow: impl FnMut(&mut Policies) -> Result<(), Failure>) -> Result<(), Failure> {
        self.databases.iter_mut().try_for_each(narrow)
    }
}

impl Way {
    /// A session on the database of these policies, which learn what its PostgresDatabase says.
    async fn session(&self, policies: &mut Policies, globals: &Globals) -> Result<(Session, Target), Failure> {
        if let Some(cluster) = self.cluster.as_ref().filter(|_| policies.declared().is_none()) {
            policies.declare(cluster.database(&policies.namespace, &policies.database).await?)?;
        }
        self.surround(policies).await?;
        if let Some(url) = &self.url {
            return url.connect(globals).await;
        }
        let (Some(cluster), Some(declared)) = (&self.cluster, policies.declared()) else {
            return Err(Failure::new(Exit::Usage, DATABASE));
        };
        let target = cluster.target(declared, &policies.namespace).await?;
        let session = database::open(&target).await.map_err(|fault| {
            let what = format!("PostgresDatabase {}/{} ({target})", policies.namespace, policies.database);
            Failure::fault(&what, &advised(fault, &target, &policies.namespace))
        })?;
        Ok((session, target))
    }
}

impl Way {
    /// What only a cluster tells of policies by which data leaves: holds, besides those of files, and backups.
    async fn surround(&self, policies: &mut Policies) -> Result<(), Failure> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !policies.retention.is_empty()) else { return Ok(()) };
        let (namespace, database) = (policies.namespace.as_str(), policies.database.as_str());
        let holds = cluster.holds(namespace, database).await?;
        for Retention { policy, surroundings } in &mut policies.retention {
            surroundings.holds.extend(holds.iter().cloned().map(held));
            surroundings.holds.sort_by(|a, b| a.name.cmp(&b.name));
            surroundings.backup_missing = match &policy.spec.guards.backup {
                Some(guard) => cluster.backup_missing(namespace, guard, self.now).await,
                None => None,
            };
        }
        Ok(())
    }
}

/// The policies of a namespace by database, and what to say of objects that cannot be read.
async fn found(
    args: &PolicyArgs,
    cluster: &Cluster,
    namespace: &str,
    scope: Scope,
) -> Result<(BTreeMap<String, Kinds>, Vec<String>), Failure> {
    let partition = cluster.of_database(namespace, args.database.as_deref()).await?;
    let retention = cluster.of_database(namespace, args.database.as_deref()).await?;
    let mut by_database = by_database(Kinds { partition: partition.objects, retention: retention.objects });
    let mut unreadable = [partition.unreadable, retention.unreadable].concat();
    match (&args.database, scope) {
        (_, Scope::WithPolicies) => {}
        (Some(name), Scope::All) => {
            by_database.entry(name.clone()).or_default();
        }
        (None, Scope::All) => {
            let found = cluster.databases(namespace).await?;
            for database in &found.objects {
                by_database.entry(database.name_any()).or_default();
            }
            unreadable.extend(found.unreadable);
        }
    }
    Ok((by_database, unreadable))
}

fn by_database(kinds: Kinds) -> BTreeMap<String, Kinds> {
    let mut by_database: BTreeMap<String, Kinds> = BTreeMap::new();
    for policy in kinds.partition {
        by_database.entry(policy.spec.policy.database_ref.name.clone()).or_default().partition.push(policy);
    }
    for policy in kinds.retention {
        by_database.entry(policy.spec.policy.database_ref.name.clone()).or_default().retention.push(policy);
    }
    by_database
}

fn none(args: &PolicyArgs, namespace: &str, cluster: &Cluster, scope: Scope) -> Failure {
    let place = format!("namespace {namespace} of {}", cluster.name());
    match (&args.database, scope) {
        (Some(name), _) => Failure::new(Exit::Usage, format!("no policy in {place} refers to a PostgresDatabase {name}")),
        (None, Scope::WithPolicies) => Failure::new(
            Exit::Error,
            format!("{place} holds no PartitionPolicy and no RetentionPolicy; name another with -n, or files with -f"),
        ),
        (None, Scope::All) => {
            let message = format!("{place} holds no PostgresDatabase and no policy; name another with -n");
            Failure::new(Exit::Error, message)
        }
    }
}

/// What the operator reaches is not always reached from elsewhere: a port that is forwarded leads there.
fn advised(fault: Fault, target: &Target, namespace: &str) -> Fault {
    if fault.kind != FaultKind::Unreachable || target.host.starts_with('/') {
        return fault;
    }
    let url = format!("PGREEVE_DATABASE_URL=postgresql://{}@127.0.0.1:5432/{} (and PGPASSWORD)", target.user, target.database);
    let advice = match service(&target.host, namespace) {
        Some((service, namespace)) => format!(
            "{service} is a Service of the cluster, which leads nowhere from outside. Run: kubectl port-forward -n {namespace} service/{service} 5432:{}; then set {url}",
            target.port
        ),
        None => format!(
            "If only the cluster reaches this host, forward a port to it (kubectl port-forward -n {namespace} POD 5432:{}); then set {url}",
            target.port
        ),
    };
    fault.advise(advice)
}

/// The Service and its namespace, of a name that only a cluster knows (Kubernetes, "DNS for Services and Pods").
fn service<'a>(host: &'a str, ours: &str) -> Option<(&'a str, &'a str)> {
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    match labels.as_slice() {
        [service, namespace, "svc", ..] => Some((service, namespace)),
        // Two labels can be anything; those of our own namespace are most likely what a name of one label became.
        [service, namespace] if *namespace == ours => Some((service, namespace)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_name() {
        for host in ["chat-rw.prod", "chat-rw.prod.svc", "chat-rw.prod.svc.cluster.local", "chat-rw.prod.svc.cluster.local."] {
            assert_eq!(service(host, "prod"), Some(("chat-rw", "prod")), "{host}");
        }
        for host in ["db.example.com", "localhost", "10.0.0.1", "::1", "example.com"] {
            assert_eq!(service(host, "prod"), None, "{host}");
        }
    }
}
