//! Who notices that a backup is none? Each fault is really played, to each tool; whether what is left is whole, a restore says.
//!
//! A tool notices a fault if it fails and leaves nothing that passes for a backup, or if its own check of what lies in the store fails
//! afterwards. The first line is a control, in which nothing breaks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "../../tests/support/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod faults;
mod tools;
mod trial;

use faults::{FAULTS, Fault};
use support::dumps::Ground;
use support::{print_machine, print_table};
use tools::TOOLS;
use trial::{Outcome, Trial};

/// Name of the database that is backed up.
const DATABASE: &str = "shop";

/// Its size as an archive without compression: every tool sends it in several parts.
const MEGABYTES: usize = 50;

fn main() {
    print_machine();
    // For the client of the proxy before the store.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ground = Ground::start();
    prepare(&ground);
    let able: Vec<_> = TOOLS.iter().filter(|tool| tool.needs.iter().all(|program| support::dumps::has(program))).collect();
    let expected = trial::digest(&ground, DATABASE).expect("the database can be read");
    let (mut lines, mut noticed, mut clean) = (vec![], vec![0; able.len()], vec![0; able.len()]);
    for fault in FAULTS {
        // One tool waits while another works: nothing is timed here.
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let play = |tool| Trial { ground: &ground, tool, fault, expected: &expected, runtime: runtime.handle() };
            let playing: Vec<_> = able.iter().map(|tool| scope.spawn(move || play(*tool).play())).collect();
            playing.into_iter().map(|playing| playing.join().unwrap()).collect()
        });
        for (tool, outcome) in able.iter().zip(&outcomes) {
            eprintln!("{}: {}: {outcome}: {}", fault.name(), tool.name, outcome.said());
            assert!(fault != Fault::Nothing || outcome.is_whole(), "{} does not back up what is healthy", tool.name);
        }
        for (at, outcome) in outcomes.iter().enumerate().filter(|_| fault != Fault::Nothing) {
            noticed[at] += usize::from(!outcome.is_deceived());
            clean[at] += usize::from(!outcome.is_deceived() && !outcome.leaves_something_false());
        }
        let cells = outcomes.iter().map(ToString::to_string);
        lines.push(std::iter::once(fault.name().to_owned()).chain(cells).collect());
    }
    let total = |count: &usize| format!("{count} of {}", FAULTS.len() - 1);
    for (name, counts) in [("not deceived by", &noticed), ("the same, and nothing false is left", &clean)] {
        lines.push(std::iter::once(name.to_owned()).chain(counts.iter().map(total)).collect());
    }
    let head: Vec<&str> = std::iter::once("").chain(able.iter().map(|tool| tool.name)).collect();
    print_table("Who notices", &head, &lines);
}

/// The database, and a role that may read all of it, except for what a policy hides.
fn prepare(ground: &Ground) {
    ground.fill(DATABASE, MEGABYTES);
    ground.sql(
        DATABASE,
        &["create role reader login password 'right'; grant pg_read_all_data to reader;
           create policy own on messages using (id % 2 = 0); alter table messages enable row level security"],
    );
}
