//! What people are called by others, and what they write: text from strangers, shown to strangers.

use crate::link::wire::MAX_NAME;

/// A person's name as it may be shown anywhere: one line, no control characters and none that turn the
/// direction of the text around them, at most [`MAX_NAME`] bytes. May be empty.
pub fn clean(text: &str) -> String {
    let mut name = String::new();
    // What comes after is cut away anyway; a body is longer than a name.
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    for word in words.filter(|word| !word.is_empty()) {
        let before = name.len();
        if before > 0 {
            name.push(' ');
        }
        let room = MAX_NAME.saturating_sub(name.len());
        let mut ends = 0;
        for c in word.chars().filter(|c| !turns_direction(*c)) {
            if ends + c.len_utf8() > room {
                return name.trim_end().to_owned();
            }
            ends += c.len_utf8();
            name.push(c);
        }
        if ends == 0 {
            name.truncate(before);
        }
    }
    name
}

/// What somebody wrote, as it may be shown: lines stay, other control characters go.
pub fn clean_text(text: &str) -> String {
    let kept = text.chars().filter(|c| *c == '\n' || !(c.is_control() || turns_direction(*c)));
    kept.collect::<String>().trim().to_owned()
}

/// The characters that override or isolate direction (Unicode Standard Annex 9, 2.1 to 2.4): one of
/// them in a name turns around what is written behind it. Hebrew and Arabic need none of them.
const fn turns_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_one_line_without_tricks() {
        for (written, shown) in [
            ("Foo", "Foo"),
            ("  Foo \t Bar\r\n", "Foo Bar"),
            ("a\u{202e}b \u{2066} c", "ab c"),
            ("\u{0}\u{7f}", ""),
            ("\u{5d0}\u{5d1}", "\u{5d0}\u{5d1}"),
        ] {
            assert_eq!(clean(written), shown, "{written:?}");
        }
        assert_eq!(clean(&"ä".repeat(100)), "ä".repeat(40));
        assert_eq!(clean(&format!("{} b", "a".repeat(79))), "a".repeat(79));
    }

    #[test]
    fn messages_keep_their_lines() {
        assert_eq!(clean_text(" a\nb\u{7}\u{202e}c\r\n "), "a\nbc");
    }

    proptest! {
        #[test]
        fn any_name_keeps_the_rules_and_a_clean_one_stays(text in "\\PC{0,200}|.{0,120}") {
            let name = clean(&text);
            prop_assert!(name.len() <= MAX_NAME);
            prop_assert!(!name.chars().any(|c| c.is_control() || turns_direction(c)));
            prop_assert_eq!(name.trim(), &name);
            prop_assert_eq!(&clean(&name), &name);
        }
    }
}
