//! How is a restore played with a fault in it, and what must be so meanwhile and in the end?

use std::path::Path;
use std::time::{Duration, Instant};

use kube::api::{DeleteParams, DynamicObject};
use serde_json::{Value, json};

use crate::support::Patience;
use crate::support::kubefault::WriteFault;
use crate::support::pgproxy::Fault;
use crate::watch::{Seen, Watchman};
use crate::world::{PATIENCE, World};

/// How often is looked whether all is over.
const OFTEN: Duration = Duration::from_millis(50);

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// The restored database takes the place of the other.
    Swap,
    /// The other is dropped first.
    Replace,
    /// A restore that is complete is rolled back.
    Rollback,
    /// It becomes a database of another name.
    New,
    /// The names change on a server that does not let a database be closed.
    Privileges,
}

/// What breaks.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Nothing,
    /// Every effect in PostgreSQL, when it is sent for the first time, and whether the operator dies each time.
    EachSql(Fault, bool),
    /// Every write to Kubernetes, when it is sent for the first time, and whether the operator dies each time.
    EachWrite(WriteFault, bool),
    /// These effects of Jobs in PostgreSQL.
    OfJobs([usize; 3], Fault),
    /// This effect in PostgreSQL, and whether the operator dies with it.
    Sql(usize, Fault, bool),
    /// This write to Kubernetes, and whether the operator dies with it.
    Write(usize, WriteFault, bool),
    /// Somebody deletes the Restore after so many writes.
    Deleted(usize),
    /// Somebody does not want it any more after so many writes.
    Cancelled(usize),
}

impl Cut {
    /// Whether the operator dies of it.
    fn kills(self) -> bool {
        matches!(self, Self::Sql(_, _, true) | Self::Write(_, _, true) | Self::EachSql(_, true) | Self::EachWrite(_, true))
    }
}

/// How it went.
#[derive(Debug)]
pub struct Played {
    /// Effects in PostgreSQL.
    pub effects: usize,
    /// Effects of Jobs in PostgreSQL.
    pub effects_of_jobs: usize,
    /// Writes to Kubernetes.
    pub writes: usize,
    /// Which of them are no events, each with what stands in it.
    pub moments: Vec<(usize, String)>,
    /// All that matters in the end.
    pub end: Value,
    /// What was seen meanwhile.
    pub seen: Seen,
    /// How many faults were met.
    pub met: usize,
}

/// A world with a Restore that is about to begin, or complete where it is to be rolled back.
async fn stage(scene: Scene, cut: Cut) -> World {
    let (mut world, backup) = World::copy().await;
    world.workloads().await;
    let name = world.database.name.clone();
    if matches!(cut, Cut::Nothing | Cut::OfJobs(..)) {
        world.watch_jobs();
    }
    world.start_node();
    let workloads = json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "name": "report"}]);
    let spec = match scene {
        Scene::Swap | Scene::Rollback | Scene::Privileges => json!({"confirm": name, "workloads": workloads}),
        Scene::Replace => json!({"confirm": name, "workloads": workloads, "strategy": "Replace"}),
        Scene::New => json!({"targetDatabase": format!("{name}__copy_1"), "strategy": "New"}),
    };
    world.restore("back", &backup, spec).await;
    if scene == Scene::Rollback {
        world.start().await;
        world.wait("back", "Complete", "True", "Restored").await;
        world.stop().await;
        world.patch("back", json!({"spec": {"rollback": true}})).await;
    }
    if scene == Scene::Privileges {
        world.proxy.refuse(|sql| sql.contains("ALLOW_CONNECTIONS").then_some("0A000"));
    }
    let safety = world.volume.join(&name);
    world.proxy.show(move |sql| assert!(may_go(sql, scene, &safety), "{scene:?} must not send: {sql}"));
    world
}

/// Whether a statement drops nothing that is not proven to be elsewhere: in this directory, where the backup lies that is made before.
fn may_go(sql: &str, scene: Scene, safety: &Path) -> bool {
    let drops = sql.contains("DROP DATABASE");
    let is_proven = || {
        let backups = std::fs::read_dir(safety).into_iter().flatten().flatten();
        backups.into_iter().any(|backup| backup.path().join("manifest.json").is_file())
    };
    match scene {
        _ if !drops || sql.contains("__restore_") => true,
        Scene::Replace => sql.contains("__before_") && is_proven(),
        Scene::Swap | Scene::Rollback | Scene::New | Scene::Privileges => false,
    }
}

/// What the Restore says of itself.
fn said(restore: Option<&DynamicObject>, name: &str) -> Value {
    let Some(restore) = restore else { return Value::Null };
    let status = &restore.data["status"];
    let ready = status["conditions"].as_array().into_iter().flatten().find(|found| found["type"] == "Ready");
    let previous = status["previousDatabase"].as_str().map(|previous| kind(previous, name));
    json!({"step": status["step"], "ready": ready.map(|ready| ready["reason"].clone()), "failure": status["failure"],
        "previous": previous})
}

/// What a database is, from its name: empty for that of the name, else the word behind it.
fn kind(database: &str, name: &str) -> String {
    database.strip_prefix(name).unwrap_or_default().split('_').nth(2).unwrap_or_default().to_owned()
}

/// All that matters in the end.
async fn state(world: &World, restore: Option<&DynamicObject>) -> Value {
    let name = &world.database.name;
    let mut databases = Vec::new();
    for found in world.access().await {
        let users = if found.is_open { world.try_one(&found.name, "select count(*) from users").await } else { None };
        let comment = found.comment.map(|comment| if comment.starts_with('{') { "a witness".into() } else { comment });
        databases.push(json!({"kind": kind(&found.name, name), "comment": comment, "open": found.is_open, "users": users,
            "limit": found.limit, "grants": found.grants}));
    }
    // Those whose Restore is gone are the garbage collector's, which there is none of here.
    let jobs = match restore {
        Some(_) => world.kubelet.jobs.list(&Default::default()).await.unwrap().items.len(),
        None => 0,
    };
    json!({"databases": databases, "workloads": world.workloads_now().await, "restore": said(restore, name), "jobs": jobs})
}

/// Whether a Restore that nothing has disturbed is over.
fn is_over(scene: Scene, said: &Value) -> bool {
    match scene {
        Scene::Swap | Scene::Privileges => said["ready"] == "Restored" && said["step"] == "Keeping",
        Scene::Rollback => said["ready"] == "RolledBack",
        Scene::Replace | Scene::New => said["ready"] == "Restored" && said["step"] == "Done",
    }
}

/// Plays it until it has come to one of these ends, or to any where none is given.
pub async fn play(scene: Scene, cut: Cut, ends: &[Value]) -> Result<Played, String> {
    let mut world = stage(scene, cut).await;
    let (effects, writes) = (world.proxy.count(), world.faults.count());
    match cut {
        Cut::Sql(number, fault, _) => world.proxy.plan(effects + number, fault),
        Cut::Write(number, fault, _) => world.faults.plan(writes + number, fault),
        Cut::EachSql(fault, _) => world.proxy.plan_each(fault),
        Cut::EachWrite(fault, _) => world.faults.plan_each(fault),
        Cut::OfJobs(numbers, fault) => numbers.into_iter().for_each(|number| world.proxy_of_jobs.plan(number, fault)),
        Cut::Nothing | Cut::Deleted(_) | Cut::Cancelled(_) => {}
    }
    let watchman = Watchman::start(world.superuser("postgres").await, &world.database.name).await;
    world.start().await;
    let (mut patience, mut met, mut is_late) = (Patience::of(patience(cut)), 0, false);
    loop {
        met = live_through(&mut world, cut, (!is_late).then_some(writes), met).await;
        if !world.has_node() {
            return Err(format!("{scene:?} {cut:?}: the node has ended"));
        }
        let restore = world.api("Restore").get_opt("back").await.unwrap();
        let said = said(restore.as_ref(), &world.database.name);
        // One playing has a few writes more than another: what was to come after them comes in the end.
        is_late = is_over(scene, &said);
        let may_be_over = ends.is_empty() && is_over(scene, &said) || ends.iter().any(|end| end["restore"] == said);
        if may_be_over {
            let end = state(&world, restore.as_ref()).await;
            if end["jobs"] == 0 && (ends.is_empty() || ends.contains(&end)) {
                // What it writes last of all may be what nobody answers.
                if cut.kills() {
                    world.kill()
                } else {
                    world.stop().await
                }
                let moments = moments(&world, writes);
                let (effects, writes) = (world.proxy.count() - effects, world.faults.count() - writes);
                let effects_of_jobs = world.proxy_of_jobs.count();
                return lawful(scene, cut, Played { effects, effects_of_jobs, writes, moments, end, seen: watchman.seen(), met });
            }
        }
        if patience.is_over() {
            let now = state(&world, restore.as_ref()).await;
            let status = restore.map(|restore| restore.data["status"].clone());
            return Err(format!("{scene:?} {cut:?} came to {now:#}\n{status:#?}\n{}", world.log()));
        }
    }
}

/// The writes after the first so many that are no events.
fn moments(world: &World, before: usize) -> Vec<(usize, String)> {
    let writes = world.faults.writes().into_iter().skip(before).enumerate();
    let told = writes.map(|(index, write)| (index + 1, format!("{} {}", write.what, write.body)));
    told.filter(|(_, text)| !text.contains("/events")).collect()
}

/// How long a playing may take. Each of many outages takes a while.
fn patience(cut: Cut) -> Duration {
    match cut {
        Cut::EachSql(..) | Cut::EachWrite(..) | Cut::OfJobs(..) => PATIENCE * 5,
        _ => PATIENCE * 3,
    }
}

/// Waits a moment, in which the operator dies and begins anew as often as the faults want it. Answers how many faults were met.
/// Without writes to count from, what is to come after some of them is due.
async fn live_through(world: &mut World, cut: Cut, writes: Option<usize>, met: usize) -> usize {
    let moment = Instant::now();
    let mut met = met;
    while moment.elapsed() < OFTEN {
        tokio::time::sleep(OFTEN / 10).await;
        let now = match cut {
            Cut::Deleted(after) | Cut::Cancelled(after) => {
                usize::from(writes.is_none_or(|writes| world.faults.count() >= writes + after))
            }
            _ => world.proxy.met() + world.proxy_of_jobs.met() + world.faults.met(),
        };
        if now <= met {
            continue;
        }
        met = now;
        match cut {
            Cut::Deleted(_) => drop(world.api("Restore").delete("back", &DeleteParams::default()).await),
            Cut::Cancelled(_) => world.patch("back", json!({"spec": {"rollback": true}})).await,
            _ if cut.kills() => {
                world.kill();
                world.start().await;
            }
            _ => {}
        }
    }
    met
}

/// Longest time for which nobody may be able to connect while names change, on a machine that does a dozen other things, where every effect
/// of it meets an outage of its own.
const AWAY: Duration = Duration::from_secs(30);

/// What must have been so all the time.
fn lawful(scene: Scene, cut: Cut, played: Played) -> Result<Played, String> {
    let Seen { looks, away, shut, original_went } = played.seen;
    let leads_back = matches!(cut, Cut::Cancelled(_));
    let law = match scene {
        _ if looks == 0 => "nobody looked",
        Scene::Swap | Scene::Rollback | Scene::New | Scene::Privileges if original_went => "the database that was there went",
        // The restored database is open all the time until it is the one that is used.
        Scene::Swap | Scene::New | Scene::Privileges if !shut.is_zero() && !leads_back => "no database was open at all",
        Scene::Swap | Scene::Rollback if shut > AWAY => "no database was open at all for too long",
        Scene::New if !away.is_zero() => "the database was closed for another one",
        Scene::Swap | Scene::Rollback | Scene::Privileges if away > AWAY => "nobody could connect for too long",
        _ => return Ok(played),
    };
    Err(format!("{scene:?} {cut:?}: {law}: {:?}", played.seen))
}
