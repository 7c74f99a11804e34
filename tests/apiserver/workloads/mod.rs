//! Do workloads go to nothing and come back exactly as they were, whoever interferes and wherever it stops?

mod scale;
mod stage;
