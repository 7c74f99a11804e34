//! What does a pass of PostgresDatabase do? Connect, look who and where we are, check what its policies need, create extensions.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;

use super::Context;
use super::kind::{self, Report};
use super::sessions::Lease;
use crate::api::condition::{READY, find};
use crate::api::{PartitionPolicy, PostgresDatabase, PostgresDatabaseStatus, Reason};
use crate::cluster::objects;
use crate::metrics::DatabaseLabels;
use crate::pass::{self, NoTasks};
use crate::plan::action::{Action, Blocked};
use crate::plan::database::{self, Finding, Sight};
use crate::plan::outcome::ActionResult;
use crate::plan::status;
use crate::postgres::{Session, details, server};
use crate::target;

/// The kind, for the driver.
pub(crate) struct Kind {
    context: Context,
}

impl Kind {
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    async fn work(&self, object: &PostgresDatabase) -> Result<Sight, Blocked> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        target::budget(&object.spec.limits)?;
        let mut lease = self.context.databases.acquire(&namespace, &name).await?;
        let session = lease.take()?;
        let mut sight = self.look(object, &session).await?;
        sight.server.system_identifier = server::system_identifier(&session).await;
        if let Some(refused) = pass::unwritable(&sight.server) {
            lease.put(session);
            return Ok(Sight { refused: Some(refused), ..sight });
        }
        self.extend(object, lease, session, &mut sight).await?;
        Ok(sight)
    }

    /// Looks for all policies of the database, page by page: there may be thousands.
    async fn look(&self, object: &PostgresDatabase, session: &Session) -> Result<Sight, Blocked> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let fault = |fault| pass::blocked(&format!("PostgresDatabase {name}"), &fault);
        let (mut wanted, mut count, mut lacking) = (of_database(&name), 0, Vec::new());
        loop {
            let (policies, next) = self.page(&namespace, &wanted).await?;
            let references: Vec<&PartitionPolicy> = policies.iter().collect();
            let looked = pass::look(&references, session, self.context.config.clock.now()).await.map_err(fault)?;
            let blocked = looked.plans.into_iter().flat_map(|plan| plan.blocked);
            lacking.extend(blocked.filter(|blocked| blocked.reason == Reason::MissingPrivilege));
            count += policies.len();
            let Some(next) = next else {
                return Ok(Sight { server: looked.server, policies: count, lacking, refused: None, created: vec![] });
            };
            wanted = next;
        }
    }

    /// Creates the extensions that lack, as the admin where there is one.
    async fn extend(
        &self,
        object: &PostgresDatabase,
        mut lease: Lease,
        session: Session,
        sight: &mut Sight,
    ) -> Result<(), Blocked> {
        let name = object.name_any();
        let what = format!("PostgresDatabase {name}: extensions");
        let fault = |fault| pass::blocked(&what, &fault);
        let plan = if object.spec.extensions.is_empty() {
            database::plan(object, &BTreeMap::new())
        } else {
            database::plan(object, &details::extensions(&session).await.map_err(fault)?)
        };
        sight.lacking.extend(plan.blocked.iter().cloned());
        if plan.actions.is_empty() {
            lease.put(session);
            return Ok(());
        }
        let session = match &object.spec.admin_secret_ref {
            None => session,
            Some(secret) => {
                // The admin's connection takes the place of ours: together they might be one too many.
                drop(session);
                let namespace = object.namespace().unwrap_or_default();
                let target = self.context.databases.admin_target(object, &namespace, &name, secret).await?;
                let what = format!("PostgresDatabase {name}: adminSecretRef {} ({target})", secret.name);
                Session::open(&target).await.map_err(|fault| pass::blocked(&what, &fault))?
            }
        };
        let _worker = lease.worker().await;
        let outcome = pass::execute(&session, &plan, lease.budget, &NoTasks, self.context.config.clock.now()).await;
        sight.refused = outcome.first_problem().map(|(action, result)| not_created(action, result));
        let done = outcome.results.iter().filter(|(_, result)| matches!(result, ActionResult::Done { .. }));
        sight.created = done.map(|(action, _)| action.subject().to_owned()).collect();
        Ok(())
    }

    async fn page(&self, namespace: &str, wanted: &ListParams) -> Result<(Vec<PartitionPolicy>, Option<ListParams>), Blocked> {
        let page = objects::page(&self.context.client, namespace, wanted).await;
        page.map_err(|error| objects::unavailable("PartitionPolicies", &error))
    }

    /// Policies that waited for this database need not wait for their backoff, and none goes on saying that all is well.
    async fn nudge(&self, namespace: &str, name: &str) {
        let mut next = Some(of_database(name));
        while let Some(wanted) = next.take() {
            // While the API server is away nobody can say anything; a policy's own next run comes anyway.
            let Ok((policies, following)) = self.page(namespace, &wanted).await else { return };
            for policy in policies {
                self.context.nudges.now("PartitionPolicy", namespace, &policy.name_any());
            }
            next = following;
        }
    }
}

/// What lists the policies of a database.
fn of_database(name: &str) -> ListParams {
    ListParams::default().fields(&format!("spec.databaseRef.name={name}"))
}

/// Why an extension is not there, and who could create it.
fn not_created(action: &Action, result: &ActionResult) -> Blocked {
    let (reason, message) = status::problem(action, result);
    match result {
        ActionResult::Failed { sqlstate: Some(code), .. } if code == "42501" => Blocked::new(
            Reason::MissingPrivilege,
            format!("{message}. Name a Secret of a role that may create it in spec.adminSecretRef, or create it by hand"),
        ),
        _ => Blocked::new(reason, message),
    }
}

impl kind::Kind for Kind {
    type Object = PostgresDatabase;
    const NAME: &'static str = "PostgresDatabase";
    const FIELD_MANAGER: &'static str = "pgreeve-postgresdatabase";

    async fn pass(&self, object: &PostgresDatabase, requested: Option<&str>) -> Report {
        let now = self.context.config.clock.now();
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let previous = object.status.clone().unwrap_or_default();
        let renewed = self.context.databases.renew(object).await;
        let seen = match renewed {
            Ok(()) if object.spec.suspend => Err(Blocked::new(Reason::Suspended, "suspended")),
            Ok(()) => self.work(object).await,
            Err(blocked) => Err(blocked),
        };
        let finding = match &seen {
            _ if object.spec.suspend => Finding::Suspended,
            Ok(sight) => Finding::Seen(sight),
            Err(blocked) => Finding::Refused(blocked),
        };
        self.context.metrics.database_up.get_or_create(&labels(&namespace, &name)).set(seen.is_ok().into());
        let state = database::state(&finding);
        let was_usable = find(&previous.conditions, READY).is_some_and(|ready| ready.reason == Reason::Connected.as_str());
        if (state.reason == Reason::Connected) != was_usable {
            self.nudge(&namespace, &name).await;
        }
        let status = database::report(&previous, object.metadata.generation, requested, &finding, now);
        let created = seen.as_ref().ok().filter(|sight| !sight.created.is_empty());
        Report {
            applied: created.map(|sight| (Reason::Applied, format!("create extension {}", sight.created.join(", ")))),
            status: serde_json::to_value(status).unwrap_or_default(),
            state,
            due: None,
            pending: 0,
            tasks: None,
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
            tasks: None,
        }
    }

    fn forget(&self, namespace: &str, name: &str) {
        self.context.databases.forget(namespace, name);
        self.context.metrics.database_up.remove(&labels(namespace, name));
        let (kind, namespace, name) = (Self::new(self.context.clone()), namespace.to_owned(), name.to_owned());
        tokio::spawn(async move {
            // Without an answer the policies find out on their next pass.
            kind.nudge(&namespace, &name).await;
        });
    }
}

fn labels(namespace: &str, name: &str) -> DatabaseLabels {
    DatabaseLabels { namespace: namespace.to_owned(), name: name.to_owned() }
}
