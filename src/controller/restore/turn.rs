//! What does one pass of a Restore work with? A session with the lock on the database's name, what is seen in it, and the status that it
//! changes.

use kube::ResourceExt as _;
use kube::api::ListParams;

use super::super::Context;
use crate::api::restore::{RestoreStatus, Step};
use crate::api::{PostgresDatabase, Reason, Restore};
use crate::cluster::jobs::Owner;
use crate::cluster::objects::{self, Fetched};
use crate::pass;
use crate::plan::action::Blocked;
use crate::plan::restore::rivals::Of;
use crate::plan::restore::sight::{Places, Sight};
use crate::plan::restore::{Facts, names, replace};
use crate::postgres::{Session, claim, databases};
use crate::target;

/// One pass, from its session to its status.
pub(super) struct Turn<'a> {
    pub context: &'a Context,
    pub object: &'a Restore,
    pub owner: &'a Owner,
    /// Name of the database that is restored.
    pub target: String,
    pub session: Session,
    pub sight: Sight,
    pub status: RestoreStatus,
    /// Another Restore, by whose work there is a database of the name again that this one has dropped.
    successor: Option<String>,
}

impl<'a> Turn<'a> {
    /// Connects, takes the lock and looks.
    pub async fn begin(
        context: &'a Context,
        object: &'a Restore,
        owner: &'a Owner,
        status: RestoreStatus,
    ) -> Result<Self, Blocked> {
        let namespace = &owner.namespace;
        let name = &object.spec.database_ref.name;
        let what = format!("PostgresDatabase {name}");
        let found = objects::fetch::<PostgresDatabase>(&context.client, namespace, name).await;
        let found = found.map_err(|error| objects::unavailable(&what, &error))?;
        let absent = || {
            Blocked::new(
                Reason::DatabaseNotFound,
                format!("there is no {what} in namespace {namespace}; correct spec.databaseRef"),
            )
        };
        let database = found.ok_or_else(absent)?.typed;
        let database = database.map_err(|error| Blocked::new(Reason::InvalidSpec, format!("{what}: {error}")))?;
        if database.spec.suspend {
            return Err(Blocked::new(Reason::DatabaseNotReady, format!("{what} is suspended; set its spec.suspend to false")));
        }
        let ours = target::of(&context.client, &database, namespace, name).await?;
        let target = object.spec.target_database.clone().unwrap_or_else(|| ours.database.clone());
        let planned = status.chosen.as_ref().and_then(|chosen| chosen.system_identifier.as_deref());
        waits(context, object, Of { reference: &object.spec.database_ref, name: &target, system: planned }, &status).await?;
        let login = match &database.spec.admin_secret_ref {
            None => ours,
            Some(admin) => target::of_admin(&context.client, &database, namespace, name, admin).await?,
        };
        let fault = |fault| pass::blocked(&format!("{what} ({login})"), &fault);
        let session = databases::maintenance(&login, &target).await.map_err(fault)?;
        if !claim::take(&session, &target).await.map_err(fault)? {
            let message = format!("another pgreeve is at work on the restore of database {target}");
            return Err(Blocked::new(Reason::OtherOperator, message));
        }
        let mut turn = Self { context, object, owner, target, session, sight: Sight::default(), status, successor: None };
        match turn.look(&format!("{what} ({login})")).await {
            Ok(()) => Ok(turn),
            Err(blocked) => {
                claim::give_back(turn.session).await;
                Err(blocked)
            }
        }
    }

    /// What is so now that nobody else may change it.
    async fn look(&mut self, what: &str) -> Result<(), Blocked> {
        unchanged(self.context, self.object, self.owner).await?;
        let wanted = wanted(&self.target, &self.owner.uid, &self.status);
        let sight = databases::look(&self.session, &wanted).await;
        self.sight = sight.map_err(|fault| pass::blocked(what, &fault))?;
        let has_begun = self.status.step > Step::AwaitingConfirmation;
        if let Some(elsewhere) = self.sight.elsewhere(&self.status).filter(|_| has_begun) {
            return Err(elsewhere);
        }
        // Another one may have begun since, or be of the same server by another PostgresDatabase.
        waits(self.context, self.object, self.of(), &self.status).await?;
        self.status.database = Some(self.target.clone());
        self.successor = self.find_successor().await?;
        Ok(())
    }

    /// The status, and the session whose lock stands until it is written.
    pub fn end(self) -> (RestoreStatus, Session) {
        (self.status, self.session)
    }

    /// The status alone: nobody waits for its being written.
    pub async fn over(self) -> RestoreStatus {
        claim::give_back(self.session).await;
        self.status
    }

    /// Whether the database of the name was seen to accept no connections.
    pub fn is_closed(&self) -> bool {
        self.places().live.is_some_and(|live| !live.is_open)
    }

    /// Whether there is no database of the name any more, and none that could get it back.
    pub fn is_dropped(&self) -> bool {
        replace::is_dropped(&self.facts(), &self.places())
    }

    pub fn places(&self) -> Places<'_> {
        self.facts().places()
    }

    /// The database that it is of.
    fn of(&self) -> Of<'_> {
        let system = self.sight.system_identifier.as_deref();
        Of { reference: &self.object.spec.database_ref, name: &self.target, system }
    }

    /// The Restore that has made the database of the name, where this one has dropped that.
    async fn find_successor(&self) -> Result<Option<String>, Blocked> {
        let Some(live) = self.places().live.filter(|_| replace::gives_way(&self.status)) else { return Ok(None) };
        let others = others(self.context, self.object).await?;
        Ok(self.of().maker(&others, live.oid))
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts {
            uid: &self.owner.uid,
            spec: &self.object.spec,
            status: &self.status,
            target: &self.target,
            sight: &self.sight,
            generation: self.object.metadata.generation,
            successor: self.successor.as_deref(),
            now: self.context.config.clock.now(),
        }
    }
}

fn wanted(target: &str, uid: &str, status: &RestoreStatus) -> databases::Wanted {
    let replaces = status.chosen.as_ref().and_then(|chosen| chosen.replaces);
    let oids = [status.restored_oid, replaces].into_iter().flatten().filter_map(|oid| u32::try_from(oid).ok());
    databases::Wanted {
        names: vec![target.to_owned(), names::beside(target, uid), names::previous(target, uid)],
        oids: oids.collect(),
        uid: uid.to_owned(),
    }
}

/// What was read before the lock was taken may be what another operator has acted on meanwhile.
async fn unchanged(context: &Context, object: &Restore, owner: &Owner) -> Result<(), Blocked> {
    let fetched = objects::fetch::<Restore>(&context.client, &owner.namespace, &owner.name).await;
    let fetched = fetched.map_err(|error| objects::unavailable(&format!("Restore {}", owner.name), &error))?;
    match fetched {
        Some(Fetched { typed: Ok(now), .. })
            if now.status == object.status
                && now.metadata.generation == object.metadata.generation
                && now.metadata.uid == object.metadata.uid =>
        {
            Ok(())
        }
        _ => Err(Blocked::new(Reason::Stale, "the Restore has changed meanwhile; the next pass goes on")),
    }
}

/// One restore of a database at a time: an older one that is under way goes first.
async fn waits(context: &Context, object: &Restore, of: Of<'_>, status: &RestoreStatus) -> Result<(), Blocked> {
    if status.step > Step::AwaitingConfirmation {
        return Ok(());
    }
    let listed = list(context, object).await?;
    let is_near =
        |other: &&Fetched<Restore>| other.typed.as_ref().is_ok_and(|other| other.spec.database_ref == object.spec.database_ref);
    if let Some(unread) = listed.iter().filter(is_near).find(|other| may_be_under_way(other)) {
        let message =
            format!("Restore {} may be under way, and its status cannot be read: see what it says", unread.raw.name_any());
        return Err(Blocked::new(Reason::RestoreWaits, message));
    }
    let others: Vec<Restore> = listed.into_iter().filter_map(|other| other.typed.ok()).collect();
    of.waits(&others).map_or(Ok(()), Err)
}

/// All other Restores of the namespace. One that our types cannot read does nothing.
async fn others(context: &Context, object: &Restore) -> Result<Vec<Restore>, Blocked> {
    Ok(list(context, object).await?.into_iter().filter_map(|other| other.typed.ok()).collect())
}

async fn list(context: &Context, object: &Restore) -> Result<Vec<Fetched<Restore>>, Blocked> {
    let namespace = object.namespace().unwrap_or_default();
    let listed = objects::list_whole::<Restore>(&context.client, &namespace, ListParams::default()).await;
    let mut listed = listed.map_err(|error| objects::unavailable("Restores", &error))?;
    listed.retain(|other| other.raw.uid() != object.uid());
    Ok(listed)
}

/// Whether it has a status that our types cannot read, and whose step does not say that nothing is on its way.
fn may_be_under_way(other: &Fetched<Restore>) -> bool {
    let status = &other.raw.data["status"];
    let is_unread = !status.is_null() && other.typed.as_ref().is_ok_and(|typed| typed.status.is_none());
    let rests = |step: Step| step <= Step::AwaitingConfirmation || step >= Step::Keeping;
    is_unread && !serde_json::from_value(status["step"].clone()).is_ok_and(rests)
}
