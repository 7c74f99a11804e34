//! The program: parse, set up, dispatch.

fn main() {}
