//! Folding text to what is left when case, accents and blanks do not count.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// `text` in lower case, without accents and without blanks.
pub fn fold(text: &str) -> String {
    text.nfkd()
        .filter(|c| !is_combining_mark(*c) && !c.is_whitespace())
        .flat_map(char::to_lowercase)
        // What lower case brings with it: the dot of a Turkish i.
        .filter(|c| !is_combining_mark(*c))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_blanks_do_not_count() {
        for text in ["ada@x.org", "ADA@X.org", " ada@x.org\u{a0}", "Adá@x.org", "A\u{301}da@x.org"]
        {
            assert_eq!(fold(text), "ada@x.org", "{text}");
        }
        assert_ne!(fold("ada@x.org"), fold("ada@y.org"));
    }
}
