//! Tests of the partition planner against a catalog in memory.

mod cases;
mod creation;
mod defaults;
mod keys;
mod naming;
mod properties;
mod world;
