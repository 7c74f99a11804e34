//! `pgreeve demo`: what pgreeve does for a team that keeps its partitions by hand, on a scratch server, in seconds.

mod server;

use std::time::Instant;

use anyhow::anyhow;
use clap::Args;

use super::exit::{Exit, Failure};
use super::plan::table::{self, Style};
use super::plan::view::View;
use super::policies::Policies;
use super::terminal::Tone;
use super::{Globals, output};
use crate::pass::{self, NoTasks};
use crate::postgres::{Fault, Session};
use server::Server;

/// Shows plan, apply and repair on a scratch PostgreSQL that is gone afterwards
#[derive(Args, Debug)]
pub struct Demo {}

/// The policies: the examples as they are.
const POLICIES: [(&str, &str); 2] = [
    ("examples/partition-policy-chat-history.yaml", include_str!("../../../examples/partition-policy-chat-history.yaml")),
    ("examples/partition-policy-cost-tracking.yaml", include_str!("../../../examples/partition-policy-cost-tracking.yaml")),
];

/// What the story goes on with.
struct Story<'a> {
    session: Session,
    policies: Policies,
    globals: &'a Globals,
}

impl Demo {
    /// Runs the command. An interrupt ends it and removes the server.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        tokio::select! {
            told = tell(globals) => told,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Error, "interrupted")),
        }
    }
}

async fn tell(globals: &Globals) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let step = |text: &str| output::line(&format!("\n{}", globals.stdout().paint(Tone::Strong, &format!("== {text}"))));
    globals.say("starting a scratch PostgreSQL and filling two tables …");
    let server = Server::start().await?;
    let admin = Session::open(&server.target("postgres", "postgres")).await.map_err(unexpected)?;
    admin.client().batch_execute(include_str!("tables.sql")).await.map_err(|error| unexpected(Fault::from(error)))?;
    let session = Session::open(&server.target("chat_owner", "postgres")).await.map_err(unexpected)?;
    let story = Story { session, policies: Policies::of_texts(&POLICIES, globals)?, globals };

    step("Tables by month, kept by hand: one month was forgotten, and none is to come. What would pgreeve do?")?;
    story.plan().await?;
    step("pgreeve apply: rows go on being written meanwhile")?;
    story.apply().await?;
    step("pgreeve plan: nothing is left to do, and nothing is done")?;
    story.plan().await?;
    let newest = story.newest().await?;
    step(&format!("Somebody drops a partition: DROP TABLE {newest}"))?;
    story.execute(&format!("DROP TABLE {newest}")).await?;
    story.plan().await?;
    story.apply().await?;
    step(&format!(
        "That took {:.1} s. In a cluster the operator does it by itself; see examples/",
        begun.elapsed().as_secs_f64()
    ))?;
    drop(story);
    Ok(Exit::Ok)
}

impl Story<'_> {
    async fn plan(&self) -> Result<(), Failure> {
        let now = self.globals.now();
        let (server, planned) = self.policies.look(&self.session, now).await?;
        let view = View::new(&self.policies, &server, &planned, &[], now);
        Ok(output::write(&table::render(&view, Style { look: self.globals.stdout(), wide: false }))?)
    }

    async fn apply(&self) -> Result<(), Failure> {
        let (_, planned) = self.policies.look(&self.session, self.globals.now()).await?;
        for one in planned.iter().filter(|one| !one.plan.actions.is_empty()) {
            let begun = Instant::now();
            let outcome = pass::execute(&self.session, &one.plan, self.policies.budget, &NoTasks, self.globals.now()).await;
            if let Some((action, result)) = outcome.first_problem() {
                return Err(anyhow!("{}", crate::plan::status::problem(action, result).1).into());
            }
            let names = crate::plan::status::done(&outcome).replace("create ", "");
            output::line(&format!("{}: created {names} in {} ms", one.plan.object, begun.elapsed().as_millis()))?;
        }
        Ok(())
    }

    /// The newest partition of the first table.
    async fn newest(&self) -> Result<String, Failure> {
        let query =
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'chat_history'::regclass ORDER BY 1 DESC LIMIT 1";
        let row = self.session.client().query_one(query, &[]).await.map_err(|error| unexpected(Fault::from(error)))?;
        Ok(row.get(0))
    }

    async fn execute(&self, sql: &str) -> Result<(), Failure> {
        self.session.client().batch_execute(sql).await.map_err(|error| unexpected(Fault::from(error)))
    }
}

fn unexpected(fault: Fault) -> Failure {
    Failure::fault("the scratch server", &fault)
}
