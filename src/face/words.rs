//! Numbers, times and lists as people read them.

use jiff::Timestamp;

/// `1 error`, `2 errors`.
pub fn count(number: usize, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {one}{s}")
}

/// How long ago, in one unit: `12s`, `5m`, `3h`, `9d`.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let secs = now.as_second().saturating_sub(since.as_second()).max(0);
    match secs {
        0..120 => format!("{secs}s"),
        120..7_200 => format!("{}m", secs / 60),
        7_200..172_800 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// How long it took: `840ms`, `12.3s`, `2m 5s`.
pub fn took(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{}m {}s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

/// A number of bytes, in the unit that fits: `0B`, `512KiB`, `1.5GiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut scale) = (0, 1_u64);
    while unit + 1 < UNITS.len() && number >= scale.saturating_mul(1024) {
        scale *= 1024;
        unit += 1;
    }
    let (whole, tenths) = (number / scale, number % scale * 10 / scale);
    if unit == 0 || whole >= 10 || tenths == 0 {
        format!("{whole}{}", UNITS[unit])
    } else {
        format!("{whole}.{tenths}{}", UNITS[unit])
    }
}

/// Processor time as a share of one processor: `3%`, `150%`.
pub fn share(cpu: f64) -> String {
    format!("{:.0}%", cpu * 100.0)
}

/// A moment, to the second, in UTC.
pub fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A moment, to the minute, in UTC.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A text as one word of a shell's command line.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_the_unit_that_fits() {
        assert_eq!(took(0), "0ms");
        assert_eq!(took(1_250), "1.2s");
        assert_eq!(took(125_000), "2m 5s");
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |secs: i64| age(Timestamp::from_second(1_000_000 - secs).unwrap(), now);
        assert_eq!(
            (ago(-5), ago(119), ago(120)),
            ("0s".into(), "119s".into(), "2m".into())
        );
        assert_eq!((ago(7_200), ago(172_800)), ("2h".into(), "2d".into()));
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (number, told) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (300 << 20, "300MiB"),
            (1 << 30, "1GiB"),
            (u64::MAX, "16777215TiB"),
        ] {
            assert_eq!(bytes(number), told);
        }
    }

    #[test]
    fn a_shell_reads_a_quoted_word_back() {
        assert_eq!(
            shell_word("https://mcp-a.example.com/mcp"),
            "https://mcp-a.example.com/mcp"
        );
        assert_eq!(shell_word("a b'c$d"), r"'a b'\''c$d'");
    }
}
