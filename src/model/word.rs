//! A name as one word of a command that a person is told to type.

use std::borrow::Cow;

/// `text` as one word of a shell: quoted where a shell would read more or less than that.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-_.:/@%+=,~".contains(c);
    if !text.is_empty() && !text.starts_with('~') && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_to_type_is_quoted_where_it_must_be() {
        for plain in ["web1", "büro-pc", "backup-pg-20261121-010406-2", "latest~2", "a:b"] {
            assert_eq!(shell_word(plain), plain);
        }
        assert_eq!(shell_word("web server 1"), "'web server 1'");
        assert_eq!(shell_word("it's $HOME"), "'it'\\''s $HOME'");
    }
}
