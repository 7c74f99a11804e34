//! `pgreeve restore DATABASE`: a Restore is written, its plan shown, its word asked for, and its way followed.

use clap::{Args, ValueEnum};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use super::super::Globals;
use super::super::exit::{Exit, Failure};
use super::super::kubernetes::{Cluster, named};
use super::{confirm, follow, pick, workload};
use crate::api::policy::DatabaseRef;
use crate::api::restore::{OnFailure, RestoreSource, Strategy, Workload};
use crate::api::{PostgresDatabase, Restore, Span};

/// What is restored, from what and beside whom.
#[derive(Args, Debug)]
pub struct InCluster {
    /// The PostgresDatabase; the only one of the namespace without this
    #[arg(value_name = "DATABASE")]
    database: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// The database on its server that is restored, where it is another one
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// How the restored database takes its place
    #[arg(long, value_enum, default_value_t, value_name = "STRATEGY")]
    strategy: Way,
    /// With strategy replace: no verified backup of the replaced database is asked for
    #[arg(long)]
    skip_safety_backup: bool,
    /// What is scaled to nothing meanwhile, and back: Deployment/NAME, StatefulSet/NAME, CronJob/NAME, KIND.VERSION.GROUP/NAME, or a label
    /// selector for NAME; may be given again
    #[arg(long = "workload", value_name = "KIND/NAME", value_parser = workload::parse)]
    workloads: Vec<Workload>,
    /// How long the replaced database is kept for a rollback, such as 24h
    #[arg(long, value_name = "SPAN")]
    keep_previous: Option<Span>,
    /// Workloads stay down where the restore fails
    #[arg(long)]
    stay_down: bool,
    /// The name of the database that is replaced, typed ahead: nobody is asked
    #[arg(long, value_name = "NAME", conflicts_with = "dry_run")]
    yes_restore: Option<String>,
    /// Shows the plan, and removes the Restore again
    #[arg(long)]
    dry_run: bool,
    /// Name of the Restore [default: the database's, with the time]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Namespace [default: the context's]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Kube context of the cluster [default: the present context]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Which backup.
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// This Backup
    #[arg(long, value_name = "NAME", conflicts_with_all = ["schedule", "latest", "latest_verified", "url"])]
    pub backup: Option<String>,
    /// The one with this manifest: s3://bucket/key, gs://bucket/key, az://account/container/key or pvc://claim/key, as `pgreeve backups` shows it
    #[arg(long, value_name = "MANIFEST", conflicts_with_all = ["schedule", "latest", "latest_verified"])]
    pub url: Option<String>,
    #[command(flatten)]
    pub store: StoreOfUrl,
    /// The newest verified one of this BackupSchedule
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<String>,
    /// The newest one that was read back whole or restored
    #[arg(long, conflicts_with = "latest")]
    pub latest_verified: bool,
    /// The newest complete one, verified or not
    #[arg(long)]
    pub latest: bool,
}

/// How the cluster opens the store of a URL.
#[derive(Args, Debug)]
pub struct StoreOfUrl {
    /// With --url: Secret with the keys of its store; without it, the service account of the Jobs opens it
    #[arg(long, value_name = "NAME")]
    pub store_secret: Option<String>,
    /// With --url: Secret whose key `identity` decrypts the backup
    #[arg(long, value_name = "NAME")]
    pub identity_secret: Option<String>,
    /// With --url: address of a store that is not Amazon's, Google's or Azure's own
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// With --url: region of the bucket
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
}

impl StoreOfUrl {
    /// One of the options that is given. That they need --url is checked by us: clap asks for nothing that conflicts with what is there, such as
    /// --backup.
    fn given(&self) -> Option<&'static str> {
        let options = [
            (&self.store_secret, "--store-secret"),
            (&self.identity_secret, "--identity-secret"),
            (&self.endpoint, "--endpoint"),
            (&self.region, "--region"),
        ];
        options.into_iter().find(|(value, _)| value.is_some()).map(|(_, option)| option)
    }
}

/// How a restored database takes the place of what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Way {
    /// It is restored beside the other, then the two change names
    #[default]
    Swap,
    /// The other is dropped first
    Replace,
    /// It becomes a database of a name that is not taken, which --target gives
    New,
}

impl From<Way> for Strategy {
    fn from(way: Way) -> Self {
        match way {
            Way::Swap => Self::Swap,
            Way::Replace => Self::Replace,
            Way::New => Self::New,
        }
    }
}

/// What came of asking for the word.
enum Word {
    /// It was given, and the restore goes on.
    Given,
    /// It was not asked for.
    Kept,
    /// Whether it has arrived is not known.
    Unknown(Failure),
}

impl InCluster {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let SourceArgs { backup, url, schedule, latest, latest_verified, .. } = &self.source;
        if backup.is_none() && url.is_none() && schedule.is_none() && !latest && !latest_verified {
            let message = "which backup? Give --backup NAME, --schedule NAME, --latest-verified, --latest or --url MANIFEST; \
                without a cluster: pgreeve restore backup MANIFEST";
            return Err(Failure::new(Exit::Usage, message));
        }
        if let (None, Some(option)) = (url, self.source.store.given()) {
            return Err(Failure::new(
                Exit::Usage,
                format!("{option} says how the store of --url is opened: give --url too, or leave it out"),
            ));
        }
        let cluster =
            Cluster::find(self.context.as_deref(), "a Restore is made in a cluster: run this where one is at hand").await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| cluster.namespace.clone());
        let database = self.database(&cluster, &namespace).await?;
        let source = pick::source(&self.source, self.strategy.into(), &cluster, (&namespace, &database)).await?;
        let wanted = self.object(&namespace, &database, source, globals)?;
        let made = cluster.create(&namespace, &wanted).await?;
        let name = made.name_any();
        globals.say(&format!("Restore {namespace}/{name} is written with dryRun; nothing is done before its plan is confirmed."));
        match self.confirmed(&cluster, &namespace, &made, globals).await {
            Ok(Word::Given) => follow::to_its_end(&cluster, &namespace, &made, globals).await,
            Ok(Word::Kept) => self.removed(&cluster, &namespace, &made, globals).await.map(|()| Exit::Ok),
            Ok(Word::Unknown(failure)) => Err(failure),
            Err(failure) => {
                self.removed(&cluster, &namespace, &made, globals).await?;
                Err(failure)
            }
        }
    }

    /// The name of the PostgresDatabase.
    async fn database(&self, cluster: &Cluster, namespace: &str) -> Result<String, Failure> {
        if let Some(name) = &self.database {
            return cluster.database(namespace, name).await.map(|_| name.clone());
        }
        let found: Vec<PostgresDatabase> = cluster.all(namespace, ListParams::default()).await?;
        match &found[..] {
            [only] => Ok(only.name_any()),
            [] => Err(Failure::new(
                Exit::Usage,
                format!("namespace {namespace} has no PostgresDatabase: choose another one with -n"),
            )),
            several => {
                let names: Vec<String> = several.iter().map(|found| found.name_any()).collect();
                let message = format!("namespace {namespace} has several PostgresDatabases: name one of {}", names.join(", "));
                Err(Failure::new(Exit::Usage, message))
            }
        }
    }

    /// The Restore as it is first written.
    fn object(&self, namespace: &str, database: &str, source: RestoreSource, globals: &Globals) -> Result<Restore, Failure> {
        let strategy = Strategy::from(self.strategy);
        let usual = || format!("{database}-{}", globals.now().strftime("%Y%m%d-%H%M%S"));
        let mut spec = json!({
            "databaseRef": DatabaseRef { name: database.to_owned() }, "source": source, "strategy": strategy, "dryRun": true,
            "targetDatabase": self.target, "workloads": self.workloads, "skipSafetyBackup": self.skip_safety_backup,
            "onFailure": if self.stay_down { OnFailure::StayDown } else { OnFailure::ScaleUp },
        });
        if let Some(keep) = &self.keep_previous {
            spec["keepPrevious"] = json!(keep);
        }
        let metadata = named(namespace, &self.name.clone().unwrap_or_else(usual));
        Ok(Restore { metadata, spec: serde_json::from_value(spec)?, status: None })
    }

    /// Shows the plan, has it confirmed, and lets it go: a dry run ends with the plan.
    async fn confirmed(&self, cluster: &Cluster, namespace: &str, made: &Restore, globals: &Globals) -> Result<Word, Failure> {
        let planned = tokio::select! {
            planned = follow::to_its_plan(cluster, namespace, made, globals) => planned?,
            _ = tokio::signal::ctrl_c() => return Err(confirm::interrupted()),
        };
        confirm::show(namespace, &made.name_any(), &planned)?;
        if self.dry_run {
            return Ok(Word::Kept);
        }
        let target = planned.database.clone().unwrap_or_default();
        confirm::ask(&target, self.yes_restore.as_deref(), globals).await?;
        // Pinned to the server that the plan is about, where its role may tell which that is.
        let system = planned.chosen.as_ref().and_then(|chosen| chosen.system_identifier.as_ref());
        let confirm = system.map_or_else(|| target.clone(), |system| format!("{target}@{system}"));
        match cluster.merge_spec(namespace, made, json!({"confirm": confirm, "dryRun": false})).await {
            Ok(()) => Ok(Word::Given),
            Err(failure) => self.unsure(cluster, namespace, made, failure).await,
        }
    }

    /// A request that broke off may have arrived all the same.
    async fn unsure(&self, cluster: &Cluster, namespace: &str, made: &Restore, failure: Failure) -> Result<Word, Failure> {
        match cluster.get::<Restore>(namespace, &made.name_any()).await {
            Ok(Some(found)) if found.uid() == made.uid() && found.spec.dry_run => Err(failure),
            Ok(Some(found)) if found.uid() == made.uid() => Ok(Word::Given),
            Ok(_) => Err(failure),
            Err(_) => {
                let name = made.name_any();
                let message = format!(
                    "{:#}; whether Restore {namespace}/{name} was confirmed by it is not known: see kubectl -n {namespace} get restore {name}, and delete it if it is not to go on",
                    failure.error
                );
                Ok(Word::Unknown(Failure::new(failure.exit, message)))
            }
        }
    }

    /// A Restore that was not confirmed has touched nothing, and nobody wants it any more.
    async fn removed(&self, cluster: &Cluster, namespace: &str, made: &Restore, globals: &Globals) -> Result<(), Failure> {
        cluster.delete(namespace, made).await?;
        globals.say(&format!("Restore {namespace}/{} is removed again; nothing was touched.", made.name_any()));
        Ok(())
    }
}
