//! Do workloads go to nothing and come back exactly as they were, whoever interferes and wherever it stops?

mod crashes;
mod find;
mod rivals;
mod scale;
pub mod stage;
mod stranded;
