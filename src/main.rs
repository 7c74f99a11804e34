//! x
fn main() { println!("{}", serde_json::to_string_pretty(&pgreeve::api::crds()).unwrap()); }
