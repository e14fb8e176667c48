//! Lines as YAML and editors count them: they end with a line feed, a carriage return, or both.

/// The lines of a text, without their ends. A text that ends with a line's end has no further one after it.
pub fn of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text).filter(|text| !text.is_empty());
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let after = &text[end..];
        let after = after.strip_prefix("\r\n").unwrap_or(&after[1..]);
        rest = Some(after).filter(|after| !after.is_empty());
        Some(&text[..end])
    })
}

/// Line and column, from 1, of the character that so many come before. What lies past the end of the text is
/// behind the last character of its last line.
pub fn place_of(text: &str, characters: usize) -> (usize, usize) {
    let (mut line, mut column, mut behind) = (1, 1, (1, 1));
    let mut chars = text.chars().peekable();
    for _ in 0..characters {
        let Some(c) = chars.next() else { break };
        if c == '\r' && chars.peek() == Some(&'\n') {
            // One end of a line, one place.
            continue;
        }
        column += 1;
        if c != '\n' && c != '\r' {
            behind = (line, column);
        } else {
            // An empty line is a place, too, as long as something follows it.
            if column == 2 {
                behind = (line, 1);
            }
            (line, column) = (line + 1, 1);
        }
    }
    if chars.peek().is_none() {
        behind
    } else {
        (line, column)
    }
}

/// The nearest place that is within the text: a parser may look for a value behind the end.
pub fn within(text: &str, line: usize, column: usize) -> (usize, usize) {
    let mut found = (1, "");
    for (at, content) in of(text).enumerate().take(line.max(1)) {
        found = (at + 1, content);
    }
    let (last, content) = found;
    let behind = content.chars().count() + 1;
    if last < line {
        (last, behind)
    } else {
        (last, column.clamp(1, behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_three_ways() {
        let lines: Vec<_> = of("a\r\nb\rc\n\nd").collect();
        assert_eq!(lines, ["a", "b", "c", "", "d"]);
        assert_eq!(of("a\n").count(), 1);
        assert_eq!(of("").count(), 0);
    }

    #[test]
    fn a_place_is_within_the_text() {
        let text = "ab\r\ncd\n\ne\n";
        let places: Vec<_> = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 99]
            .map(|at| place_of(text, at))
            .into();
        assert_eq!(
            places,
            [
                (1, 1),
                (1, 2),
                (1, 3),
                (1, 3),
                (2, 1),
                (2, 3),
                (3, 1),
                (4, 1),
                (4, 2),
                (4, 2),
                (4, 2)
            ]
        );
        assert_eq!(place_of("", 5), (1, 1));
        assert_eq!(place_of("\n\n", 5), (2, 1));
    }
}
