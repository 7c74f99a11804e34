//! Is this a label selector? The grammar of Kubernetes (`labels.Parse` of apimachinery), so that a slip is found before a cluster is asked.

/// Longest value of a label, and longest name of a key without its domain.
const LABEL: usize = 63;
/// Longest domain of a key.
const DOMAIN: usize = 253;

/// Why the text selects nothing that Kubernetes understands; `None` where it does.
pub fn flaw(selector: &str) -> Option<String> {
    let mut requirements = vec![];
    let (mut from, mut depth) = (0_usize, 0_u32);
    for (at, letter) in selector.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                requirements.extend(selector.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    requirements.extend(selector.get(from..));
    requirements.into_iter().find_map(|requirement| of_requirement(requirement.trim()))
}

fn of_requirement(text: &str) -> Option<String> {
    if let Some(key) = text.strip_prefix('!') {
        return of_key(key.trim());
    }
    if let Some((head, rest)) = text.split_once('(') {
        let mut words = head.split_whitespace();
        let (key, operator) = (words.next().unwrap_or_default(), words.next());
        if !matches!(operator, Some("in" | "notin")) || words.next().is_some() {
            return Some(format!("\"{text}\" has a list of values without in or notin before it"));
        }
        let Some(values) = rest.strip_suffix(')').filter(|values| !values.contains(['(', ')'])) else {
            return Some(format!("\"{text}\" has a list of values that does not end"));
        };
        return of_key(key).or_else(|| values.split(',').find_map(|value| of_value(value.trim())));
    }
    for operator in ["==", "!=", "="] {
        if let Some((key, value)) = text.split_once(operator) {
            return of_key(key.trim()).or_else(|| of_value(value.trim()));
        }
    }
    if let Some((key, value)) = text.split_once(['>', '<']) {
        let wrong = value.trim().parse::<i64>().is_err().then(|| format!("\"{}\" is no whole number", value.trim()));
        return of_key(key.trim()).or(wrong);
    }
    of_key(text)
}

fn of_key(key: &str) -> Option<String> {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let is_domain = |domain: &str| {
        let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        !domain.is_empty() && domain.len() <= DOMAIN && domain.bytes().all(of_domain) && domain.split('.').all(ends_well)
    };
    let fits = is_word(name) && domain.is_none_or(is_domain);
    (!fits).then(|| format!("\"{key}\" is no key of a label"))
}

fn of_value(value: &str) -> Option<String> {
    (!value.is_empty() && !is_word(value)).then(|| format!("\"{value}\" is no value of a label"))
}

fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= LABEL && text.bytes().all(fits) && ends_well(text)
}

fn ends_well(text: &str) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_selects_is_right() {
        for selector in
            ["tier=backend", "tier==backend, app in (api-gateway, ml-service)", "!legacy,example.com/owner!=data,tier"]
        {
            assert_eq!(flaw(selector), None, "{selector}");
        }
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        assert_eq!(flaw("tier=a,app=b c").as_deref(), Some("\"b c\" is no value of a label"));
        assert_eq!(flaw("app in (a,b").as_deref(), Some("\"app in (a,b\" has a list of values that does not end"));
    }
}
