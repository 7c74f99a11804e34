//! How far is a restore? Told as it changes, until its plan is there, and until its end.

use std::time::Duration;

use kube::ResourceExt as _;
use tokio::time::Instant;

use super::super::exit::{Exit, Failure};
use super::super::kubernetes::Cluster;
use super::super::{Globals, output};
use crate::api::Restore;
use crate::api::condition::{READY, STALLED, find};
use crate::api::restore::{RestoreStatus, Step};
use crate::cluster::workloads::UP;
use crate::plan::restore::report::COMPLETE;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// After which time without a word of an operator one should be looked for.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest that a plan is waited for.
const PATIENCE: Duration = Duration::from_secs(900);

/// The status once the plan is there.
///
/// # Errors
/// Exit code 3 where something is in the way, or no plan comes.
pub async fn to_its_plan(
    cluster: &Cluster,
    namespace: &str,
    restore: &Restore,
    globals: &Globals,
) -> Result<RestoreStatus, Failure> {
    let (begun, mut told) = (Instant::now(), Told::new(globals));
    loop {
        let found = look(cluster, namespace, restore).await?;
        let status = found.status.clone().filter(|status| status.observed_generation == found.metadata.generation);
        match status {
            Some(status) if message(&status, STALLED).is_some() => {
                return Err(Failure::new(Exit::Blocked, message(&status, STALLED).unwrap_or_default()));
            }
            Some(status) if status.step == Step::AwaitingConfirmation && status.plan.is_some() => return Ok(status),
            Some(status) => told.tell(&status),
            None if begun.elapsed() > SILENCE => {
                told.say("No operator has answered yet; does one run, and does it watch this namespace?".into());
            }
            None => {}
        }
        if begun.elapsed() > PATIENCE {
            let message = format!("there is no plan after {} minutes: {}", PATIENCE.as_secs() / 60, told.last);
            return Err(Failure::new(Exit::Blocked, message));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Follows it until the restored database is in use, or everything is back as it was.
///
/// # Errors
/// Why it failed; that this was interrupted, which ends nothing.
pub async fn to_its_end(cluster: &Cluster, namespace: &str, restore: &Restore, globals: &Globals) -> Result<Exit, Failure> {
    tokio::select! {
        end = end(cluster, namespace, restore, globals) => end,
        _ = tokio::signal::ctrl_c() => {
            let name = restore.name_any();
            let message = format!("interrupted; the restore goes on in the cluster: kubectl -n {namespace} get restore {name} --watch");
            Err(Failure::new(Exit::Error, message))
        }
    }
}

async fn end(cluster: &Cluster, namespace: &str, restore: &Restore, globals: &Globals) -> Result<Exit, Failure> {
    let mut told = Told::new(globals);
    loop {
        let found = look(cluster, namespace, restore).await?;
        let status = found.status.clone().unwrap_or_default();
        told.tell(&status);
        let is_complete = find(&status.conditions, COMPLETE).is_some_and(|found| found.status == "True");
        match &status.failure {
            Some(failure) if status.step == Step::Done => {
                left(&status, globals);
                return Err(Failure::new(Exit::Error, format!("the restore has failed: {failure}")));
            }
            None if is_complete => {
                left(&status, globals);
                output::write(&done(namespace, &found, &status))?;
                return Ok(Exit::Ok);
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn look(cluster: &Cluster, namespace: &str, restore: &Restore) -> Result<Restore, Failure> {
    let found = cluster.get::<Restore>(namespace, &restore.name_any()).await?;
    found
        .filter(|found| found.metadata.uid == restore.metadata.uid)
        .ok_or_else(|| Failure::new(Exit::Error, format!("Restore {namespace}/{} was deleted by somebody", restore.name_any())))
}

/// What a condition says, if it is true.
fn message(status: &RestoreStatus, condition: &str) -> Option<String> {
    find(&status.conditions, condition).filter(|found| found.status == "True").map(|found| found.message.clone())
}

/// Workloads that are not as they were.
fn left(status: &RestoreStatus, globals: &Globals) {
    for workload in &status.workloads {
        if let Some(state) = workload.state.as_deref().filter(|state| *state != UP) {
            globals.say(&format!("{} {}: {state}", workload.kind, workload.name));
        }
    }
}

fn done(namespace: &str, restore: &Restore, status: &RestoreStatus) -> String {
    let database = status.database.as_deref().unwrap_or_default();
    let moment = status.chosen.as_ref().map(|chosen| format!("as it was at {:.0}", chosen.snapshot_at.0));
    let mut text = format!("Database {database} is {}", moment.unwrap_or_else(|| "restored".into()));
    if let Some(rows) = status.verification.as_ref().and_then(|verification| verification.rows_matched) {
        text.push_str(&format!("; {rows} rows were counted, and are as many as were backed up"));
    }
    if let Some(millis) = status.fenced_millis {
        text.push_str(&format!("; it accepted no connection for {millis} ms"));
    }
    text.push('\n');
    if let (Some(previous), Some(until)) = (&status.previous_database, &status.rollback_until) {
        text.push_str(&format!(
            "The former one is {previous} until {:.0}; it comes back with: kubectl -n {namespace} patch restore {} --type merge -p '{{\"spec\":{{\"rollback\":true}}}}'\n",
            until.0,
            restore.name_any()
        ));
    }
    text
}

/// Says each thing once.
struct Told<'a> {
    globals: &'a Globals,
    last: String,
}

impl<'a> Told<'a> {
    fn new(globals: &'a Globals) -> Self {
        Self { globals, last: String::new() }
    }

    fn tell(&mut self, status: &RestoreStatus) {
        let message = find(&status.conditions, READY).map(|ready| ready.message.clone()).unwrap_or_default();
        if !message.is_empty() {
            self.say(format!("{:<12} {message}", format!("{:?}", status.step)));
        }
    }

    fn say(&mut self, text: String) {
        if self.last != text {
            self.globals.say(&text);
            self.last = text;
        }
    }
}
