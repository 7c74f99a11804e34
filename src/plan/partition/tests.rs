//! Tests of the partition planner.
