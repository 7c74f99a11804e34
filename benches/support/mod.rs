//! What do the benchmarks share? Interleaved rounds, medians with their spread, ratios, and what machine this is.
#![allow(dead_code, reason = "each benchmark uses another part of it")]

pub mod clients;
pub mod cluster;
pub mod dumps;
pub mod load;
pub mod tables;
pub mod watched;

use std::time::Duration;

/// Measurements of one contestant, in one unit.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Who was measured.
    pub name: String,
    values: Vec<f64>,
}

impl Samples {
    /// None yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), values: vec![] }
    }

    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// Adds one, in milliseconds.
    pub fn push_time(&mut self, time: Duration) {
        self.push(time.as_secs_f64() * 1e3);
    }

    /// The value below which this share of the measurements lies.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((share * last as f64).ceil() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The median; of an even number the mean of the middle two.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// `median (least–most)`.
    pub fn text(&self) -> String {
        format!("{} ({}–{})", number(self.median()), number(self.quantile(0.0)), number(self.quantile(1.0)))
    }
}

/// Three digits that matter.
pub fn number(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

/// Prints a table as Markdown.
pub fn print_table(title: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("\n### {title}\n\n| {} |\n|{}", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// What is measured on: the processor, the memory, and how busy others keep it.
pub fn print_machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (processors, memory, load) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let kibibytes: f64 = memory.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0.0);
    println!(
        "{} × {}, {} GiB, load {} before the run",
        std::thread::available_parallelism().map_or(1, usize::from),
        model.unwrap_or("unknown processor"),
        number(kibibytes / 1024.0 / 1024.0),
        load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
    );
}

/// A size that the environment may change, as for a trial run.
pub fn size(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Rounds of every comparison.
pub fn rounds() -> usize {
    size("PGREEVE_BENCH_ROUNDS", 5)
}
