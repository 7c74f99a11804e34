//! Does this SQL change anything? What a statement does to the database, told from its words.
//!
//! When in doubt it is an effect: a needless cut costs a second, a missed one hides a bug.

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Reads, or changes only the session.
    Pass,
    /// Ends a transaction: an effect if the transaction had one.
    Commit,
    /// Changes the database, or another session.
    Effect,
}

/// What this text does, which may hold several statements.
pub fn kind(sql: &str) -> Kind {
    statements(sql).iter().map(|words| statement_kind(words)).max().unwrap_or(Kind::Pass)
}

fn statement_kind(words: &[String]) -> Kind {
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    match words[0].as_str() {
        "commit" | "end" => Kind::Commit,
        "select" | "table" | "values" | "with" => {
            if has(&CHANGING_WORDS) || has(&CHANGING_FUNCTIONS) {
                Kind::Effect
            } else {
                Kind::Pass
            }
        }
        "explain" if !has(&["analyze"]) => Kind::Pass,
        "copy" if has(&["to"]) && !has(&["from"]) => Kind::Pass,
        first if SESSION.contains(&first) => Kind::Pass,
        _ => Kind::Effect,
    }
}

/// First words of statements that leave the database as it is. A lock that ends with its transaction changes nothing.
const SESSION: [&str; 18] = [
    "begin",
    "start",
    "rollback",
    "abort",
    "savepoint",
    "release",
    "set",
    "reset",
    "show",
    "discard",
    "deallocate",
    "close",
    "declare",
    "fetch",
    "move",
    "lock",
    "listen",
    "unlisten",
];
const CHANGING_WORDS: [&str; 5] = ["insert", "update", "delete", "merge", "into"];
const CHANGING_FUNCTIONS: [&str; 6] =
    ["nextval", "setval", "pg_cancel_backend", "pg_terminate_backend", "pg_reload_conf", "pg_switch_wal"];

/// The lower-case words of each statement, without what stands in quotes and comments. `FOR UPDATE` is not an update.
fn statements(sql: &str) -> Vec<Vec<String>> {
    let bare = without_quoted(sql).to_lowercase();
    let word = |c: char| !(c.is_alphanumeric() || c == '_');
    let split = bare.split(';').map(|one| one.split(word).filter(|word| !word.is_empty()).map(str::to_owned).collect());
    split.map(without_row_locks).filter(|words: &Vec<String>| !words.is_empty()).collect()
}

fn without_row_locks(words: Vec<String>) -> Vec<String> {
    let locks = |index: usize| index > 0 && words[index] == "update" && ["for", "key"].contains(&words[index - 1].as_str());
    (0..words.len()).filter(|index| !locks(*index)).map(|index| words[index].clone()).collect()
}

/// The text with every quoted part and every comment replaced by a space. Dollar quotes become one space too.
fn without_quoted(sql: &str) -> String {
    let mut rest = sql;
    let mut bare = String::new();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => after(rest, 1, &first.to_string()),
            '-' if rest.starts_with("--") => after(rest, 2, "\n"),
            '/' if rest.starts_with("/*") => after(rest, 2, "*/"),
            '$' => dollar_tag(rest).map_or(1, |tag| after(rest, tag.len(), tag)),
            other => {
                bare.push(other);
                rest = &rest[other.len_utf8()..];
                continue;
            }
        };
        bare.push(' ');
        rest = &rest[end..];
    }
    bare
}

/// Where the first `until` at or after `from` ends.
fn after(text: &str, from: usize, until: &str) -> usize {
    text[from..].find(until).map_or(text.len(), |at| from + at + until.len())
}

/// `$tag$` at the beginning of the text.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[..end];
    let name = &tag[1..end - 1];
    (name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_numeric())).then_some(tag)
}
