//! Which faults does a scenario meet, and does it end as it would have?

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::end_state;
use crate::scenario::Scenario;
use crate::support::kubefault::{ReadFault, WatchFault, WriteFault};
use crate::support::node::Pods;
use crate::support::pgproxy::{Fault, StartupFault};
use crate::world::World;

/// How many playings at a time, of all scenarios together: each is half work and half waiting, and one that waits for the processor only looks at
/// its objects again and again.
const AT_A_TIME: usize = 16;

static PLAYING: Semaphore = Semaphore::const_new(AT_A_TIME);

/// Playings of one fault, until one has the effect that it is planned for.
const TRIES: usize = 4;

/// At most one in so many faults may find nothing to meet: how often a status tells of a Job's way depends on how fast it goes.
const SELDOM: usize = 20;

/// Failures after which a scenario is given up: each of them costs patience.
const ENOUGH: usize = 4;

/// Pairs of faults that each scenario meets, beyond every single one.
const PAIRS: usize = 12;

/// Playings in which two Pods do the work of each Job at a time, half of them with two operators.
const DOUBLES: usize = 12;

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

/// One playing.
#[derive(Clone, Debug)]
struct Play {
    faults: Vec<Disturbance>,
    then: Then,
    pods: Pods,
}

/// What becomes of the operator when the fault is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It goes on by itself.
    GoesOn,
    /// Its process dies, and another begins.
    Dies,
    /// It is told to stop while the effect is under way, and another begins.
    Stops,
    /// Another works beside it from the beginning, as when a lease has run out unnoticed.
    HasARival,
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
    let began = Instant::now();
    let undisturbed = Arc::new(undisturbed(scenario).await);
    let plays = plays(scenario, &undisturbed);
    let count = plays.len();
    let one = |play: Play| {
        let undisturbed = Arc::clone(&undisturbed);
        tokio::spawn(async move {
            disturbed_in_time(scenario, &undisturbed, &play).await.map_err(|error| format!("{play:?}: {error}"))
        })
    };
    let mut results = futures::stream::iter(plays).map(one).buffer_unordered(AT_A_TIME);
    let (mut failures, mut unmet) = (Vec::new(), 0);
    while failures.len() < ENOUGH
        && let Some(result) = results.next().await
    {
        match result.unwrap() {
            Ok(met) => unmet += usize::from(!met),
            Err(error) => {
                tell(&format!("{}: {error}\n\n", scenario.name));
                failures.push(error);
            }
        }
    }
    assert!(failures.is_empty(), "scenario {}\n{}", scenario.name, failures.join("\n\n"));
    assert!(unmet * SELDOM <= count, "scenario {}: {unmet} of {count} faults found nothing to meet", scenario.name);
    let (Scenario { name, major, .. }, Undisturbed { effects, writes, .. }) = (scenario, &*undisturbed);
    tell(&format!(
        "scenario {name}: {effects} effects in PostgreSQL {major}, {writes} in Kubernetes; {} fault plans ended alike and silent, in {} s\n",
        count - unmet,
        began.elapsed().as_secs()
    ));
}

/// Past the test harness, which keeps the output of a test that passes to itself.
fn tell(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Two runs, which must end alike. A lock that was not free at once may cost one of them another try: the smaller count is the
/// number of effects that every run has.
async fn undisturbed(scenario: Scenario) -> Undisturbed {
    let (one, other) = tokio::join!(undisturbed_run(scenario), undisturbed_run(scenario));
    assert_eq!(end_state::difference(&one.end, &other.end), "");
    Undisturbed { effects: one.effects.min(other.effects), writes: one.writes.min(other.writes), ..one }
}

async fn undisturbed_run(scenario: Scenario) -> Undisturbed {
    let world = World::set_up(scenario, Pods::One).await;
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
    world.laws_held().unwrap();
    gone(world).await;
    Undisturbed { effects, writes, end, edited }
}

/// A playing may have fewer effects than the one in which they were counted, so that its fault finds nothing to meet. Then it proves nothing, and
/// another one is tried. Answers whether one was met in the end.
async fn disturbed_in_time(scenario: Scenario, undisturbed: &Undisturbed, play: &Play) -> Result<bool, String> {
    for _ in 0..TRIES {
        let _turn = PLAYING.acquire().await.unwrap();
        let world = World::set_up(scenario, play.pods).await;
        let met = disturbed(&world, undisturbed, play).await;
        gone(world).await;
        if met? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Dropping a database takes its time, during which other playings go on.
async fn gone(world: World) {
    tokio::task::spawn_blocking(move || drop(world)).await.unwrap();
}

/// Whether the faults were met.
async fn disturbed(world: &World, undisturbed: &Undisturbed, play: &Play) -> Result<bool, String> {
    let edits = play.faults.iter().any(|fault| matches!(fault, Disturbance::Watch(_)));
    if !edits {
        play.faults.iter().for_each(|fault| arm(world, *fault));
    }
    let mut operator = world.operator();
    let rival = (play.then == Then::HasARival).then(|| world.operator());
    let mut expected = &undisturbed.end;
    if edits {
        world.settle(Some(expected)).await?;
        play.faults.iter().for_each(|fault| arm(world, *fault));
        world.edit().await;
        expected = undisturbed.edited.as_ref().unwrap_or(expected);
    }
    let met = match play.then {
        Then::Dies => {
            let met = world.all_met(expected).await?;
            operator.kill();
            operator = world.operator();
            met
        }
        Then::Stops => {
            let met = world.all_begun(expected).await?;
            operator.stop().await;
            operator = world.operator();
            met
        }
        // The first of two faults may take the occasion for the second one away.
        Then::GoesOn if play.faults.len() == 1 => world.all_met(expected).await?,
        Then::GoesOn | Then::HasARival => true,
    };
    world.settle(Some(expected)).await?;
    operator.stop().await;
    if let Some(rival) = rival {
        rival.stop().await;
    }
    world.laws_held().map(|()| met)
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
    let goes_on = |fault| Play { faults: vec![fault], then: Then::GoesOn, pods: Pods::One };
    let mut cuts = Vec::new();
    let mut others: Vec<Disturbance> = reads();
    let mut plays = vec![Play { faults: vec![], then: Then::HasARival, pods: Pods::One }];
    if scenario.law.is_some() {
        let twice = [Then::GoesOn, Then::HasARival].map(|then| Play { faults: vec![], then, pods: Pods::Two });
        plays.extend(twice.iter().cycle().take(DOUBLES).cloned());
    }
    for number in 1..=undisturbed.effects {
        cuts.extend([Fault::CutBefore, Fault::CutAfter].map(|cut| Disturbance::Sql(number, cut)));
        others.extend(SQLSTATES.map(|sqlstate| Disturbance::Sql(number, Fault::Refused(sqlstate))));
        others.push(Disturbance::Sql(number, Fault::Swallowed));
        let slow = Disturbance::Sql(number, Fault::Delayed(Duration::from_millis(300)));
        plays.push(Play { faults: vec![slow], then: Then::Stops, pods: Pods::One });
    }
    for number in 1..=undisturbed.writes {
        cuts.extend([WriteFault::CutBefore, WriteFault::CutAfter].map(|cut| Disturbance::Write(number, cut)));
        others.push(Disturbance::Write(number, WriteFault::Disowned(504)));
        let refusals = refusals(scenario, number);
        others.extend(refusals.map(|(status, after)| Disturbance::Write(number, WriteFault::Refused(status, after))));
    }
    plays.extend(pairs(&cuts, &others).map(|faults| Play { faults, then: Then::GoesOn, pods: Pods::One }));
    plays.extend(cuts.iter().map(|cut| Play { faults: vec![*cut], then: Then::Dies, pods: Pods::One }));
    plays.extend(cuts.into_iter().chain(others).map(goes_on));
    if scenario.edit.is_some() {
        plays.extend(watches().map(goes_on));
    }
    plays
}

/// What a write is answered: everything, one after the other. Where Jobs make each playing dear, every write meets two of the answers, in turn, so
/// that each answer comes several times; all writes take the same way through the same code.
fn refusals(scenario: Scenario, number: usize) -> impl Iterator<Item = (u16, Option<u32>)> {
    let count = if scenario.law.is_some() { 2 } else { REFUSALS.len() };
    REFUSALS.into_iter().cycle().skip(number * 2 % REFUSALS.len()).take(count)
}

/// Some of all pairs of a cut and another fault; `PGREEVE_FAULT_SEED` chooses others.
fn pairs(cuts: &[Disturbance], others: &[Disturbance]) -> impl Iterator<Item = Vec<Disturbance>> {
    let seed = std::env::var("PGREEVE_FAULT_SEED").map_or(1, |seed| seed.parse().expect("PGREEVE_FAULT_SEED is a number"));
    let mut chance = fastrand::Rng::with_seed(seed);
    (0..PAIRS).map(move |_| vec![cuts[chance.usize(..cuts.len())], others[chance.usize(..others.len())]])
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
