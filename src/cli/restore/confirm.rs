//! Does a person want what the plan says? It is shown, and the database's name is the word.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::super::exit::{Exit, Failure};
use super::super::terminal::can_ask;
use super::super::{Globals, output};
use crate::api::restore::RestoreStatus;

/// Shows the plan on stdout.
pub fn show(namespace: &str, name: &str, planned: &RestoreStatus) -> Result<(), Failure> {
    let mut text = format!("Restore   {namespace}/{name}\n");
    for (title, value) in [("Backup", &planned.backup), ("Database", &planned.database)] {
        if let Some(value) = value {
            text.push_str(&format!("{title:<10}{value}\n"));
        }
    }
    if let Some(plan) = &planned.plan {
        text.push_str(&format!("Plan      {}\n", plan.summary));
        for (number, action) in plan.actions.iter().enumerate() {
            text.push_str(&format!("  {}. {action}\n", number + 1));
        }
        if plan.more > 0 {
            text.push_str(&format!("  and {} more\n", plan.more));
        }
    }
    output::write(&text)?;
    Ok(())
}

/// What is said of a restore that nobody has confirmed.
pub fn interrupted() -> Failure {
    Failure::new(Exit::Error, "interrupted; nothing was done")
}

/// Asks for the name of the database, unless it was typed ahead.
///
/// # Errors
/// If it is another name, nobody can be asked, or it was interrupted.
pub async fn ask(database: &str, typed: Option<&str>, globals: &Globals) -> Result<(), Failure> {
    let answer = match typed {
        Some(typed) => typed.to_owned(),
        None if can_ask() => answer(format!("Type the name of the database to have this done ({database}): "), globals).await?,
        None => {
            let message = format!("nobody can be asked here: type the name ahead with --yes-restore {database}");
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    match answer.trim() == database {
        true => Ok(()),
        false => Err(Failure::new(Exit::Blocked, format!("the database is {database}, and not {:?}", answer.trim()))),
    }
}

/// Asks on a thread of its own, which nothing but an answer ends. Ctrl-C is listened to before the question can be seen.
async fn answer(question: String, globals: &Globals) -> Result<String, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (answers, answer) = oneshot::channel();
    let asking = globals.clone();
    std::thread::spawn(move || drop(answers.send(asking.answer(&question))));
    tokio::select! {
        answer = answer => answer.unwrap_or_else(|_| Err(interrupted())),
        _ = interrupt.recv() => Err(interrupted()),
    }
}
