//! Is this text one condition and nothing else? The `where` of a policy, read token by token before it reaches a statement.
//!
//! It is set in parentheses among other conditions. So it must not be able to close them, to open a quote or a comment that it does not
//! close, or to begin another query. What passes is still only a proposal: the server parses it, and every function is looked up.

use std::collections::BTreeSet;

/// What a condition names, without quotes and folded as PostgreSQL does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Every word that could be a column.
    pub words: BTreeSet<String>,
    /// Words before an opening parenthesis that are called, with what qualifies them.
    pub functions: BTreeSet<String>,
}

/// Words that begin a query, or change what operators and functions mean.
const FORBIDDEN: [&str; 12] =
    ["select", "with", "values", "table", "insert", "update", "delete", "merge", "union", "over", "operator", "returning"];

/// Words before a parenthesis that are syntax and no function.
const SYNTAX: [&str; 18] = [
    "and", "or", "not", "in", "any", "some", "all", "between", "like", "ilike", "is", "case", "when", "then", "else", "cast",
    "row", "array",
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word { text: String, quoted: bool },
    Dot,
    Open,
    Close,
    Other,
}

/// Reads a condition.
///
/// # Errors
/// Why it may not be used, as the end of a sentence about it.
pub fn read(text: &str) -> Result<Names, String> {
    let tokens = tokens(text)?;
    let mut depth = 0_i32;
    for token in &tokens {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            Token::Word { text, quoted: false } if FORBIDDEN.contains(&text.as_str()) => {
                return Err(format!(
                    "has the word {text}: write a condition over the table's own columns, without a subquery (put a column of that name in double quotes)"
                ));
            }
            _ => {}
        }
        if depth < 0 {
            return Err("closes a parenthesis that it does not open".into());
        }
    }
    if depth != 0 {
        return Err("opens a parenthesis that it does not close".into());
    }
    if tokens.is_empty() {
        return Err("is empty: leave it out, or write a condition".into());
    }
    Ok(names(&tokens))
}

fn names(tokens: &[Token]) -> Names {
    let mut names = Names::default();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Word { text, quoted } = token else { continue };
        let is_called = tokens.get(at + 1) == Some(&Token::Open);
        if !is_called {
            names.words.insert(text.clone());
        } else if *quoted || !SYNTAX.contains(&text.as_str()) {
            names.functions.insert(format!("{}{text}", qualifier(&tokens[..at])));
        }
    }
    names
}

/// `schema.` where the word is qualified.
fn qualifier(before: &[Token]) -> String {
    match before {
        [.., Token::Word { text, .. }, Token::Dot] => format!("{text}."),
        [.., Token::Dot] => "?.".into(),
        _ => String::new(),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '\0' => return Err("holds a NUL".into()),
            ';' => return Err("holds a semicolon: write one condition".into()),
            '$' => return Err("holds a $: write strings in single quotes, and no parameters".into()),
            '\\' => return Err("holds a backslash outside of a string".into()),
            '-' if after.starts_with('-') => return Err("holds a comment: leave it out".into()),
            '/' if after.starts_with('*') => return Err("holds a comment: leave it out".into()),
            '\'' => {
                tokens.push(Token::Other);
                string(after)?
            }
            '"' => quoted(after, &mut tokens)?,
            '(' | '[' => bracket(first, after, &mut tokens),
            ')' | ']' => bracket(first, after, &mut tokens),
            '.' if !after.starts_with(|c: char| c.is_ascii_digit()) => {
                tokens.push(Token::Dot);
                after
            }
            first if first.is_whitespace() => after,
            first if first.is_alphabetic() || first == '_' => word(rest, &mut tokens)?,
            first if first.is_ascii_digit() || first == '.' => number(rest, &mut tokens)?,
            _ => {
                tokens.push(Token::Other);
                after
            }
        };
    }
    Ok(tokens)
}

/// Brackets of arrays are only counted by the server; a parenthesis is what could end ours.
fn bracket<'a>(which: char, after: &'a str, tokens: &mut Vec<Token>) -> &'a str {
    tokens.push(match which {
        '(' => Token::Open,
        ')' => Token::Close,
        _ => Token::Other,
    });
    after
}

/// A plain string. A backslash in it means itself: the session sets `standard_conforming_strings`.
fn string(text: &str) -> Result<&str, String> {
    let mut rest = text;
    loop {
        let at = rest.find('\'').ok_or("opens a string that it does not close")?;
        rest = &rest[at + 1..];
        match rest.strip_prefix('\'') {
            Some(doubled) => rest = doubled,
            None => return Ok(rest),
        }
    }
}

fn quoted<'a>(text: &'a str, tokens: &mut Vec<Token>) -> Result<&'a str, String> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or("opens a quoted name that it does not close")?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(doubled) => {
                name.push('"');
                rest = doubled;
            }
            None => {
                tokens.push(Token::Word { text: name, quoted: true });
                return Ok(after);
            }
        }
    }
}

fn word<'a>(text: &'a str, tokens: &mut Vec<Token>) -> Result<&'a str, String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    if word.contains('$') {
        return Err("holds a $: write strings in single quotes, and no parameters".into());
    }
    // E'…', U&'…', B'…', X'…', N'…': another syntax inside of the quotes.
    if after.starts_with('\'') || (word.eq_ignore_ascii_case("u") && after.starts_with('&')) {
        let is_type = word.chars().count() > 2;
        if !is_type {
            return Err(format!("holds a string that begins with {word}': write plain strings, '…'"));
        }
    }
    tokens.push(Token::Word { text: word.to_ascii_lowercase(), quoted: false });
    Ok(after)
}

fn number<'a>(text: &'a str, tokens: &mut Vec<Token>) -> Result<&'a str, String> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).unwrap_or(text.len());
    tokens.push(Token::Other);
    // `1e5` is a number; `1select` would be a number and a word to some servers.
    let (number, after) = text.split_at(end);
    let is_plain = number.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E'));
    if is_plain { Ok(after) } else { Err(format!("holds {number}, which is neither a number nor a name")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("status <> 'open'", &["status"], &[])]
    #[case("a = 'it''s; --' AND (b OR NOT c)", &["a", "b"], &[])]
    #[case(r#""Select" > 1.5e3 AND orders."we""ird" IS NULL"#, &["Select", "we\"ird"], &[])]
    #[case("lower(name) = pg_catalog.upper('x')", &["name"], &["lower", "pg_catalog.upper"])]
    #[case(r#"public."Wipe" (id)"#, &["id"], &["public.Wipe"])]
    #[case("x IN (1, 2) AND y = ANY (ARRAY[1,2]) AND ts < timestamp '2020-01-01'", &["x", "y", "ts"], &[])]
    #[case("größe > 1", &["größe"], &[])]
    fn a_condition_names_columns_and_functions(#[case] text: &str, #[case] words: &[&str], #[case] functions: &[&str]) {
        let names = read(text).unwrap();
        assert!(words.iter().all(|word| names.words.contains(*word)), "{names:?}");
        assert_eq!(names.functions.iter().map(String::as_str).collect::<Vec<_>>(), functions);
    }

    #[rstest]
    #[case("true) OR (true", "closes a parenthesis")]
    #[case("(true", "opens a parenthesis")]
    #[case("true); DROP TABLE a; --", "semicolon")]
    #[case("true) UNION (true", "closes a parenthesis")]
    #[case("(true UNION true)", "word union")]
    #[case(")(", "closes a parenthesis")]
    #[case("true -- x", "comment")]
    #[case("true /* x", "comment")]
    #[case("a = 'x", "string that it does not close")]
    #[case("a = \"x", "quoted name")]
    #[case("a = $$x$$", "holds a $")]
    #[case("a = $1", "holds a $")]
    #[case("a = x$y", "holds a $")]
    #[case(r"a = E'\'; DROP TABLE b; --'", "begins with E'")]
    #[case(r"a = U&'\0027'", "begins with U'")]
    #[case("id IN (SELECT 1)", "word select")]
    #[case("EXISTS (TABLE x)", "word table")]
    #[case("a OPERATOR(public.=) b", "word operator")]
    #[case("rank() OVER () > 1", "word over")]
    #[case("1select", "neither a number nor a name")]
    #[case("a = \0", "NUL")]
    #[case(" ", "is empty")]
    fn what_could_be_more_than_a_condition_is_refused(#[case] text: &str, #[case] why: &str) {
        let refused = read(text).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }

    proptest! {
        /// Whatever passes leaves the parentheses around it where they are, by a reader that knows nothing of this one.
        #[test]
        fn what_passes_is_balanced_outside_of_quotes(text in r#"[a-z'"();$ \\/*\-]{0,24}"#) {
            if read(&text).is_ok() {
                let (mut depth, mut quote) = (0_i32, None);
                for c in text.chars() {
                    match (quote, c) {
                        (None, '\'' | '"') => quote = Some(c),
                        (Some(open), c) if open == c => quote = None,
                        (None, '(') => depth += 1,
                        (None, ')') => depth -= 1,
                        (None, ';' | '$' | '\\') => prop_assert!(false, "{text}"),
                        _ => {}
                    }
                    prop_assert!(depth >= 0);
                }
                prop_assert_eq!((depth, quote), (0, None));
            }
        }
    }
}
