//! Chooses stores by glob patterns, as a configuration lists them.

/// Whether `pattern` matches the whole of `text`: `*` stands for any run of characters, `?` for
/// one; everything else stands for itself, and case counts.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on when a mismatch follows a star: the star, and how much it has taken.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, taken)) = retry {
            retry = Some((star, taken + 1));
            p = star + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Whether a list of patterns chooses any of `names`, which are spellings of one thing (`orders`
/// and `public.orders`). A pattern that begins with `!` excludes. Without an including pattern
/// everything is included that is not excluded.
pub fn chosen(patterns: &[String], names: &[&str]) -> bool {
    let hit = |pattern: &str| names.iter().any(|name| matches(pattern, name));
    let mut including = patterns.iter().filter(|p| !p.starts_with('!')).peekable();
    let included = including.peek().is_none() || including.any(|pattern| hit(pattern));
    included && !patterns.iter().filter_map(|p| p.strip_prefix('!')).any(hit)
}

/// Whether a list of patterns chooses a table by its name or by that of its schema and its own:
/// `orders` or `public.orders`.
pub fn table(patterns: &[String], schema: &str, name: &str) -> bool {
    chosen(patterns, &[name, &format!("{schema}.{name}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        assert!(matches("*", ""));
        assert!(matches("a*c?", "abbcd"));
        assert!(matches("*ab*", "xaab"));
        assert!(!matches("a", "A"));
        assert!(!matches("a?", "a"));
    }

    #[test]
    fn exclusion_wins_and_nothing_chosen_means_everything() {
        let list = |items: &[&str]| items.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert!(chosen(&[], &["orders"]));
        assert!(chosen(&list(&["shop.*"]), &["orders", "shop.orders"]));
        assert!(!chosen(&list(&["shop.*"]), &["orders", "hr.orders"]));
        assert!(!chosen(&list(&["*", "!tmp_*"]), &["tmp_1"]));
        assert!(chosen(&list(&["!tmp_*"]), &["orders"]));
    }
}
