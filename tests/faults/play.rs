//! Which faults does a scenario meet, and does it end as it would have?

use std::io::Write as _;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::scenario::Scenario;
use crate::support::kubefault::{ReadFault, WatchFault, WriteFault};
use crate::support::pgproxy::{Fault, StartupFault};
use crate::world::World;

/// How many playings at a time: most of each is waiting.
const AT_A_TIME: usize = 10;

/// Failures after which a scenario is given up: each of them costs patience.
const ENOUGH: usize = 4;

/// What a PostgreSQL may answer to a change.
const SQLSTATES: [&str; 8] = ["55P03", "40P01", "40001", "57P01", "25006", "53100", "53200", "42501"];

/// What an API server may answer to a write.
const REFUSALS: [(u16, Option<u32>); 7] =
    [(403, None), (409, None), (410, None), (429, Some(1)), (429, None), (500, None), (503, None)];

/// One fault.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Sql(usize, Fault),
    Write(usize, WriteFault),
    Reads(ReadFault, usize),
    Startup(StartupFault, usize),
    /// Met by the events of an edit.
    Watch(WatchFault),
}

/// One playing: a fault, and whether the operator's process dies with it.
#[derive(Clone, Copy, Debug)]
struct Play {
    disturbance: Disturbance,
    crash: bool,
}

/// What an undisturbed run comes to.
struct Undisturbed {
    effects: usize,
    writes: usize,
    end: Value,
    /// After the edit, if the scenario has one.
    edited: Option<Value>,
}

/// Plays the scenario undisturbed, then once for each fault.
///
/// # Panics
/// With every playing that ended otherwise.
pub async fn every_fault(scenario: Scenario) {
    let undisturbed = undisturbed(scenario).await;
    let plays = plays(scenario, &undisturbed);
    let count = plays.len();
    let one = async |play: Play| disturbed(scenario, &undisturbed, play).await.map_err(|error| format!("{play:?}: {error}"));
    let mut results = futures::stream::iter(plays).map(one).buffer_unordered(AT_A_TIME);
    let mut failures = Vec::new();
    while failures.len() < ENOUGH
        && let Some(result) = results.next().await
    {
        if let Err(error) = result {
            tell(&format!("{}: {error}\n\n", scenario.name));
            failures.push(error);
        }
    }
    assert!(failures.is_empty(), "scenario {}\n{}", scenario.name, failures.join("\n\n"));
    let (name, Undisturbed { effects, writes, .. }) = (scenario.name, &undisturbed);
    let line = format!(
        "scenario {name}: {effects} effects in PostgreSQL, {writes} in Kubernetes; {count} fault plans ended alike and silent\n"
    );
    tell(&line);
}

/// Past the test harness, which keeps the output of a test that passes to itself.
fn tell(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

async fn undisturbed(scenario: Scenario) -> Undisturbed {
    let world = World::set_up(scenario).await;
    let operator = world.operator();
    let end = world.settle(None).await.unwrap();
    let (effects, writes) = (world.proxy.count(), world.faults.count());
    let edited = match scenario.edit {
        None => None,
        Some(_) => {
            world.edit().await;
            Some(world.settle(None).await.unwrap())
        }
    };
    operator.stop().await;
    Undisturbed { effects, writes, end, edited }
}

async fn disturbed(scenario: Scenario, undisturbed: &Undisturbed, play: Play) -> Result<(), String> {
    let world = World::set_up(scenario).await;
    let before_edit = matches!(play.disturbance, Disturbance::Watch(_));
    if !before_edit {
        arm(&world, play.disturbance);
    }
    let mut operator = world.operator();
    let mut expected = &undisturbed.end;
    if before_edit {
        world.settle(Some(expected)).await?;
        arm(&world, play.disturbance);
        world.edit().await;
        expected = undisturbed.edited.as_ref().unwrap_or(expected);
    }
    world.all_met().await?;
    if play.crash {
        operator.kill();
        operator = world.operator();
    }
    world.settle(Some(expected)).await?;
    operator.stop().await;
    Ok(())
}

fn arm(world: &World, disturbance: Disturbance) {
    match disturbance {
        Disturbance::Sql(number, fault) => world.proxy.plan(number, fault),
        Disturbance::Write(number, fault) => world.faults.plan(number, fault),
        Disturbance::Reads(fault, times) => world.faults.plan_reads(fault, times),
        Disturbance::Startup(fault, times) => world.proxy.plan_startup(fault, times),
        Disturbance::Watch(fault) => world.faults.plan_watch(fault, 1),
    }
}

fn plays(scenario: Scenario, undisturbed: &Undisturbed) -> Vec<Play> {
    let mut plays = Vec::new();
    for number in 1..=undisturbed.effects {
        for cut in [Fault::CutBefore, Fault::CutAfter] {
            plays.extend([true, false].map(|crash| Play { disturbance: Disturbance::Sql(number, cut), crash }));
        }
        let refusals = SQLSTATES.map(|sqlstate| Disturbance::Sql(number, Fault::Refused(sqlstate)));
        plays.extend(refusals.map(connection_only));
    }
    for number in 1..=undisturbed.writes {
        for cut in [WriteFault::CutBefore, WriteFault::CutAfter] {
            plays.extend([true, false].map(|crash| Play { disturbance: Disturbance::Write(number, cut), crash }));
        }
        plays.push(connection_only(Disturbance::Write(number, WriteFault::Disowned(504))));
        let refusals = REFUSALS.map(|(status, after)| Disturbance::Write(number, WriteFault::Refused(status, after)));
        plays.extend(refusals.map(connection_only));
    }
    plays.extend(reads().into_iter().map(connection_only));
    if scenario.edit.is_some() {
        plays.extend(watches().map(connection_only));
    }
    plays
}

fn connection_only(disturbance: Disturbance) -> Play {
    Play { disturbance, crash: false }
}

fn reads() -> Vec<Disturbance> {
    let answers = [ReadFault::Stale, ReadFault::Cut, ReadFault::Refused(403), ReadFault::Refused(410), ReadFault::Refused(500)];
    let starts = [
        StartupFault::Closed,
        StartupFault::Refused("57P03"),
        StartupFault::Refused("53300"),
        StartupFault::Refused("28P01"),
        StartupFault::Refused("3D000"),
    ];
    let reads = answers.map(|fault| Disturbance::Reads(fault, 4));
    reads.into_iter().chain(starts.map(|fault| Disturbance::Startup(fault, 3))).collect()
}

fn watches() -> [Disturbance; 6] {
    let late = WatchFault::Late(Duration::from_millis(500));
    [WatchFault::Lost, WatchFault::Twice, late, WatchFault::Overtaken, WatchFault::Expired, WatchFault::Ended]
        .map(Disturbance::Watch)
}
