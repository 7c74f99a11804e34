//! `pgreeve backup --schedule`: a Backup in a cluster, now, as a BackupSchedule makes them.

use std::time::Duration;

use clap::Args;
use kube::ResourceExt as _;

use super::super::exit::{Exit, Failure};
use super::super::kubernetes::{Cluster, named};
use super::super::{Globals, output};
use crate::api::backup::{BackupSpec, BackupStatus, SCHEDULE_LABEL, VerifyLevel};
use crate::api::condition::{READY, STALLED, find};
use crate::api::{Backup, BackupSchedule};
use crate::plan::size::bytes;

/// Which schedule of which cluster.
#[derive(Args, Debug)]
pub struct ScheduleArgs {
    /// Makes a Backup in a cluster with the settings of this BackupSchedule, which counts it among its own, and waits for it
    #[arg(long, value_name = "NAME", conflicts_with_all = [
        "to", "format", "jobs", "schemas", "tables", "exclude_tables", "exclude_rows", "schema_only", "data_only", "no_globals", "level",
        "recipients_file", "verify", "endpoint", "region", "ca_file", "programs", "scratch", "identity_file", "database_url_env",
        "database_url_file",
    ])]
    schedule: Option<String>,
    /// With --schedule: ends once the Backup is made
    #[arg(long, requires = "schedule")]
    no_wait: bool,
    /// With --schedule: namespace [default: the context's]
    #[arg(short, long, value_name = "NAME", requires = "schedule")]
    namespace: Option<String>,
    /// With --schedule: kube context of the cluster [default: the present context]
    #[arg(long, value_name = "NAME", requires = "schedule")]
    context: Option<String>,
}

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

impl ScheduleArgs {
    /// Makes the Backup, if a schedule is named. `None` where none is.
    pub async fn run(&self, globals: &Globals) -> Result<Option<Exit>, Failure> {
        let Some(name) = &self.schedule else { return Ok(None) };
        let cluster =
            Cluster::find(self.context.as_deref(), "a schedule is one of a cluster: run this where one is at hand").await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| cluster.namespace.clone());
        let Some(schedule) = cluster.get::<BackupSchedule>(&namespace, name).await? else {
            let message = format!("BackupSchedule {namespace}/{name} does not exist in {}", cluster.name());
            return Err(Failure::new(Exit::Error, message));
        };
        let wanted = backup(&namespace, schedule, globals);
        let made = cluster.create(&namespace, &wanted).await?;
        let what = format!("Backup {namespace}/{}", made.name_any());
        if self.no_wait {
            output::line(&what)?;
            return Ok(Some(Exit::Ok));
        }
        globals.say(&format!("{what} is made; an interrupt ends the waiting and not the backup."));
        follow(&cluster, &namespace, &made, globals).await.map(Some)
    }
}

/// As the schedule makes them: its retention counts it.
fn backup(namespace: &str, schedule: BackupSchedule, globals: &Globals) -> Backup {
    let name = schedule.name_any();
    let mut metadata = named(namespace, &format!("{name}-{}", globals.now().strftime("%Y%m%d-%H%M%S")));
    metadata.labels = Some([(SCHEDULE_LABEL.to_owned(), name)].into());
    let spec = BackupSpec {
        database_ref: schedule.spec.database_ref,
        settings: schedule.spec.backup,
        hold: false,
        deletion_policy: schedule.spec.deletion_policy,
    };
    Backup { metadata, spec, status: None }
}

async fn follow(cluster: &Cluster, namespace: &str, made: &Backup, globals: &Globals) -> Result<Exit, Failure> {
    let mut last = String::new();
    loop {
        let found = cluster.get::<Backup>(namespace, &made.name_any()).await?;
        let Some(found) = found.filter(|found| found.metadata.uid == made.metadata.uid) else {
            let message = format!("Backup {namespace}/{} was deleted by somebody", made.name_any());
            return Err(Failure::new(Exit::Error, message));
        };
        let status = found.status.unwrap_or_default();
        let said = find(&status.conditions, READY).map(|ready| ready.message.clone()).unwrap_or_default();
        let is_true = |kind: &str| find(&status.conditions, kind).is_some_and(|found| found.status == "True");
        if is_true("Failed") {
            return Err(Failure::new(Exit::Error, format!("the backup has failed: {said}")));
        }
        if is_true(STALLED) {
            let again = if status.unproven.is_some() { "" } else { ", and is tried again now and then" };
            return Err(Failure::new(Exit::Blocked, format!("{said}; the Backup stays{again}")));
        }
        let wanted = made.spec.settings.verify;
        let proven = status.verification.as_ref().map_or(VerifyLevel::None, |proof| proof.level);
        if is_true("Complete") && (wanted == VerifyLevel::None || is_true("Verified") && proven >= wanted) {
            output::write(&done(&status))?;
            return Ok(Exit::Ok);
        }
        if said != last {
            globals.say(&said);
            last = said;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn done(status: &BackupStatus) -> String {
    let tables = status.tables.clone().unwrap_or_default();
    let proven = status.verification.as_ref().map_or("not at all".into(), |proven| proven.level.to_string());
    format!(
        "Backup    {}\nStored    {}, {} tables with {} rows\nProven    {proven}\n",
        status.url.as_deref().unwrap_or_default(),
        status.size_bytes.map_or_else(|| "–".into(), bytes),
        tables.count,
        tables.rows,
    )
}
