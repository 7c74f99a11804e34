//! What does a client notice? One that logs in for every question, and one that keeps its session as long as it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::servers::postgres::connect;

/// Pause between a client's questions.
const EVERY: Duration = Duration::from_millis(1);

/// Right answers in a row after which all is taken to be well.
const SETTLED: u64 = 50;

/// Clients that ask all the time.
pub struct Clients {
    stop: Arc<AtomicBool>,
    login: Arc<AtomicU64>,
    session: Arc<AtomicU64>,
    thread: JoinHandle<Felt>,
}

/// What they noticed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Felt {
    /// The longest time from one right answer to the next of the client that logs in each time.
    pub login: Duration,
    /// The same of the client that keeps its session.
    pub session: Duration,
    /// Log-ins after which there was no right answer.
    pub refused: u64,
}

impl Clients {
    /// Starts them. An answer is right if it has a row.
    pub fn start(url: String, question: &'static str) -> Self {
        let (stop, login, session) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (stopped, logins, sessions) = (stop.clone(), login.clone(), session.clone());
        // A runtime of its own, so that nothing else of this process delays a measurement.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (logging_in, staying) =
                    tokio::join!(log_in(&url, question, &stopped, &logins), stay(&url, question, &stopped, &sessions));
                Felt { login: logging_in.longest, session: staying.longest, refused: logging_in.wrong }
            })
        });
        Self { stop, login, session, thread }
    }

    /// Waits until both have had right answers for a while.
    pub async fn settled(&self) {
        for row in [&self.login, &self.session] {
            row.store(0, Ordering::Relaxed);
        }
        while self.login.load(Ordering::Relaxed).min(self.session.load(Ordering::Relaxed)) < SETTLED {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends them.
    pub fn stop(self) -> Felt {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Takes down right and wrong answers.
struct Answers<'a> {
    last: Instant,
    longest: Duration,
    wrong: u64,
    /// Right ones since the last wrong one.
    in_a_row: &'a AtomicU64,
}

impl<'a> Answers<'a> {
    fn new(in_a_row: &'a AtomicU64) -> Self {
        Self { last: Instant::now(), longest: Duration::ZERO, wrong: 0, in_a_row }
    }

    fn add(&mut self, is_right: bool) {
        if is_right {
            self.longest = self.longest.max(self.last.elapsed());
            self.last = Instant::now();
            self.in_a_row.fetch_add(1, Ordering::Relaxed);
        } else {
            self.wrong += 1;
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }
}

async fn log_in<'a>(url: &str, question: &str, stop: &AtomicBool, in_a_row: &'a AtomicU64) -> Answers<'a> {
    let mut answers = Answers::new(in_a_row);
    while !stop.load(Ordering::Relaxed) {
        answers.add(match connect(url.to_owned()).await {
            Ok(client) => ask(&client, question).await,
            Err(_) => false,
        });
        tokio::time::sleep(EVERY).await;
    }
    answers
}

async fn stay<'a>(url: &str, question: &str, stop: &AtomicBool, in_a_row: &'a AtomicU64) -> Answers<'a> {
    let mut answers = Answers::new(in_a_row);
    let mut session = None;
    while !stop.load(Ordering::Relaxed) {
        if session.as_ref().is_none_or(Client::is_closed) {
            session = connect(url.to_owned()).await.ok();
        }
        answers.add(match &session {
            Some(client) => ask(client, question).await,
            None => false,
        });
        tokio::time::sleep(EVERY).await;
    }
    answers
}

async fn ask(client: &Client, question: &str) -> bool {
    // Without a prepared statement: those do not survive a table that is made anew.
    client
        .simple_query(question)
        .await
        .is_ok_and(|answer| answer.iter().any(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_))))
}
