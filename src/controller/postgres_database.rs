//! What does a pass of PostgresDatabase do? Connect, look who and where we are, check what its policies need, create extensions.

use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;

use super::databases::{Lease, budget};
use super::kind::{self, Report};
use super::{Context, Nudge};
use crate::api::condition::{READY, find};
use crate::api::{PartitionPolicy, PostgresDatabase, PostgresDatabaseStatus, Reason};
use crate::cluster::objects;
use crate::metrics::DatabaseLabels;
use crate::pass;
use crate::plan::action::Blocked;
use crate::plan::database::{self, Finding, Sight};
use crate::postgres::{Session, details, server};

/// The kind, for the driver.
pub(crate) struct Kind {
    context: Context,
}

impl Kind {
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    /// Also the names of the policies.
    async fn work(&self, object: &PostgresDatabase) -> Result<(Sight, Vec<String>), Blocked> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        budget(object)?;
        let databases = &self.context.databases;
        // Anew each time: this pass is the one that notices a changed Secret, host or certificate.
        databases.forget(&namespace, &name);
        let target = databases.target(object, &namespace, &name).await?;
        let mut lease = databases.acquire(&namespace, &name).await?;
        let what = format!("PostgresDatabase {name} ({target})");
        let found = self.look(&what, object, &lease).await;
        if found.is_err() {
            lease.discard();
        }
        let (mut sight, policies) = found?;
        let fault = |fault| pass::blocked(&what, &fault);
        sight.server.transaction_pooling = server::pools_transactions(lease.session()?, &target).await.map_err(fault)?;
        sight.server.system_identifier = server::system_identifier(lease.session()?).await;
        if let Some(refused) = pass::unwritable(&sight.server) {
            return Ok((Sight { refused: Some(refused), ..sight }, policies));
        }
        self.extend(object, &lease, &mut sight).await?;
        Ok((sight, policies))
    }

    /// Looks for all policies of the database, page by page: there may be thousands.
    async fn look(&self, what: &str, object: &PostgresDatabase, lease: &Lease) -> Result<(Sight, Vec<String>), Blocked> {
        let namespace = object.namespace().unwrap_or_default();
        let fault = |fault| pass::blocked(what, &fault);
        let (mut names, mut lacking) = (Vec::new(), Vec::new());
        let mut wanted = ListParams::default().fields(&format!("spec.databaseRef.name={}", object.name_any()));
        loop {
            let page = objects::page::<PartitionPolicy>(&self.context.client, &namespace, &wanted).await;
            let (policies, next) = page.map_err(|error| objects::unavailable("PartitionPolicies", &error))?;
            let references: Vec<&PartitionPolicy> = policies.iter().collect();
            let looked = pass::look(&references, lease.session()?, self.context.config.clock.now()).await.map_err(fault)?;
            let blocked = looked.plans.into_iter().flat_map(|plan| plan.blocked);
            lacking.extend(blocked.filter(|blocked| blocked.reason == Reason::MissingPrivilege));
            names.extend(policies.iter().map(|policy| policy.name_any()));
            let Some(next) = next else {
                let sight = Sight { server: looked.server, policies: names.len(), lacking, refused: None, created: vec![] };
                return Ok((sight, names));
            };
            wanted = next;
        }
    }

    /// Creates the extensions that lack, as the admin where there is one.
    async fn extend(&self, object: &PostgresDatabase, lease: &Lease, sight: &mut Sight) -> Result<(), Blocked> {
        if object.spec.extensions.is_empty() {
            return Ok(());
        }
        let name = object.name_any();
        let fault = |fault| pass::blocked(&format!("PostgresDatabase {name}: extensions"), &fault);
        let installed = details::extensions(lease.session()?).await.map_err(fault)?;
        let plan = database::plan(object, &installed);
        sight.lacking.extend(plan.blocked.iter().cloned());
        if plan.actions.is_empty() {
            return Ok(());
        }
        let admin = match &object.spec.admin_secret_ref {
            None => None,
            Some(secret) => {
                let namespace = object.namespace().unwrap_or_default();
                let target = self.context.databases.admin_target(object, &namespace, &name, secret).await?;
                Some(Session::open(&target).await.map_err(fault)?)
            }
        };
        let session = match &admin {
            Some(session) => session,
            None => lease.session()?,
        };
        let _worker = lease.worker().await;
        let outcome = pass::execute(session, &plan, lease.budget).await;
        match outcome.first_problem() {
            Some((action, result)) => {
                let (reason, message) = crate::plan::status::problem(action, result);
                sight.refused =
                    Some(Blocked::new(reason, format!("{message}; spec.adminSecretRef may name a role that is allowed to")));
            }
            None => sight.created = plan.actions.iter().map(|action| action.subject().to_owned()).collect(),
        }
        Ok(())
    }

    /// Policies that waited for this database need not wait for their backoff.
    fn nudge(&self, namespace: &str, policies: Vec<String>) {
        for name in policies {
            // Without a listener the operator is stopping.
            drop(self.context.nudges.send(Nudge { kind: "PartitionPolicy", namespace: namespace.to_owned(), name }));
        }
    }
}

impl kind::Kind for Kind {
    type Object = PostgresDatabase;
    const NAME: &'static str = "PostgresDatabase";
    const FIELD_MANAGER: &'static str = "pgreeve-postgresdatabase";

    async fn pass(&self, object: &PostgresDatabase, requested: Option<&str>) -> Report {
        let now = self.context.config.clock.now();
        let previous = object.status.clone().unwrap_or_default();
        let seen = if object.spec.suspend { Err(Blocked::new(Reason::Suspended, "suspended")) } else { self.work(object).await };
        let (seen, policies) = match seen {
            Ok((sight, policies)) => (Ok(sight), policies),
            Err(blocked) => (Err(blocked), vec![]),
        };
        let finding = match &seen {
            _ if object.spec.suspend => Finding::Suspended,
            Ok(sight) => Finding::Seen(sight),
            Err(blocked) => Finding::Refused(blocked),
        };
        let labels = labels(&object.namespace().unwrap_or_default(), &object.name_any());
        self.context.metrics.database_up.get_or_create(&labels).set(seen.is_ok().into());
        let state = database::state(&finding);
        let was_ready = find(&previous.conditions, READY).is_some_and(|ready| ready.status == "True");
        if state.ready && !was_ready {
            self.nudge(&object.namespace().unwrap_or_default(), policies);
        }
        let status = database::report(&previous, object.metadata.generation, requested, &finding, now);
        let created = seen.as_ref().ok().filter(|sight| !sight.created.is_empty());
        Report {
            applied: created.map(|sight| (Reason::Applied, format!("create extension {}", sight.created.join(", ")))),
            status: serde_json::to_value(status).unwrap_or_default(),
            state,
            due: None,
            pending: 0,
        }
    }

    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report {
        let previous: PostgresDatabaseStatus = serde_json::from_value(previous.clone()).unwrap_or_default();
        let finding = Finding::Refused(blocked);
        let status = database::report(&previous, generation, None, &finding, self.context.config.clock.now());
        Report {
            state: database::state(&finding),
            status: serde_json::to_value(status).unwrap_or_default(),
            applied: None,
            due: None,
            pending: 0,
        }
    }

    fn forget(&self, namespace: &str, name: &str) {
        self.context.databases.forget(namespace, name);
        self.context.metrics.database_up.remove(&labels(namespace, name));
    }
}

fn labels(namespace: &str, name: &str) -> DatabaseLabels {
    DatabaseLabels { namespace: namespace.to_owned(), name: name.to_owned() }
}
